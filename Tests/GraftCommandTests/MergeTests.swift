import Files
import Foundation
import Testing

/// Merging, and what it says of itself, on a tiny model packed in 4 bits.
struct MergeTests {
  private let scratch: Scratch

  init() throws {
    scratch = try Scratch(learning: Scratch.rowsAlike)
    try scratch.write(
      """
      output_dir: run
      model: { path: base.gguf }
      adapter: { type: lora, rank: 4, alpha: 8 }
      data: { train: train.jsonl }
      train: { max_steps: 30, learning_rate: 0.02 }
      """, to: "recipe.yaml")
    let export = try Command.run(
      ["export", "model", "--to", "gguf", "--type", "q4_0", "--output", "base.gguf"], in: scratch.path)
    try #require(export.code == 0, "\(export.errors)")
  }

  private func train(_ changes: String...) throws {
    let ending = try Command.run(["train", "recipe.yaml"] + changes, in: scratch.path)
    try #require(ending.code == 0, "\(ending.errors)")
  }

  private func merge(_ options: String...) throws -> Command.Ending {
    try Command.run(["merge", "base.gguf", "run/adapter", "--output", "merged.gguf"] + options, in: scratch.path)
  }

  private func tensors(_ name: String) throws -> [String: Data] {
    let file = try GGUF(scratch.path + "/" + name)
    var found: [String: Data] = [:]
    for name in file.names { found[name] = try file.tensor(name).bytes.withMemoryRebound(to: UInt8.self) { Data($0) } }
    return found
  }

  @Test(arguments: ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "iq4_nl", "mxfp4", "nvfp4", "q2_0"])
  func `An adapter that changes nothing leaves every packed byte as it was`(_ type: String) throws {
    let export = try Command.run(
      ["export", "model", "--to", "gguf", "--type", type, "--output", "base.gguf"], in: scratch.path)
    try #require(export.code == 0, "\(export.errors)")
    let before = try scratch.bytes("base.gguf")
    try train("learning_rate=0")
    let ending = try merge("--format", "requantize")
    #expect(ending.code == 0, "\(ending.output)\(ending.errors)")
    #expect(ending.output.contains("logit difference   max 0 "))
    #expect(try tensors("merged.gguf") == tensors("base.gguf"))
    #expect(try scratch.bytes("base.gguf") == before)
  }

  @Test func `A change that 4 bits cannot hold ends with code 4, the layers' names and what to do`() throws {
    try train("learning_rate=0.0005")
    let ending = try merge("--format", "requantize", "--min-survival", "0.9")
    #expect(ending.code == 4)
    #expect(ending.output.contains("NOT faithful"))
    #expect(ending.output.contains("model.layers.0.self_attn.q_proj") && ending.output.contains("left in Q4_0"))
    for remedy in ["keep the adapter beside its base", "--format full", "--raise q8_0"] {
      #expect(ending.output.contains(remedy))
    }
  }

  @Test func `Folders of what a run shall write are made before it trains, and what cannot be made is told then`()
    throws
  {
    try train("merge.output=new/deeper/merged.gguf", "export.gguf=other/model.gguf", "max_steps=2", "learning_rate=0")
    #expect(
      Folder.exists(scratch.path + "/new/deeper/merged.gguf") && Folder.exists(scratch.path + "/other/model.gguf"))
    let ending = try Command.run(
      ["train", "recipe.yaml", "--overwrite", "merge.output=base.gguf/merged.gguf"], in: scratch.path)
    #expect(ending.code == 3 && ending.errors.contains("base.gguf: is a file"), "\(ending.code) \(ending.errors)")
    #expect(!ending.errors.contains("step"), "\(ending.errors)")
  }

  @Test func `Raising the lost layers to eight bits keeps the change`() throws {
    try train()
    let bounds = ["--min-survival", "0.9", "--max-kl", "0.05", "--min-top1", "0.9"]
    let ending = try Command.run(
      ["merge", "base.gguf", "run/adapter", "--output", "merged.gguf", "--format", "requantize", "--raise", "q8_0"]
        + bounds, in: scratch.path)
    #expect(ending.code == 0, "\(ending.output)\(ending.errors)")
  }

  @Test func `A merged model in floats computes what base and adapter do`() throws {
    try train()
    let before = try scratch.bytes("base.gguf")
    #expect(try merge("--format", "full").code == 0)
    #expect(try scratch.bytes("base.gguf") == before)
    let ids = ["--ids", "3,17,29,40,55,90", "--out"]
    let apart = ["logits", "base.gguf", "--adapter", "run/adapter"] + ids + ["apart.safetensors"]
    #expect(try Command.run(apart, in: scratch.path).code == 0)
    #expect(try Command.run(["logits", "merged.gguf"] + ids + ["folded.safetensors"], in: scratch.path).code == 0)
    func logits(_ name: String) throws -> [Float] {
      try Safetensors(scratch.path + "/" + name).entry("logits").floats()
    }
    let (a, b) = (try logits("apart.safetensors"), try logits("folded.safetensors"))
    #expect(a.count == 6 * 320 && zip(a, b).allSatisfy { abs($0 - $1) <= 1e-5 * max(1, abs($0)) })
  }

  @Test(arguments: ["llama3-rope", "qwen3", "qwen2", "llama-tied"])
  func `A model exported as GGUF computes what its folder does`(_ name: String) throws {
    try scratch.copy("models/" + name, as: name)
    let export = try Command.run(["export", name, "--to", "gguf", "--output", "x.gguf"], in: scratch.path)
    #expect(export.code == 0, "\(export.errors)")
    let ids = (0..<60).map { String(3 + $0 * 5 % 300) }.joined(separator: ",")
    func logits(_ model: String) throws -> [Float] {
      let ending = try Command.run(["logits", model, "--ids", ids, "--out", "o.safetensors"], in: scratch.path)
      #expect(ending.code == 0, "\(ending.errors)")
      return try Safetensors(scratch.path + "/o.safetensors").entry("logits").floats()
    }
    let (folder, file) = (try logits(name), try logits("x.gguf"))
    #expect(folder.count == 60 * 320 && zip(folder, file).allSatisfy { abs($0 - $1) < 2e-5 })
  }

  @Test func `An adapter is not put on another base unless that is asked for`() throws {
    try train()
    let other = try Command.run(
      ["export", "model", "--to", "gguf", "--type", "q8_0", "--output", "base.gguf"], in: scratch.path)
    try #require(other.code == 0)
    let refused = try merge("--format", "full")
    #expect(refused.code == 3 && refused.errors.contains("was trained on") && refused.errors.contains("--any-base"))
    #expect(!FileManager.default.fileExists(atPath: scratch.path + "/merged.gguf"))
    #expect(try merge("--format", "full", "--any-base").code == 0)
  }
}
