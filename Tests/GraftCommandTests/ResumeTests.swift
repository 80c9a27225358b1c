import Foundation
import Testing

/// Runs of a tiny model, stopped in every way a run can be stopped.
@Suite(.serialized)
struct ResumeTests {
  private let scratch: Scratch
  private let steps = 1200

  init() throws { scratch = try Scratch(learning: Scratch.rowsOfAllLengths) }

  /// A recipe in which everything random is in use: dropout, shuffling, a fraction of an epoch.
  private func write(
    _ name: String, optimizer: String = "adamw", adapter: String = "type: lora", more: String = ""
  ) throws {
    try scratch.write(
      """
      output_dir: \(name)
      model: { path: model }
      adapter: { \(adapter), rank: 4, alpha: 8, dropout: 0.1 }
      data: { train: train.jsonl, eval: eval.jsonl }
      train: { max_steps: \(steps), batch_size: 3, gradient_accumulation_steps: 2, optimizer: \(optimizer) }
      eval: { every_steps: 150 }
      save: { every_steps: 25 }
      \(more)
      """, to: name + ".yaml")
  }

  private func adapter(_ name: String) throws -> Data { try scratch.bytes(name + "/adapter/adapter_model.safetensors") }

  private func waitForCheckpoint(_ name: String, _ command: Command) {
    let first = scratch.path + "/\(name)/checkpoints/step-000025"
    while command.isRunning, !FileManager.default.fileExists(atPath: first) { usleep(1000) }
  }

  private func losses(_ name: String) throws -> [String] {
    String(decoding: try scratch.bytes(name + "/metrics.jsonl"), as: UTF8.self).split(separator: "\n").map { line in
      // What a step computed; how fast it did and in how much memory may differ.
      line.split(separator: ",").filter { !$0.contains("tokens_per_s") && !$0.contains("rss_mb") }
        .joined(separator: ",")
    }
  }

  @Test(
    arguments: [
      ("type: lora", ""),
      // Six hundred steps a round, so that kills fall into either and saves upon the border.
      ("type: qllm, activation_bits: 4", "objective: { type: blocks, blocks: 1 }"),
    ])
  func `A run killed at ten random moments ends with the bytes of one never stopped`(
    _ adapter: String, _ more: String
  ) throws {
    try write("whole", adapter: adapter, more: more)
    try write("killed", adapter: adapter, more: more)
    #expect(try Command.run(["train", "whole.yaml"], in: scratch.path).code == 0)
    var kills = 0, delays: [UInt32] = []
    while kills < 10 {
      let begun = FileManager.default.fileExists(atPath: scratch.path + "/killed/resolved.yaml")
      let threads = kills % 2 + 1
      let command = try Command(
        begun ? ["resume", "killed", "--threads", "\(threads)"] : ["train", "killed.yaml", "--overwrite"],
        in: scratch.path)
      let delay = UInt32.random(in: 20_000...350_000)
      delays.append(delay)
      usleep(delay)
      guard command.isRunning else { break }
      command.send(SIGKILL)
      #expect(command.end().code == -SIGKILL)
      kills += 1
    }
    let last = try Command.run(["resume", "killed", "--threads", "1"], in: scratch.path)
    #expect(last.code == 0, "\(last.errors)")
    #expect(try self.adapter("killed") == self.adapter("whole"), "after kills at \(delays) µs")
    #expect(try losses("killed") == losses("whole"))
    let names = try FileManager.default.subpathsOfDirectory(atPath: scratch.path + "/killed")
    #expect(!names.contains { $0.contains(".partial-") })
  }

  @Test(arguments: [(SIGINT, 130), (SIGTERM, 143)] as [(Int32, Int32)])
  func `A signal ends the step, leaves a complete checkpoint and says how to go on`(
    _ signal: Int32, _ code: Int32
  ) throws {
    try write("whole", optimizer: "sgd")
    try write("stopped", optimizer: "sgd")
    #expect(try Command.run(["train", "whole.yaml"], in: scratch.path).code == 0)
    let command = try Command(["train", "stopped.yaml"], in: scratch.path)
    waitForCheckpoint("stopped", command)
    command.send(signal)
    let ending = command.end()
    #expect(ending.code == code, "\(ending.errors.suffix(400))")
    #expect(ending.errors.contains("interrupted after step ") && ending.errors.contains("graft resume stopped"))
    // Beginning anew over it would lose it, and needs to be asked for.
    let again = try Command.run(["train", "stopped.yaml"], in: scratch.path)
    #expect(again.code == 2 && again.errors.contains("holds an unfinished run") && again.errors.contains("--overwrite"))
    #expect(try Command.run(["resume", "stopped"], in: scratch.path).code == 0)
    #expect(try adapter("stopped") == adapter("whole"))
  }

  @Test func `A resumed run refuses data that have changed`() throws {
    try write("changed")
    let command = try Command(["train", "changed.yaml"], in: scratch.path)
    waitForCheckpoint("changed", command)
    command.send(SIGTERM)
    #expect(command.end().code == 143)
    try scratch.write("{\"input_ids\": [1, 2, 3]}", to: "train.jsonl")
    let ending = try Command.run(["resume", "changed"], in: scratch.path)
    #expect(ending.code == 3 && ending.errors.contains("data") && ending.errors.contains("has changed"))
  }

  @Test func `A run that starts from an adapter starts as that adapter ends`() throws {
    try write("first")
    #expect(try Command.run(["train", "first.yaml", "max_steps=20"], in: scratch.path).code == 0)
    let ending = try Command.run(
      ["train", "first.yaml", "max_steps=1", "learning_rate=0", "output_dir=second", "adapter.from=first/adapter"],
      in: scratch.path)
    #expect(ending.code == 0, "\(ending.errors)")
    #expect(try adapter("second") == adapter("first"))
  }
}
