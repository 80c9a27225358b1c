import Files
import Foundation
import Testing

/// `graft quantize` as a user runs it, over the small model that comes with Graft, in float, and a passage of text.
struct QuantizeTests {
  private let scratch: Scratch

  init() throws {
    scratch = try Scratch(withModel: "model")
    try scratch.write(String(repeating: "The quick brown fox jumps over the lazy dog. ", count: 400), to: "text.txt")
  }

  private func run(_ arguments: String...) throws -> Command.Ending { try Command.run(arguments, in: scratch.path) }

  private func quantize(_ output: String, _ arguments: String...) throws -> Command.Ending {
    try Command.run(
      ["quantize", "model", "--output", output, "--calibration", "text.txt", "--length", "32", "--sequences", "16"]
        + arguments, in: scratch.path)
  }

  @Test(arguments: [
    ["--packing", "int3-g32", "--method", "gptq"], ["--packing", "int4-g32-f16-zero", "--method", "awq"],
    ["--packing", "int3-g32", "--method", "adadim"], ["--packing", "fp4-g32-e8", "--method", "fp4"],
    ["--packing", "q4_0", "--method", "os+"], ["--packing", "nf4"],
    ["--packing", "int2-row", "--scale", "awq", "--round", "gptq", "--clip", "weights"],
  ])
  func `A packed model is read back, writes text, and adapters train on it without changing a byte`(
    _ arguments: [String]
  ) throws {
    let ending = try Command.run(
      ["quantize", "model", "--output", "packed", "--calibration", "text.txt", "--length", "32", "--sequences", "16"]
        + arguments, in: scratch.path)
    try #require(ending.code == 0, "\(ending.errors)")
    #expect(ending.output.contains("packed 49 layers") && ending.output.contains("outputs lost"))
    #expect(!Folder.exists(scratch.path + "/packed.work"))
    let table = try String(contentsOfFile: scratch.path + "/packed/quantization.csv", encoding: .utf8)
    #expect(table.split(separator: "\n").count == 50)
    let inspected = try run("inspect", "packed")
    #expect(inspected.code == 0, "\(inspected.errors)")
    let before = try Data(contentsOf: URL(fileURLWithPath: scratch.path + "/packed/model.safetensors"))
    try scratch.write("{\"text\": \"The quick brown fox\"}\n{\"text\": \"the lazy dog.\"}", to: "rows.jsonl")
    try scratch.write(
      """
      seed: 1
      output_dir: run
      model: {path: packed}
      adapter: {type: lora, rank: 4, alpha: 8}
      data: {train: rows.jsonl, format: text, max_seq_len: 32}
      train: {max_steps: 2, batch_size: 2, learning_rate: 1e-3}
      """, to: "recipe.yaml")
    let trained = try run("train", "recipe.yaml")
    #expect(trained.code == 0, "\(trained.errors)")
    #expect(try Data(contentsOf: URL(fileURLWithPath: scratch.path + "/packed/model.safetensors")) == before)
    let merged = try run("merge", "packed", "run/adapter", "--output", "merged")
    #expect(merged.code == 0, "\(merged.output)\(merged.errors)")
  }

  @Test func `A GGUF file holds what the packed folder holds`() throws {
    try #require(try quantize("packed", "--packing", "q4_0", "--method", "awq").code == 0)
    let file = try quantize("packed.gguf", "--packing", "q4_0", "--method", "awq")
    try #require(file.code == 0, "\(file.errors)")
    for model in ["packed", "packed.gguf"] {
      try #require(try run("logits", model, "--ids", "1,5,9,33,2", "--out", model + ".logits").code == 0)
    }
    func logits(_ name: String) throws -> [Float] {
      let file = try Safetensors(scratch.path + "/" + name + ".logits")
      return try file.entry(file.names[0]).floats()
    }
    let (a, b) = (try logits("packed"), try logits("packed.gguf"))
    #expect(zip(a, b).allSatisfy { abs($0 - $1) < 1e-4 })
  }

