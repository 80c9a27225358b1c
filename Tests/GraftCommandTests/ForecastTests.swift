import Files
import Foundation
import Testing

/// What a run says it will take, and what it takes.
struct ForecastTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  private func run(_ arguments: String...) throws -> Command.Ending { try Command.run(arguments, in: scratch.path) }

  private func writeSmallRun() throws {
    try scratch.copy("models/llama-tied", as: "model")
    try scratch.write("{\"text\": \"abc abc\"}", to: "train.jsonl")
    try scratch.write(
      "output_dir: run\nmodel: {path: model}\nadapter: {type: lora}\ndata: {train: train.jsonl}\n", to: "r.yaml")
  }

  @Test func `A dry run shows the plan and its forecast, and writes nothing`() throws {
    try writeSmallRun()
    let ending = try run("train", "r.yaml", "--dry-run")
    #expect(ending.code == 0 && ending.output.contains("forecast") && ending.output.contains("trainable numbers"))
    #expect(!FileManager.default.fileExists(atPath: scratch.path + "/run"))
  }

  @Test func `A dry run refuses what the run would, and makes no folder for results`() throws {
    try writeSmallRun()
    let base = try run("train", "r.yaml", "merge.output=model", "--dry-run")
    #expect(base.code == 2 && base.errors.contains("is the base model's own folder"), "\(base.code) \(base.errors)")
    let deep = try run("train", "r.yaml", "merge.output=far/away/merged", "--dry-run")
    #expect(deep.code == 0 && !FileManager.default.fileExists(atPath: scratch.path + "/far"), "\(deep.errors)")
  }

  @Test func `A run that would take more memory than allowed is refused before its first step`() throws {
    try writeSmallRun()
    let ending = try run("train", "r.yaml", "memory_limit_gb=0.001")
    #expect(ending.code == 1 && ending.errors.contains("allowed; set train.activation_checkpointing: true"))
    #expect(!ending.errors.contains("step 1/"))
  }

  @Test func `Batches longer than those tried take the memory that was forecast, within 15 %`() throws {
    let row = "{\"text\": \"\(String(repeating: "The quick brown fox jumps over the lazy dog. ", count: 40))\"}\n"
    try scratch.write(String(repeating: row, count: 16), to: "train.jsonl")
    try scratch.write(
      """
      output_dir: run
      model: {path: embedded}
      adapter: {type: lora, target_modules: all-linear}
      data: {train: train.jsonl, max_seq_len: 256, too_long: truncate_right}
      train: {max_steps: 2, batch_size: 16}
      """, to: "r.yaml")
    let ending = try run("train", "r.yaml")
    let line = try #require(ending.errors.split(separator: "\n").first { $0.hasPrefix("forecast") })
    let forecast = try #require(Double(line.split(separator: " ")[1]))
    let report = try JSON(
      parsing: String(contentsOfFile: scratch.path + "/run/report.json", encoding: .utf8), path: "report.json")
    let taken = try #require(report["training_peak_rss_mb"]?.double)
    #expect(abs(taken / forecast - 1) < 0.15, "\(line): \(taken) MB")
  }
}
