import Foundation
import Testing

/// Runs of adapters that are trained in modules and kept as one.
@Suite(.serialized)
struct SplitRunTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch(learning: Scratch.rowsOfAllLengths) }

  private func write(_ name: String, _ adapter: String, steps: Int = 60, more: String = "") throws {
    try scratch.write(
      """
      output_dir: \(name)
      model: { path: model }
      adapter: { \(adapter) }
      data: { train: train.jsonl, eval_fraction: 0.2 }
      train: { max_steps: \(steps), batch_size: 3, learning_rate: 0.01 }
      save: { every_steps: 10 }
      \(more)
      """, to: name + ".yaml")
  }

  private func adapter(_ name: String) throws -> Data { try scratch.bytes(name + "/adapter/adapter_model.safetensors") }

  @Test func `MoSA leaves a LoRA that merges faithfully and that another run can start from`() throws {
    try write("run", "type: mosa, rank: 4, alpha: 8, dropout: 0.1, share: none", more: "merge: { output: merged }")
    let ending = try Command.run(["train", "run.yaml"], in: scratch.path)
    #expect(ending.code == 0, "\(ending.errors)")
    let said = ending.output + ending.errors
    #expect(said.contains("bit for bit") && said.contains("the merged model does what base + adapter do"))
    let configuration = String(decoding: try scratch.bytes("run/adapter/adapter_config.json"), as: UTF8.self)
    #expect(configuration.contains("\"LORA\"") && !configuration.contains("splits"))
    try write("more", "type: lora, from: run/adapter", steps: 2)
    #expect(try Command.run(["train", "more.yaml"], in: scratch.path).code == 0)
  }

  @Test(arguments: ["type: mosa, rank: 4, share: none", "type: bottleneck, rank: 4, splits: 3, dropout: 0.1"])
  func `A run stopped by a signal ends with the bytes of one never stopped`(_ kind: String) throws {
    try write("whole", kind, steps: 400)
    try write("stopped", kind, steps: 400)
    #expect(try Command.run(["train", "whole.yaml"], in: scratch.path).code == 0)
    let command = try Command(["train", "stopped.yaml"], in: scratch.path)
    let checkpoint = scratch.path + "/stopped/checkpoints/step-000010"
    while command.isRunning, !FileManager.default.fileExists(atPath: checkpoint) { usleep(1000) }
    command.send(SIGTERM)
    #expect(command.end().code == 128 + SIGTERM)
    #expect(try Command.run(["resume", "stopped"], in: scratch.path).code == 0)
    #expect(try adapter("stopped") == adapter("whole"))
  }

  @Test func `A bottleneck is refused wherever it would have to fold, and computes wherever it need not`() throws {
    let sentence = "adapter 'bottleneck' cannot be merged: its activation makes the change depend on the input"
    try write("run", "type: bottleneck, rank: 4", more: "merge: { output: merged }")
    let refused = try Command.run(["train", "run.yaml"], in: scratch.path)
    #expect(refused.code == 2 && refused.errors.contains("run.yaml:7:1: \(sentence)"), "\(refused.errors)")
    #expect(!FileManager.default.fileExists(atPath: scratch.path + "/run"))
    let trained = try Command.run(["train", "run.yaml", "~merge"], in: scratch.path)
    #expect(trained.code == 0 && (trained.output + trained.errors).contains("bit for bit"), "\(trained.errors)")
    for arguments in [
      ["merge", "model", "run/adapter", "--output", "merged"],
      ["export", "model", "--adapter", "run/adapter", "--to", "gguf", "--output", "m.gguf"],
      ["export", "model", "--adapter", "run/adapter", "--to", "gguf-lora", "--output", "m.gguf"],
    ] {
      let ending = try Command.run(arguments, in: scratch.path)
      #expect(ending.code == 2 && ending.errors.contains(sentence), "\(ending.errors)")
    }
  }
}
