import Files
import Foundation
import Testing

/// Combining and converting adapters from the command line.
struct CombineTests {
  private let scratch: Scratch

  init() throws {
    scratch = try Scratch()
    for name in ["lora", "rslora", "dora"] { try scratch.copy("adapters/llama-untied/" + name, as: name) }
    try scratch.copy("models/llama-untied", as: "model")
  }

  private func run(_ arguments: String...) throws -> Command.Ending { try Command.run(arguments, in: scratch.path) }

  private func exists(_ name: String) -> Bool {
    FileManager.default.fileExists(atPath: scratch.path + "/" + name)
  }

  private func bind(_ adapter: String, _ digest: String, packing: String = "null") throws {
    try scratch.write(
      """
      {"base": "\(digest).gguf", "base_sha256": "\(digest)", "base_packing": \(packing), "base_unpacked": [],
       "template_sha256": null, "graft_version": "0.1.0"}
      """, to: adapter + "/graft.json")
  }

  private func logits(_ adapter: String) throws -> [Float] {
    let ending = try run("logits", "model", "--adapter", adapter, "--ids", "3,17,29,40,55,90", "--out", "l.safetensors")
    try #require(ending.code == 0, "\(ending.errors)")
    return try Safetensors(scratch.path + "/l.safetensors").entry("logits").floats()
  }

  private func distance(_ a: [Float], _ b: [Float]) -> Float {
    a.count == b.count ? zip(a, b).reduce(0) { max($0, abs($1.0 - $1.1)) } : .infinity
  }

  @Test func `Halves of one adapter combine to that adapter, whatever the method that sums`() throws {
    for method in ["cat", "svd"] {
      let ending = try run(
        "combine", method, "--adapter", "lora=0.25", "--adapter", "lora=0.75", "--method", method)
      #expect(ending.code == 0, "\(ending.errors)")
      #expect(distance(try logits(method), try logits("lora")) < 1e-5)
    }
  }

  @Test func `Every method writes an adapter that runs, and says what was cut off`() throws {
    try scratch.copy("adapters/llama-untied/lora-all-linear", as: "other")
    for (method, options, words) in [
      ("cat", [], "the weighted sum exactly"), ("svd", ["--rank", "2"], "residual energy 0."),
      ("linear", [], "cross terms"), ("ties", ["--density", "0.3", "--signs", "frequency"], "residual energy 0."),
      ("dare", ["--density", "0.5", "--seed", "3"], "residual energy 0."),
      ("dare-ties", ["--density", "0.5"], "residual energy 0."),
      ("prune", ["--density", "0.2", "--ground", "factors"], "cross terms"),
    ] as [(String, [String], String)] {
      let ending = try Command.run(
        ["combine", "out-" + method, "--adapter", "lora", "--adapter", "other=0.5", "--method", method] + options,
        in: scratch.path)
      #expect(ending.code == 0 && ending.output.contains(words), "\(method): \(ending.output)\(ending.errors)")
      #expect(try logits("out-" + method).allSatisfy(\.isFinite))
    }
  }

  @Test func `Adapters of different bases are refused unless that is asked for, and the base is remembered`() throws {
    try bind("lora", "aaaa")
    try bind("rslora", "bbbb")
    let refused = try run("combine", "out", "--adapter", "lora", "--adapter", "rslora")
    #expect(
      refused.code == 3 && refused.errors.contains("was trained on bbbb.gguf") && refused.errors.contains("--any-base"))
    #expect(!exists("out"))
    #expect(try run("combine", "out", "--adapter", "lora", "--adapter", "rslora", "--any-base").code == 0)
    #expect(try JSON.read(scratch.path + "/out/graft.json")["base_sha256"]?.string == "aaaa")
    // One base rounded in two ways is two bases.
    try bind("rslora", "aaaa", packing: "\"nf4\"")
    #expect(try run("combine", "out2", "--adapter", "lora", "--adapter", "rslora").code == 3)
    try bind("rslora", "aaaa")
    #expect(try run("combine", "out2", "--adapter", "lora", "--adapter", "rslora").code == 0)
  }

  @Test func `Nothing that is there is replaced unasked, and nothing but an adapter ever`() throws {
    try scratch.write("mine", to: "model/notes.txt")
    for (output, options) in [("rslora", []), ("model", []), ("model", ["--overwrite"])] as [(String, [String])] {
      let ending = try Command.run(["combine", output, "--adapter", "lora"] + options, in: scratch.path)
      #expect(ending.code == 3 && ending.errors.contains("is there already"), "\(ending.errors)")
    }
    #expect(exists("model/notes.txt") && exists("rslora/reference.safetensors"))
    // With a slash behind it, as shells complete it.
    #expect(try run("combine", "rslora/", "--adapter", "lora/", "--overwrite").code == 0)
    #expect(distance(try logits("rslora"), try logits("lora")) < 1e-5)
    #expect(try FileManager.default.contentsOfDirectory(atPath: scratch.path).allSatisfy { !$0.contains("partial") })
  }

  @Test func `A wrong use is answered in a sentence, with nothing written`() throws {
    for (options, code, words) in [
      (["--adapter", "lora", "--method", "slerp"], 2, "expected one of cat, linear, svd"),
      ([], 2, "--adapter"), (["--adapter", "lora=heavy"], 2, "'heavy' is no weight"),
      (["--adapter", "lora", "--method", "ties"], 2, "needs a density"),
      (["--adapter", "lora", "--density", "0.5"], 2, "leave out density"),
      (["--adapter", "lora", "--seed", "1"], 2, "draws nothing"),
      (["--adapter", "lora", "--adapter", "dora"], 3, "graft convert"),
      (["--adapter", "lora", "--adapter", "nowhere"], 3, "nowhere"),
      (["--adapter", "lora", "--adapter", "rslora", "--method", "linear"], 2, "they have 4 and 8; use cat or svd"),
    ] as [([String], Int32, String)] {
      let ending = try Command.run(["combine", "out"] + options, in: scratch.path)
      #expect(ending.code == code && ending.errors.contains(words), "\(options): \(ending.code) \(ending.errors)")
      #expect(!exists("out"))
    }
  }

  @Test func `DoRA converts with its base, and asks for it without`() throws {
    let asked = try run("convert", "dora", "--to", "lora", "--output", "out")
    #expect(asked.code == 3 && asked.errors.contains("--base") && !exists("out"))
    let ending = try run("convert", "dora", "--to", "lora", "--base", "model", "--rank", "64", "--output", "out")
    #expect(ending.code == 0 && ending.output.contains("relative error"), "\(ending.errors)")
    #expect(distance(try logits("out"), try logits("dora")) < 1e-5)
    // What was converted can be combined.
    #expect(try run("combine", "both", "--adapter", "lora", "--adapter", "out=0.5").code == 0)
  }

  @Test func `Plain LoRA converts without a base, and only to what is known, for tasks that are known`() throws {
    let ending = try run("convert", "rslora", "--to", "lora", "--output", "out")
    #expect(ending.code == 0 && ending.output.contains("exact"))
    #expect(try logits("out") == logits("rslora"))
    #expect(try JSON.read(scratch.path + "/out/adapter_config.json")["use_rslora"] == .bool(false))
    #expect(try run("convert", "rslora", "--to", "hydra", "--output", "o").code == 2)
    let task = try run("convert", "rslora", "--to", "lora", "--output", "o", "--task", "x")
    #expect(task.code == 3 && task.errors.contains("knows no task 'x'"))
    #expect(try run("convert", "rslora", "--to", "lora", "--output", "o", "--rank", "0").code == 2)
    #expect(!exists("o"))
  }
}
