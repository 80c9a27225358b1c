import Foundation
import Testing

/// Checkpoints that a run cannot go on from.
struct HostileCheckpointTests {
  private static let checkpoint = "out/checkpoints/step-000001"

  /// A run of two steps that was interrupted after the first.
  private func folder() throws -> Scratch {
    let scratch = try Scratch()
    try scratch.link("models/llama-tied", as: "m")
    try scratch.write(repeatElement("{\"text\": \"Hello, hello.\"}\n", count: 4).joined(), to: "d.jsonl")
    try scratch.write(
      """
      output_dir: out
      model: {path: m}
      adapter: {type: lora, rank: 2, target_modules: [q_proj]}
      data: {train: d.jsonl, max_seq_len: 64}
      train: {max_steps: 2, batch_size: 2}
      save: {every_steps: 1}
      log: {plot: false}

      """, to: "r.yaml")
    #expect(try Command.run(["train", "r.yaml"], in: scratch.path).code == 0)
    try FileManager.default.removeItem(atPath: scratch.path + "/out/checkpoints/step-000002")
    return scratch
  }

  @Test(arguments: [
    ("", ":1:1: expected a value"), ("{}", "is no checkpoint of this version"),
    (#"{"format": 1, "step": -1, "optimizer_steps": 0}"#, "is no checkpoint of this version"),
    (#"{"format": 1, "step": 1, "optimizer_steps": 1000000000000000000}"#, "is no checkpoint of this version"),
    (#"{"format": 1, "step": 9223372036854775807, "optimizer_steps": 1}"#, "but the run has 2"),
    (#"{"format": 1, "step": 1, "optimizer_steps": 1}"#, "has changed since this checkpoint was written"),
  ])
  func `A state that cannot be is refused`(_ text: String, _ words: String) throws {
    let scratch = try folder()
    try scratch.write(text, to: Self.checkpoint + "/state.json")
    try scratch.expect(["resume", "out"], endsWith: [3], about: Self.checkpoint, saying: words)
  }

  @Test(arguments: [
    ("parameters", "[64,2]", "[2,64]", "another shape"), ("parameters", "lora_A", "lora_C", "is not trained"),
    ("optimizer", "[64,2]", "[2,64]", "which no parameter of that name has"),
    ("optimizer", "[64,2]", "[128]", "which no parameter of that name has"),
    ("optimizer", "[64,2]", "[1,1,1,64,2]", "which none of a run's has"),
    ("optimizer", "first.", "third", "which no parameter of that name has"),
  ])
  func `Tensors that a run cannot have are refused`(
    _ file: String, _ old: String, _ new: String, _ words: String
  ) throws {
    let scratch = try folder()
    let path = "\(Self.checkpoint)/\(file).safetensors"
    let parts = SafetensorsParts([UInt8](try scratch.bytes(path)))
    try scratch.write(
      SafetensorsParts(header: parts.header.replacing(old, with: new), data: parts.data).bytes, to: path)
    try scratch.expect(["resume", "out"], endsWith: [3], about: Self.checkpoint, saying: words)
  }

  @Test(arguments: ["state.json", "parameters.safetensors", "optimizer.safetensors"], 0..<4)
  func `A file that was cut is refused`(_ name: String, _ quarters: Int) throws {
    let scratch = try folder()
    let bytes = try scratch.bytes("\(Self.checkpoint)/\(name)")
    try scratch.write(Array(bytes.prefix(bytes.count * quarters / 4)), to: "\(Self.checkpoint)/\(name)")
    try scratch.expect(["resume", "out"], endsWith: [3], about: Self.checkpoint)
  }
}
