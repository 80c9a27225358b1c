import Files
import Foundation
import Testing

/// What `graft merge` refuses, and what it leaves alone, on a tiny model some of whose layers are packed.
struct MergeRefusalTests {
  private let scratch: Scratch

  init() throws {
    scratch = try Scratch()
    try scratch.copy("models/llama-untied", as: "model")
    try scratch.copy("adapters/llama-untied/lora", as: "adapter")
    let packed = try Command.run(
      ["quantize", "model", "--packing", "int4-g32", "--skip", "down_proj", "--output", "base"], in: scratch.path)
    try #require(packed.code == 0, "\(packed.errors)")
  }

  private func merge(_ options: [String], base: String = "base") throws -> Command.Ending {
    try Command.run(["merge", base, "adapter"] + options, in: scratch.path)
  }

  @Test(arguments: ["empty.txt", "empty.jsonl"])
  func `A proof on no tokens is none`(_ name: String) throws {
    try scratch.write("", to: name)
    let ending = try merge(["--output", "merged", "--probe", name])
    #expect(ending.code == 3 && ending.errors.contains(name), "\(ending.code) \(ending.output)\(ending.errors)")
    #expect(!Folder.exists(scratch.path + "/merged"))
  }

  @Test(arguments: [
    (["--max-kl=-1"], "--max-kl -1"), (["--max-kl", "nan"], "--max-kl nan"), (["--max-kl", "inf"], "--max-kl inf"),
    (["--min-top1", "98"], "from 0 to 1"), (["--min-top1", "nan"], "from 0 to 1"),
    (["--min-survival", "50"], "from 0 to 1"), (["--min-survival=-3"], "from 0 to 1"),
    (["--raise", "q8_0"], "belongs to --format requantize"),
    (["--format", "auto", "--raise", "q8_0"], "belongs to --format requantize"), (["--modes"], "leave --output out"),
    (["--format", "requantize", "--raise", "int2-g32"], "no changed layer lies in fewer bits than int2-g32"),
    (["--format", "requantize", "--raise", "q6_K", "--min-survival", "1"], "cannot be raised: Q6_K"),
  ])
  func `Options out of range, or that mean nothing, are refused before anything is written`(
    _ options: [String], _ problem: String
  ) throws {
    let ending = try merge(["--output", "merged"] + options)
    #expect(ending.code == 2 && ending.errors.contains(problem), "\(ending.code) \(ending.output)\(ending.errors)")
    #expect(!Folder.exists(scratch.path + "/merged"))
  }

  @Test func `Packings that a GGUF file has no type for are refused with code 2`() throws {
    for options in [["--format", "requantize"], ["--format", "requantize", "--raise", "int8-g32"]] {
      let ending = try merge(["--output", "merged.gguf"] + options)
      #expect(ending.code == 2 && ending.errors.contains("has no GGUF type"), "\(ending.code) \(ending.errors)")
    }
    let capitals = try merge(["--output", "merged.GGUF"])
    #expect(capitals.code == 2 && capitals.errors.contains("in small letters"), "\(capitals.errors)")
    for ending in ["gguf", "GGUF"] {
      let folder = try Command.run(["export", "base", "--to", "hf", "--output", "merged.\(ending)"], in: scratch.path)
      #expect(folder.code == 2 && folder.errors.contains("a folder is to be written"), "\(folder.errors)")
    }
    #expect(Folder.names(in: scratch.path).allSatisfy { !$0.hasPrefix("merged") })
  }

  @Test func `Layers that lie as floats are never raised to eight bits`() throws {
    let ending = try merge(["--modes", "--json", "--max-kl", "0", "--min-survival", "1"])
    try #require(ending.code == 0, "\(ending.errors)")
    let mixed = try #require(try JSON(parsing: ending.output).array?.first { $0["mode"]?.string == "mixed" })
    let raised = mixed["raised"]?.array?.compactMap(\.string) ?? []
    // Two blocks of seven layers, of which down_proj, with 176 inputs, is no multiple of 32.
    #expect(raised.count == 12 && raised.allSatisfy { !$0.hasSuffix("down_proj") }, "\(raised)")
  }

  @Test func `What is advised can be done`() throws {
    let ending = try merge(["--output", "merged", "--max-kl", "0"])
    #expect(ending.code == 4 && ending.output.contains("keep the adapter beside its base"), "\(ending.output)")
    #expect(!ending.output.contains("--format full") && !ending.output.contains("layers above"), "\(ending.output)")
  }

  @Test func `An adapter's tensor that is missing, too short or of another rank is named`() throws {
    let path = scratch.path + "/adapter/adapter_model.safetensors",
      name = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"
    let file = try Safetensors(path)
    let whole = Dictionary(
      uniqueKeysWithValues: try file.names.map { name in
        let entry = try file.entry(name)
        return (name, TensorToWrite(name: name, floats: try entry.floats(), shape: entry.shape))
      })
    let short = TensorToWrite(name: name, floats: [Float](repeating: 0, count: 400), shape: [100, 4])
    for changed in [nil, short] {
      var written = whole
      written[name] = changed
      try Safetensors.write(Array(written.values), to: path)
      let ending = try merge(["--output", "merged"], base: "model")
      #expect(ending.code == 3 && ending.errors.contains(name), "\(ending.errors)")
    }
    try Safetensors.write(Array(whole.values), to: path)
    let configuration = scratch.path + "/adapter/adapter_config.json"
    let text = try String(contentsOfFile: configuration, encoding: .utf8)
    try text.replacing("\"r\": 4", with: "\"r\": 8").write(toFile: configuration, atomically: true, encoding: .utf8)
    let ending = try merge(["--output", "merged"], base: "model")
    #expect(
      ending.code == 3 && ending.errors.contains("lora_A.weight") && ending.errors.contains("has shape"),
      "\(ending.errors)")
  }

  @Test func `An adapter that names another base than this one's own name is told of, and taken`() throws {
    let path = scratch.path + "/model/config.json", text = try String(contentsOfFile: path, encoding: .utf8)
    for (own, warns) in [("someone/another-model", true), ("hub/llama-untied", false)] {
      try text.replacing("{\n  \"architectures\"", with: "{\n  \"_name_or_path\": \"\(own)\",\n  \"architectures\"")
        .write(toFile: path, atomically: true, encoding: .utf8)
      let ending = try Command.run(
        ["logits", "model", "--adapter", "adapter", "--ids", "1,2", "--out", "x"], in: scratch.path)
      #expect(
        ending.code == 0 && ending.errors.contains("warning: adapter was trained on") == warns, "\(ending.errors)")
    }
  }
}
