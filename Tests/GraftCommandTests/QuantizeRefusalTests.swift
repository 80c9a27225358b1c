import Files
import Foundation
import Testing

/// What `graft quantize` refuses before it works, on a tiny model of 128 positions, and what it says of packings.
struct QuantizeRefusalTests {
  private let scratch: Scratch

  init() throws {
    scratch = try Scratch()
    try scratch.copy("models/llama-untied", as: "model")
    try scratch.write(String(repeating: "The quick brown fox jumps over the lazy dog. ", count: 40), to: "text.txt")
  }

  private func run(_ arguments: String...) throws -> Command.Ending { try Command.run(arguments, in: scratch.path) }

  @Test(arguments: [
    (["--skip", "zzz"], 2, "no layer is called 'zzz'"), (["--skip", "down_porj"], 2, "did you mean 'down_proj'?"),
    (
      ["--skip", "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], 2,
      "every layer is to be skipped"
    ),
    (["--skip", "down_proj", "--sequences", "5"], 2, "--sequences means nothing without a text"),
    (["--skip", "down_proj", "--activation-bits", "8"], 2, "--activation-bits belongs to os+"),
    (["--skip", "down_proj", "--calibration", "nothere.txt"], 3, "nothere.txt: is not there"),
    (["--skip", "down_proj", "--calibration", "text.txt"], 2, "as they have where --length is left out"),
    (["--skip", "down_proj", "--calibration", "text.txt"], 2, "give --length 128 or less"),
  ])
  func `What means nothing, or names what is not there, is refused, and nothing is written`(
    _ options: [String], _ code: Int, _ problem: String
  ) throws {
    let ending = try Command.run(
      ["quantize", "model", "--packing", "int4-g32", "--output", "packed"] + options, in: scratch.path)
    #expect(Int(ending.code) == code && ending.errors.contains(problem), "\(ending.code) \(ending.errors)")
    #expect(!Folder.exists(scratch.path + "/packed") && !Folder.exists(scratch.path + "/packed.work"))
  }

  @Test func `How many sequences were read is told`() throws {
    let ending = try run(
      "quantize", "model", "--packing", "int4-g32", "--skip", "down_proj", "lm_head", "--output", "packed",
      "--calibration", "text.txt", "--length", "32", "--sequences", "1000000000")
    #expect(
      ending.code == 0 && ending.errors.contains("sequences of 32 tokens: the text holds no more, and 1,000,000,000"),
      "\(ending.errors)")
  }

  @Test(arguments: [
    ("output: packed\npacking: int4-g32", "no model is named"),
    ("model: model\npacking: int4-g32", "--output is missing"),
    ("model: model\noutput: packed\npacking: int4-g32\nmethod: gptq", "there is no calibration text"),
    ("model: model\noutput: packed\npacking: int4-g32\nmethod: fp4", "needs one to begin with"),
    ("model: model\noutput: packed", "no packing was chosen"),
    ("model: model\noutput: packed\nPacking: int4-g32", "did you mean 'packing'?"),
    ("model: model\noutput: packed\npacking: int4-g32\ncalibration: text.txt", "'calibration' must be a mapping"),
  ])
  func `A recipe that would be refused is refused by validate too, once and in the same words`(
    _ recipe: String, _ problem: String
  ) throws {
    try scratch.write(recipe, to: "recipe.yaml")
    for command in ["quantize", "validate"] {
      let ending = try run(command, "recipe.yaml")
      #expect(ending.code == 2 && ending.errors.contains(problem), "\(command): \(ending.code) \(ending.errors)")
      #expect(!ending.errors.contains("2 errors") && !ending.errors.contains("adapter.type"), "\(ending.errors)")
    }
  }

  @Test func `An empty recipe is told what a quantisation needs`() throws {
    try scratch.write("", to: "empty.yaml")
    let ending = try run("quantize", "empty.yaml")
    #expect(ending.code == 2 && ending.errors.contains("it needs model, output and packing"), "\(ending.errors)")
  }

  @Test func `Packings are listed, each by a name that is understood`() throws {
    let ending = try run("ls", "packings")
    try #require(ending.code == 0, "\(ending.errors)")
    let lines = ending.output.split(separator: "\n").dropFirst()
    #expect(lines.count > 30 && ending.output.contains("Q4_K") && ending.output.contains("int4-g64"))
    // 4 bits a code, and a scale and an offset of 16 bits for 64 of them.
    #expect(lines.contains { $0.split(separator: " ").prefix(3) == ["int4-g64", "4.500", "64"] }, "\(ending.output)")
    #expect(lines.contains { $0.split(separator: " ").prefix(2) == ["int4-g64-out", "4.500"] }, "\(ending.output)")
    #expect(try run("ls", "packing").code == 2)
    #expect(try run("ls").output.contains("graft ls packings"))
  }

  @Test func `Texts of no tokens, and tasks without an adapter, are refused in words that help`() throws {
    try scratch.write("", to: "empty.txt")
    let empty = try run("perplexity", "model", "--text", "empty.txt", "--window", "16")
    #expect(empty.code == 3 && empty.errors.contains("give a text that is not empty"), "\(empty.errors)")
    let task = try run("kl", "model", "model", "--text", "text.txt", "--window", "16", "--task", "x")
    #expect(task.code == 2 && task.errors.contains("--task belongs to --adapter"), "\(task.errors)")
  }

  @Test func `Models that mean other texts by the same ids are not compared`() throws {
    try scratch.copy("models/llama-untied", as: "swapped")
    let path = scratch.path + "/swapped/tokenizer.json"
    let json = try JSON.read(path)
    guard var root = json.object, var model = root["model"]?.object, var words = model["vocab"]?.object else { return }
    let names = words.filter { ($0.value.int ?? 0) > 20 && $0.key.count == 1 }.keys.sorted().prefix(2)
    try #require(names.count == 2)
    (words[names[0]], words[names[1]]) = (words[names[1]], words[names[0]])
    model["vocab"] = .object(words)
    root["model"] = .object(model)
    try JSON.object(root).text().write(toFile: path, atomically: true, encoding: .utf8)
    let ending = try run("kl", "model", "swapped", "--text", "text.txt", "--window", "16")
    #expect(ending.code == 3 && ending.errors.contains("compare models of one tokenizer"), "\(ending.errors)")
  }
}
