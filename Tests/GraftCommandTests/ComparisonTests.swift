import Files
import Foundation
import Testing

/// Families side by side, on a tiny model.
struct ComparisonTests {
  private let scratch: Scratch

  init() throws {
    scratch = try Scratch(learning: Scratch.rowsAlike)
    try scratch.write(
      """
      output_dir: run
      model: { path: model }
      adapter: { type: lora, rank: 4, alpha: 8 }
      data: { train: train.jsonl, eval: eval.jsonl }
      train: { epochs: 6, batch_size: 2, learning_rate: 0.01 }
      eval: { also: { "another text": other.jsonl } }
      """, to: "recipe.yaml")
    try scratch.write("{\"input_ids\": [9, 8, 7, 6, 5, 4, 3]}", to: "other.jsonl")
  }

  private func compare(_ arguments: String...) throws -> Command.Ending {
    try Command.run(["compare", "recipe.yaml", "--output", "table"] + arguments, in: scratch.path)
  }

  @Test func `Each family trains about as many numbers, and the table says what each reached and lost`() throws {
    let ending = try compare("--families", "lora,s2ft", "--seeds", "2", "--json")
    try #require(ending.code == 0, "\(ending.errors)")
    let rows = try #require(try JSON(parsing: ending.output, path: "table")["families"]?.array)
    #expect(Set(rows.compactMap { $0["family"]?.string }) == ["lora", "s2ft"])
    let counts = rows.compactMap { $0["trainable"]?.double }
    #expect(counts.count == 2 && abs(counts[0] / counts[1] - 1) < 0.1)
    for row in rows {
      #expect(row["losses"]?.array?.count == 2)
      let lost = try #require(row["lost"]?["another text"]?.double)
      let report = try JSON.read("\(scratch.path)/table/\(row["family"]?.string ?? "")-1/report.json")
      let entry = try #require(report["also"]?["another text"])
      let (before, after) = (
        try #require(entry["eval_loss_before"]?.double), try #require(entry["eval_loss"]?.double)
      )
      #expect(before.isFinite && after != before && lost.isFinite)
    }
    for name in ["table.md", "table.csv", "table.json", "pareto.svg"] {
      #expect(Folder.exists("\(scratch.path)/table/\(name)"))
    }
    let text = String(decoding: try scratch.bytes("table/table.md"), as: UTF8.self)
    #expect(text.contains("another text lost") && text.contains("Lost: by how many nats"))
  }

  @Test func `Without names every family is compared that the recipe can train, and the others are told`() throws {
    try scratch.write(Scratch.rowsOfAllLengths.joined(separator: "\n"), to: "train.jsonl")
    let ending = try compare("train.epochs=1", "adapter.target_modules=[q_proj, o_proj]", "train.learning_rate=1e-4")
    try #require(ending.code == 0, "\(ending.errors)")
    #expect(ending.errors.contains("left out: clr: ") && ending.errors.contains("left out: bottleneck: "))
    #expect(ending.errors.contains("left out: mhr: ") && ending.errors.contains("no row names its task"))
    let rows = try #require(try JSON.read(scratch.path + "/table/table.json")["families"]?.array)
    let families = Set(rows.compactMap { $0["family"]?.string })
    let expected: Set = ["lora", "dora", "hydra", "corda", "s2ft", "int2.1", "qalora", "lrqat", "qllm", "full", "mosa"]
    #expect(families == expected, "\(families)\n\(ending.errors)")
  }

  @Test func `Given again, a comparison makes only what is missing, to the same table`() throws {
    try #require(try compare("--families", "lora,s2ft").code == 0)
    let first = try scratch.bytes("table/table.json")
    try FileManager.default.removeItem(atPath: scratch.path + "/table/s2ft-1")
    let kept = try scratch.bytes("table/lora-1/log.txt")
    let again = try compare("--families", "lora,s2ft")
    let after = try scratch.bytes("table/lora-1/log.txt")
    #expect(again.code == 0 && after == kept)
    func losses(_ data: Data) throws -> [Double] {
      let json = try JSON(parsing: String(decoding: data, as: UTF8.self), path: "table")
      return try #require(json["families"]?.array).compactMap { $0["loss_mean"]?.double }
    }
    let second = try losses(try scratch.bytes("table/table.json"))
    #expect(try losses(first) == second)
  }

  @Test func `With seconds as budget each family makes the steps that fit, counted once`() throws {
    let ending = try compare("--families", "lora,dora", "--budget", "seconds", "--seconds", "0.05")
    try #require(ending.code == 0, "\(ending.errors)")
    let counted = try scratch.bytes("table/steps.json")
    let steps = try #require(try JSON.read(scratch.path + "/table/steps.json")["steps"]?.object)
    for family in ["lora", "dora"] {
      let report = try JSON.read(scratch.path + "/table/\(family)-1/report.json")
      #expect(report["steps"]?.int == steps[family]?.int && steps[family]?.int ?? 0 >= 1)
    }
    #expect(try compare("--families", "lora,dora", "--budget", "seconds", "--seconds", "0.05").code == 0)
    #expect(try scratch.bytes("table/steps.json") == counted)
    let other = try compare("--families", "lora,dora", "--budget", "seconds", "--seconds", "9")
    #expect(other.code == 3 && other.errors.contains("not for 9.000 seconds"), "\(other.errors)")
  }

  @Test(arguments: [
    (["--budget", "seconds"], "--budget seconds needs --seconds"),
    (["--seconds", "3"], "no other budget does"),
    (["--families", "lora,lore"], "family 'lore' is not one of"),
    (["--families", "lora", "--set", "dora:adapter.dropout=0.1"], "family 'dora', which is not compared"),
    (["--families", "lora,mhr"], "'mhr' learns a mixture for each task, and no row names its task"),
    (["--seeds", "0"], "--seeds must be at least 1"),
  ])
  func `A comparison that cannot be made is refused before any run`(_ wrong: [String], _ problem: String) throws {
    let ending = try Command.run(["compare", "recipe.yaml", "--output", "table"] + wrong, in: scratch.path)
    #expect(ending.code == 2 && ending.errors.contains(problem), "\(ending.errors)")
    #expect(Folder.names(in: scratch.path + "/table").isEmpty)
  }
}
