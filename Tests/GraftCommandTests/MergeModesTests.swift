import Files
import Foundation
import Testing

/// Which way of merging into a packed base is taken, as a user sees it.
struct MergeModesTests {
  private let scratch: Scratch

  /// A base in four bits, and a LoRA whose change is about as large as the grid's steps.
  init() throws {
    scratch = try Scratch()
    try #require(try run("export", "embedded", "--to", "gguf", "--type", "q4_0", "--output", "base.gguf").code == 0)
    try scratch.write("{\"text\": \"The quick brown fox\"}\n{\"text\": \"jumps over the lazy dog.\"}", to: "rows.jsonl")
    try scratch.write(
      """
      seed: 1
      output_dir: run
      model: {path: base.gguf}
      adapter: {type: lora, rank: 4, alpha: 8}
      data: {train: rows.jsonl, format: text, max_seq_len: 32}
      train: {max_steps: 12, batch_size: 2, learning_rate: 3e-3}
      """, to: "recipe.yaml")
    let trained = try run("train", "recipe.yaml")
    try #require(trained.code == 0, "\(trained.errors)")
  }

  private func run(_ arguments: String...) throws -> Command.Ending { try Command.run(arguments, in: scratch.path) }

  private func modes(_ arguments: String...) throws -> [String: JSON] {
    let ending = try Command.run(
      ["merge", "base.gguf", "run/adapter", "--modes", "--json"] + arguments, in: scratch.path)
    try #require(ending.code == 0, "\(ending.errors)")
    let found = try #require(try JSON(parsing: ending.output).array)
    return Dictionary(uniqueKeysWithValues: found.compactMap { mode in mode["mode"]?.string.map { ($0, mode) } })
  }

  private func size(_ mode: JSON?) -> Int { mode?["bytes"]?.int ?? 0 }

  @Test func `Every mode is told, and none is written`() throws {
    let before = Folder.names(in: scratch.path)
    let found = try modes("--max-kl", "1e-5")
    #expect(Set(found.keys) == ["beside", "full", "requantize", "mixed"])
    #expect(size(found["requantize"]) < size(found["mixed"]) && size(found["mixed"]) < size(found["full"]))
    #expect(found["full"]?["kl"]?.double ?? 1 < 1e-6)
    #expect(found["requantize"]?["holds"] == .bool(false))
    #expect(Folder.names(in: scratch.path) == before)
  }

  @Test(arguments: [
    (["--max-kl", "9", "--min-top1", "0", "--min-survival", "0"], "requantize"),
    (["--max-kl", "1e-3", "--min-top1", "0"], "mixed"), (["--max-kl", "1e-9", "--min-top1", "0"], "full"),
  ])
  func `The smallest that keeps the bounds is written, of the size it was said to have`(
    _ bounds: [String], _ wanted: String
  ) throws {
    let told = try Command.run(
      ["merge", "base.gguf", "run/adapter", "--modes", "--json"] + bounds, in: scratch.path)
    let found = try #require(try JSON(parsing: told.output).array?.first { $0["mode"]?.string == wanted })
    let ending = try Command.run(
      ["merge", "base.gguf", "run/adapter", "--output", "merged", "--format", "auto"] + bounds, in: scratch.path)
    #expect(ending.code == 0, "\(ending.output)\(ending.errors)")
    let file = try Safetensors(scratch.path + "/merged/model.safetensors")
    let bytes = try file.names.reduce(0) { try $0 + file.entry($1).range.count }
    // In a folder, floats make everything floats, as every reader of such folders knows them.
    #expect(wanted == "full" ? bytes > size(found) : bytes == size(found))
    let kl = try run(
      "kl", "base.gguf", "merged", "--adapter", "run/adapter", "--text", "rows.jsonl", "--window", "4", "--json")
    #expect(kl.code == 0, "\(kl.errors)")
  }

  @Test func `Where no merged model keeps the bounds that is said, and nothing is written`() throws {
    let ending = try run(
      "merge", "base.gguf", "run/adapter", "--output", "merged", "--format", "auto", "--max-kl", "0", "--min-survival",
      "1")
    #expect(ending.code == 4 && ending.errors.contains("no merged model keeps the bounds"), "\(ending.errors)")
    #expect(!Folder.exists(scratch.path + "/merged"))
    let silent = try run("merge", "base.gguf", "run/adapter")
    #expect(silent.code == 2 && silent.errors.contains("--output is missing"))
  }
}
