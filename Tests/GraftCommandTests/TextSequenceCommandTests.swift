import Files
import Foundation
import Testing

/// `graft sequence` on text as a user runs it, on the small decoder and the questions that come with Graft.
struct TextSequenceCommandTests {
  private let scratch: Scratch
  private let data = URL(fileURLWithPath: fixtures).deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Data").path

  init() throws { scratch = try Scratch() }

  @Test func `Topics selected from one file are learned in turn over a packed base, and the table says what was lost`()
    throws
  {
    try scratch.write(
      """
      output_dir: out
      model: {path: embedded}
      quantization: {packing: int4, group_size: 64}
      adapter: {type: lora, rank: 2, alpha: 4, target_modules: [q_proj, v_proj]}
      data:
        train: \(data)/chatterbot/train.jsonl
        eval: \(data)/chatterbot/eval.jsonl
        task_field: topic
        train_on: completion
        max_seq_len: 256
        too_long: truncate_right
      train: {epochs: 1, batch_size: 8, learning_rate: 3e-3}
      strategies: [adapter, sequential]
      tasks: [{name: politics}, {name: meals, select: food}]
      """, to: "sequence.yaml")
    let check = try Command.run(["validate", "sequence.yaml"], in: scratch.path)
    #expect(check.code == 0 && check.output.contains("well-formed"))
    let ending = try Command(["sequence", "sequence.yaml", "--json"], in: scratch.path).end(within: 120)
    try #require(ending.code == 0, "\(ending.errors)")
    let results = try #require(try JSON(parsing: ending.output)["results"]?.array)
    #expect(results.map { $0["strategy"]?.string } == ["adapter", "sequential"])
    #expect(results[0]["outputs_unchanged"] == .bool(true) && results[1]["outputs_unchanged"] == .null)
    let losses = try results.map { result in
      try #require(result["loss"]?.array).map { ($0.array ?? []).map(\.double) }
    }
    // The first task is learned alike, and the untrained model knew less of it.
    let untrained = try #require(results[1]["baseline"]?.array?[0].double)
    #expect(losses[0][0][0] == losses[1][0][0] && (losses[0][0][0] ?? 9) < untrained)
    #expect(losses[0][1][0] == losses[0][0][0] && losses[0][0][1] == nil)
    #expect(results[0]["bytes_added"]?.array?.allSatisfy { ($0.int ?? 0) > 1000 } == true)
    for name in ["results.json", "losses.csv", "adapter.svg", "curves.svg", "report.html", "tasks/meals.eval.jsonl"] {
      #expect(Folder.exists(scratch.path + "/out/" + name), "\(name)")
    }
    // A task's adapter serves as any other.
    let told = try Command.run(
      [
        "generate", "embedded", "--adapter", "out/adapter/1-politics/adapter", "--prompt", "Hi", "--max-new-tokens",
        "2",
      ],
      in: scratch.path)
    #expect(told.code == 0, "\(told.errors)")
  }

  @Test func `A wrong recipe of texts is told by validate too`() throws {
    try scratch.write("tasks: [{name: a}]\nstrategies: [adaptor]\nadapter: {type: lora}\n", to: "wrong.yaml")
    let check = try Command.run(["validate", "wrong.yaml"], in: scratch.path)
    #expect(check.code == 2)
    for part in ["did you mean 'adapter'?", "'output_dir' is missing", "'tasks' has 'a' without files"] {
      #expect(check.errors.contains(part), "\(part)\n\(check.errors)")
    }
  }
}
