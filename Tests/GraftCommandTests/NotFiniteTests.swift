import Files
import Foundation
import Testing

/// What commands say of models with numbers that are none, on a tiny model.
struct NotFiniteTests {
  private let scratch: Scratch

  init() throws {
    scratch = try Scratch()
    for name in ["model", "broken"] { try scratch.copy("models/llama-untied", as: name) }
    try scratch.copy("adapters/llama-untied/lora", as: "adapter")
    try scratch.write(String(repeating: "The quick brown fox jumps over the lazy dog. ", count: 40), to: "text.txt")
  }

  private func run(_ arguments: [String]) throws -> Command.Ending { try Command.run(arguments, in: scratch.path) }

  /// Overwrites bytes of a tensor in the folder called `model`.
  private func spoil(_ model: String, _ tensor: String, at offset: Int = 0, with bytes: [UInt8]) throws {
    let path = scratch.path + "/\(model)/model.safetensors", entry = try Safetensors(path).entry(tensor)
    var data = try Data(contentsOf: URL(fileURLWithPath: path))
    let start = entry.range.lowerBound + offset
    data.replaceSubrange(start..<start + bytes.count, with: bytes)
    try data.write(to: URL(fileURLWithPath: path))
  }

  private let nan: [UInt8] = [0, 0, 0xc0, 0x7f]

  @Test(arguments: ["model.norm.weight", "lm_head.weight", "model.embed_tokens.weight"])
  func `A measure of a model that computes no numbers ends with code 3 and the tensor to blame`(_ tensor: String) throws
  {
    // Of the table, the row of a token that the text holds: all rows.
    let rows = tensor.contains("embed") ? 320 : 1
    for row in 0..<rows { try spoil("broken", tensor, at: row * 256, with: nan) }
    let text = ["--text", "text.txt", "--window", "16", "--windows", "2", "--json"]
    for arguments in [["kl", "model", "broken"], ["kl", "broken", "model"], ["perplexity", "broken"]] {
      let ending = try run(arguments + text)
      #expect(
        ending.code == 3 && ending.errors.contains("broken: tensor '\(tensor)': holds nan") && ending.output.isEmpty,
        "\(ending.code) \(ending.output)\(ending.errors)")
    }
  }

  @Test func `Nothing is written, told or classed by a model that computes no numbers`() throws {
    try spoil("broken", "model.norm.weight", with: nan)
    try scratch.copy("models/bert-cls", as: "encoder")
    try spoil("encoder", "classifier.weight", with: nan)
    try scratch.write("{\"text\": \"the quick\"}\n", to: "rows.jsonl")
    for arguments in [
      ["logits", "broken", "--text", "the", "--out", "logits.safetensors"], ["generate", "broken", "--prompt", "the"],
      ["logits", "encoder", "--text", "the", "--out", "logits.safetensors"], ["classify", "encoder", "--text", "the"],
      ["classify", "encoder", "--file", "rows.jsonl", "--output", "told.jsonl"],
    ] {
      let ending = try run(arguments), tensor = arguments[1] == "broken" ? "model.norm.weight" : "classifier.weight"
      #expect(
        ending.code == 3 && ending.errors.contains("tensor '\(tensor)': holds nan") && ending.output.isEmpty,
        "\(arguments): \(ending.code) \(ending.output)\(ending.errors)")
    }
    #expect(["logits.safetensors", "told.jsonl"].allSatisfy { !Folder.exists(scratch.path + "/" + $0) })
  }

  @Test func `A run whose first evaluation is no number ends before its first step`() throws {
    try spoil("broken", "model.norm.weight", with: nan)
    try scratch.write("{\"text\": \"the quick brown fox\"}\n", to: "rows.jsonl")
    try scratch.write(
      """
      output_dir: run
      model: {path: broken}
      adapter: {type: lora}
      data: {train: rows.jsonl, eval: rows.jsonl}
      train: {max_steps: 1}
      eval: {at_start: true}
      """, to: "r.yaml")
    let ending = try run(["train", "r.yaml"])
    #expect(
      ending.code == 3 && ending.errors.contains("so its losses on held-out rows are not finite"), "\(ending.errors)")
    #expect(!ending.errors.contains("step 1/") && !ending.errors.contains("held out after"))
  }

  @Test func `A scale that is no number is found in Graft's own form`() throws {
    let packed = try run([
      "quantize", "model", "--packing", "int4-g32", "--skip", "down_proj", "--output", "packed",
    ])
    try #require(packed.code == 0, "\(packed.errors)")
    // Behind a row's 32 bytes of codes comes a scale in the upper half of single precision.
    try spoil("packed", "model.layers.1.mlp.up_proj.weight", at: 32, with: [0xc0, 0x7f])
    let ending = try run(["perplexity", "packed", "--text", "text.txt", "--window", "16"])
    #expect(
      ending.code == 3
        && ending.errors.contains("packed: tensor 'model.layers.1.mlp.up_proj.weight': holds nan in row 0"),
      "\(ending.errors)")
  }

  @Test func `Such a base is not merged, and nothing is written`() throws {
    try spoil("broken", "model.norm.weight", with: nan)
    for way in [["--output", "merged"], ["--modes"], ["--output", "merged", "--format", "auto"]] {
      let ending = try run(["merge", "broken", "adapter"] + way)
      #expect(ending.code == 3 && ending.errors.contains("tensor 'model.norm.weight': holds nan"), "\(ending.errors)")
      #expect(!Folder.exists(scratch.path + "/merged"))
    }
  }

  @Test(arguments: ["model.norm.weight", "model.embed_tokens.weight", "lm_head.weight"])
  func `What is copied rather than packed is looked at before anything is packed`(_ tensor: String) throws {
    try spoil("broken", tensor, with: nan)
    let ending = try run(["quantize", "broken", "--packing", "int4-g32", "--skip", "down_proj", "--output", "packed"])
    #expect(
      ending.code == 3 && ending.errors.contains("broken: tensor '\(tensor)': holds nan"), "\(ending.errors)")
    #expect(!Folder.exists(scratch.path + "/packed") && !Folder.exists(scratch.path + "/packed.work"))
  }

  @Test(arguments: ["rtn", "awq", "gptq"])
  func `A weight too large to be packed is told by its layer`(_ method: String) throws {
    let huge = withUnsafeBytes(of: Float(3e38)) { Array($0) }
    try spoil("broken", "model.layers.1.mlp.up_proj.weight", with: huge)
    let ending = try run([
      "quantize", "broken", "--packing", "int4-g32", "--skip", "down_proj", "--output", "packed", "--method", method,
      "--calibration", "text.txt", "--length", "32", "--sequences", "4",
    ])
    #expect(
      ending.code == 3 && ending.errors.contains("broken: layer 'model.layers.1.mlp.up_proj'"),
      "\(ending.code) \(ending.output)\(ending.errors)")
    #expect(!Folder.exists(scratch.path + "/packed"))
  }
}