  @Test(arguments: [
    (["--packing", "int5"], 2, "unknown packing"),
    (["--packing", "int4-g32", "--method", "magic"], 2, "expected rtn, gptq, awq"),
    (["--packing", "q4_0", "--method", "gptq"], 2, "has rules of its own"),
    (["--packing", "int4-g48"], 2, "a group is a multiple of 32"),
    (["--packing", "int4-g4096"], 2, "4096 share a scale"),
    (["--packing", "int4-g32", "--embedding", "int4-g4096"], 2, "embedding 'model.embed_tokens': "),
    (["--packing", "int4-g32", "--embedding", "int4-g4096"], 2, "or choose another with --embedding"),
    (["--packing", "q4_0", "--embedding", "int4-g32", "--output", "x.gguf"], 2, "of the embedding has no GGUF type"),
    (["--packing", "int4-g4096"], 2, "or leave it as it is with --skip"),
    (["--packing", "int4-g32", "--calibration", "empty.txt"], 3, "fewer than one sequence"),
    (["--packing", "int4-g32", "--calibration", "nowhere.txt"], 3, "nowhere.txt"),
    (["--packing", "int4-g32", "--length", "100000"], 2, "the model reads at most"),
    (["--packing", "int4-g32", "--axis", "up"], 2, "expected as_packed or adaptive"),
  ])
  func `What cannot be done is refused, and nothing is written`(
    _ arguments: [String], _ code: Int, _ problem: String
  ) throws {
    try scratch.write("", to: "empty.txt")
    let ending = try Command.run(
      ["quantize", "model", "--output", "packed", "--calibration", "text.txt", "--length", "32"] + arguments,
      in: scratch.path)
    #expect(Int(ending.code) == code && ending.errors.contains(problem), "\(ending.code) \(ending.errors)")
    #expect(!["packed", "packed.work", "x.gguf", "x.gguf.work"].contains { Folder.exists(scratch.path + "/" + $0) })
  }

  @Test func `Methods that measure want a text, and a packed model is not packed again unasked`() throws {
    let blind = try run("quantize", "model", "--output", "packed", "--packing", "int4-g32", "--method", "gptq")
    #expect(blind.code == 2 && blind.errors.contains("there is no calibration text"))
    try #require(try quantize("packed", "--packing", "int4-g32").code == 0)
    let again = try run("quantize", "packed", "--output", "twice", "--packing", "int2-g32")
    #expect(again.code == 2 && again.errors.contains("is packed already"), "\(again.errors)")
    let asked = try run("quantize", "packed", "--output", "twice", "--packing", "int2-g32", "--requantize")
    #expect(asked.code == 0, "\(asked.errors)")
    let gguf = try run("quantize", "model", "--output", "x.gguf", "--packing", "int4-g32")
    #expect(gguf.code == 2 && gguf.errors.contains("has no GGUF type"))
  }

  @Test func `A recipe says what options say, and options go before it`() throws {
    try scratch.write(
      """
      model: model
      output: packed
      packing: int3-g32
      scale: awq
      round: gptq
      embedding: q8_0
      skip: [o_proj]
      calibration: {data: text.txt, sequences: 16, length: 32}
      """, to: "packing.yaml")
    let check = try run("validate", "packing.yaml")
    #expect(check.code == 0 && check.output == "packing.yaml: well-formed\n")
    #expect(try run("validate", "packing.yaml", "--print-resolved").errors.contains("is of recipes of runs"))
    let said = try run("quantize", "packing.yaml")
    try #require(said.code == 0, "\(said.errors)")
    let options = [
      "--packing", "int3-g32", "--scale", "awq", "--round", "gptq", "--embedding", "q8_0", "--skip", "o_proj",
    ]
    let asked = try Command.run(
      ["quantize", "model", "--output", "asked", "--calibration", "text.txt", "--length", "32", "--sequences", "16"]
        + options, in: scratch.path)
    try #require(asked.code == 0, "\(asked.errors)")
    func bytes(_ name: String) throws -> Data {
      try Data(contentsOf: URL(fileURLWithPath: scratch.path + "/\(name)/model.safetensors"))
    }
    #expect(try bytes("packed") == bytes("asked"))
    let changed = try run("quantize", "packing.yaml", "--output", "changed", "--round", "nearest", "--scale", "none")
    try #require(changed.code == 0, "\(changed.errors)")
    #expect(try bytes("changed") != bytes("asked"))
  }

