import Foundation
import Testing

/// What the command line says to those who get it wrong.
struct UsageTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  private func run(_ arguments: String...) throws -> Command.Ending { try Command.run(arguments, in: scratch.path) }

  @Test func `Help ends with 0 and documents every exit code`() throws {
    let help = try run("--help")
    #expect(help.code == 0 && help.errors.isEmpty)
    for code in ["  0 ", "  1 ", "  2 ", "  3 ", "  4 ", "  130 ", "143"] { #expect(help.output.contains(code)) }
    #expect(help.output.contains("EXAMPLES"))
  }

  @Test(arguments: [
    "train", "resume", "merge", "combine", "convert", "export", "generate", "perplexity", "logits", "inspect",
    "validate", "fetch", "import", "bench", "sequence",
    "ls", "data",
  ])
  func `Every command has help with an example`(_ name: String) throws {
    let help = try run(name, "--help")
    let examples = name == "bench" ? try run("bench", "train", "--help").output : help.output
    #expect(help.code == 0 && examples.contains("EXAMPLE"))
  }

  @Test func `Kernels that there are none of end with 2, and those of older processors serve`() throws {
    func list(_ kernels: String) throws -> Command.Ending {
      try Command(["ls", "packings"], in: scratch.path, by: "GRAFT_KERNELS=\(kernels) exec \"$0\" \"$@\"").end(
        within: 60)
    }
    let wrong = try list("sse")
    #expect(wrong.code == 2 && wrong.output.isEmpty)
    #expect(wrong.errors.contains("GRAFT_KERNELS is 'sse'; expected portable or avx2"), "\(wrong.errors)")
    for kernels in ["portable", "avx2", ""] { #expect(try list(kernels).code == 0, "\(kernels)") }
  }

  @Test func `Where the system has no memory for a tensor a command ends with 1 and says so`() throws {
    // Images of 154 MB, of which the first convolution makes 411.
    let ending = try Command(
      ["bench", "cnn", "--batch", "256", "--size", "224", "--steps", "1"], in: scratch.path, megabytes: 700
    ).end(within: 60)
    #expect(ending.code == 1 && ending.output.isEmpty, "\(ending.code) \(ending.errors)")
    #expect(ending.errors.hasPrefix("error: out of memory: 411.0 MB for one tensor"), "\(ending.errors)")
    #expect(ending.errors.hasSuffix("(exit 1)\n"))
  }

  @Test func `A command line that cannot be read ends with 2 and one message`() throws {
    for arguments in [
      ["tarin", "x.yaml"], ["train"], ["merge", "a"], ["generate", "m", "--prompt", "x", "--temperature", "hot"],
      ["export", "m", "--to", "onnx", "--output", "x"], ["merge", "a", "b", "-o", "c", "--format", "half"],
      ["fetch", "gpt-5"], ["logits", "m", "--out", "x", "--ids", "1", "--text", "a"],
    ] {
      let ending = try Command.run(arguments, in: scratch.path)
      let isModelMissing = ending.code == 3 && arguments[0] == "logits"
      #expect(ending.code == 2 || isModelMissing, "\(arguments): \(ending.code) \(ending.errors)")
      #expect(!ending.errors.isEmpty && ending.output.isEmpty)
    }
  }

  @Test func `A missing model, adapter, recipe or text is named, with code 3 or 2`() throws {
    try scratch.copy("models/llama-tied", as: "model")
    for (arguments, code, name) in [
      (["logits", "nowhere", "--ids", "1", "--out", "x"], 3, "nowhere"),
      (["logits", "model", "--adapter", "nowhere", "--ids", "1", "--out", "x"], 3, "nowhere"),
      (["train", "nowhere.yaml"], 2, "nowhere.yaml"),
      (["perplexity", "model", "--text", "nowhere.txt", "--window", "8"], 3, "nowhere.txt"),
      (["resume", "nowhere"], 3, "nowhere"), (["inspect", "nowhere"], 3, "nowhere"),
    ] as [([String], Int32, String)] {
      let ending = try Command.run(arguments, in: scratch.path)
      #expect(ending.code == code, "\(arguments): \(ending.code) \(ending.errors)")
      #expect(ending.errors.contains(name))
    }
  }

  @Test func `Ids outside the vocabulary and texts beyond the context are refused`() throws {
    try scratch.copy("models/llama-tied", as: "model")
    let outside = try run("logits", "model", "--ids", "1,320", "--out", "x")
    #expect(outside.code == 2 && outside.errors.contains("'320' is no id from 0 to 319"))
    let long = try run(
      "logits", "model", "--ids", Array(repeating: "1", count: 200).joined(separator: ","), "--out", "x")
    #expect(long.code == 2 && long.errors.contains("200 tokens; expected 1 to 128"))
  }

  @Test func `A misspelt target is refused with the nearest name before anything is trained`() throws {
    try scratch.copy("models/llama-tied", as: "model")
    try scratch.write("{\"text\": \"abc abc\"}", to: "train.jsonl")
    try scratch.write(
      """
      output_dir: run
      model: { path: model }
      adapter: { type: lora, target_modules: [q_proj, q_porj] }
      data: { train: train.jsonl }
      """, to: "r.yaml")
    let ending = try run("train", "r.yaml")
    #expect(ending.code == 2)
    #expect(ending.errors.contains("'q_porj' matches none") && ending.errors.contains("did you mean 'q_proj'"))
    #expect(!FileManager.default.fileExists(atPath: scratch.path + "/run"))
  }

  @Test func `A benchmark of an adapter that needs what random tokens lack is refused`() throws {
    for (adapter, reason) in [("mhr", "routes by task"), ("corda", "not measured"), ("clr", "convolutions")] {
      let ending = try run("bench", "train", "--adapter", adapter, "--steps", "1")
      #expect(ending.code == 2 && ending.errors.contains(reason), "\(adapter): \(ending.code) \(ending.errors)")
    }
  }
}