  @Test func `All mistakes of a recipe are told at once, each with its place`() throws {
    try scratch.write(
      """
      model: model
      packing: int5
      methode: gptq
      round: up
      calibration: {sequences: 0}
      """, to: "packing.yaml")
    let ending = try run("quantize", "packing.yaml"), check = try run("validate", "packing.yaml")
    #expect(ending.code == 2 && check.code == 2 && check.errors.contains("did you mean 'method'?"))
    for part in [
      ":2:10", "unknown packing", ":3:1", "did you mean 'method'?", ":4:8", "nearest | gptq",
      ":5:26", "'calibration.data' is missing",
    ] {
      #expect(ending.errors.contains(part), "\(part) in \(ending.errors)")
    }
    #expect(try run("quantize", "model", "--packing", "int4-g32").errors.contains("--output is missing"))
    #expect(try run("quantize", "model", "--output", "packed").errors.contains("no packing was chosen"))
  }

  @Test func `A weight that is not a number is told by its layer`() throws {
    let path = scratch.path + "/model/model.safetensors"
    let entry = try Safetensors(path).entry("model.layers.2.mlp.up_proj.weight")
    var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
    bytes.replaceSubrange(entry.range.lowerBound + 400..<entry.range.lowerBound + 404, with: [0, 0, 0xc0, 0x7f])
    try bytes.write(to: URL(fileURLWithPath: path))
    let ending = try run("quantize", "model", "--output", "packed", "--packing", "int4-g64")
    #expect(
      ending.code == 3
        && ending.errors.contains("model: tensor 'model.layers.2.mlp.up_proj.weight': holds nan in row 0, column 100"),
      "\(ending.errors)")
    let measured = try quantize("measured", "--packing", "int4-g32", "--method", "gptq")
    #expect(measured.code == 3 && measured.errors.contains("row 0, column 100"), "\(measured.errors)")
  }

  @Test func `Work of another plan is not gone on with`() throws {
    try Folder.create(scratch.path + "/packed.work")
    try scratch.write("another", to: "packed.work/job.txt")
    let ending = try quantize("packed", "--packing", "int4-g32")
    #expect(ending.code == 3 && ending.errors.contains("unfinished work of another model, plan or text"))
  }

  @Test(arguments: [
    ("\"int4-g32\"", "\"int9-g32\"", "unknown packing"), ("\"version\": 1", "\"version\": 7", "another version"),
    ("\"quant_method\": \"graft\"", "\"quant_method\": \"brew\"", "'brew' is not read"),
    ("\"int4-g32\"", "\"int8-g32\"", "is not what"),
  ])
  func `A configuration that does not fit the packed bytes is refused`(
    _ old: String, _ new: String, _ problem: String
  ) throws {
    try #require(try quantize("packed", "--packing", "int4-g32").code == 0)
    let path = scratch.path + "/packed/config.json"
    let text = try String(contentsOfFile: path, encoding: .utf8)
    try #require(text.contains(old), "\(text)")
    try text.replacing(old, with: new).write(toFile: path, atomically: true, encoding: .utf8)
    let ending = try run("logits", "packed", "--ids", "1,2", "--out", "x")
    #expect(ending.code == 3 && ending.errors.contains(problem), "\(ending.errors)")
  }
}
