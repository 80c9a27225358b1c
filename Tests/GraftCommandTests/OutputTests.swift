import Files
import Foundation
import Testing

/// Where models are written: what is never replaced, and what is left when writing fails.
struct OutputTests {
  private let scratch: Scratch
  private let packing = ["--packing", "int4-g32", "--skip", "down_proj"]

  init() throws {
    scratch = try Scratch(learning: Scratch.rowsAlike)
    try scratch.copy("adapters/llama-untied/lora", as: "lora")
  }

  private func run(_ arguments: [String], by script: String? = nil) throws -> Command.Ending {
    try Command.run(arguments, in: scratch.path, by: script)
  }

  /// Every file below the scratch folder with its bytes, but for what the program printed.
  private func files() throws -> [String: Data] {
    var found: [String: Data] = [:]
    for name in try FileManager.default.subpathsOfDirectory(atPath: scratch.path)
    where ![".out", ".err"].contains(name) {
      // Folders, and links that lead nowhere, have no bytes.
      found[name] = (try? scratch.bytes(name)) ?? Data()
    }
    return found
  }

  /// The commands that write a folder `output` made of `model`.
  private func folderCommands(_ output: String) -> [[String]] {
    [
      ["quantize", "model"] + packing + ["--output", output], ["merge", "model", "lora", "--output", output],
      ["export", "model", "--to", "hf", "--output", output],
    ]
  }

  @Test(arguments: ["model", "model/", "./model", "model/.", "link", "link/", "/absolute", "new/../model"])
  func `The base's own folder is never written over, however it is called`(_ name: String) throws {
    try FileManager.default.createSymbolicLink(atPath: scratch.path + "/link", withDestinationPath: "model")
    try Folder.create(scratch.path + "/new")
    let before = try files()
    for command in folderCommands(name == "/absolute" ? scratch.path + "/model" : name) {
      let ending = try run(command)
      #expect(
        ending.code == 2 && ending.errors.contains("is the base model's own folder"), "\(command) \(ending.errors)")
      #expect(try files() == before)
    }
  }

  @Test(arguments: ["base.gguf", "./base.gguf", "link.gguf", "base.gguf/"])
  func `The base's own GGUF file is never written over, however it is called`(_ name: String) throws {
    try #require(try run(["export", "model", "--to", "gguf", "--type", "q8_0", "--output", "base.gguf"]).code == 0)
    try FileManager.default.createSymbolicLink(atPath: scratch.path + "/link.gguf", withDestinationPath: "base.gguf")
    let before = try files()
    for command in [
      ["quantize", "base.gguf", "--requantize", "--packing", "q4_0", "--skip", "down_proj", "--output", name],
      ["merge", "base.gguf", "lora", "--format", "requantize", "--output", name],
      ["export", "base.gguf", "--to", "gguf", "--output", name],
      ["export", "base.gguf", "--adapter", "lora", "--to", "gguf-lora", "--output", name],
    ] {
      let ending = try run(command)
      #expect(ending.code == 2 && ending.errors.contains("of which the output is to be made"), "\(ending.errors)")
      #expect(try files() == before, "\(command)")
    }
  }

  @Test func `Files of the base and of the adapter are not written over by name`() throws {
    let before = try files()
    for (arguments, file) in [
      (["--to", "gguf"], "model/model.safetensors"), (["--to", "gguf"], "model/tokenizer.json"),
      (["--adapter", "lora", "--to", "gguf-lora"], "lora/adapter_model.safetensors"),
    ] {
      let ending = try run(["export", "model"] + arguments + ["--output", file])
      #expect(ending.code == 2 && ending.errors.contains("of which the output is to be made"), "\(ending.errors)")
    }
    for command in folderCommands("lora") { #expect(try run(command).code == 2) }
    #expect(try files() == before)
  }

  @Test func `A recipe's outputs spare the base, and say so before training`() throws {
    try scratch.writeOneStepRecipe()
    let model = try scratch.bytes("model/model.safetensors")
    for (change, problem) in [
      ("merge.output=model/", "is the base model's own folder"),
      ("export.gguf=model/model.safetensors", "of which the output is to be made"),
    ] {
      let ending = try run(["train", "recipe.yaml", "--overwrite", change])
      #expect(ending.code == 2 && ending.errors.contains(problem), "\(ending.code) \(ending.errors)")
      #expect(!ending.errors.contains("step"))
    }
    let ending = try run(["train", "recipe.yaml", "--overwrite", "export.peft=model"])
    #expect(ending.code == 3 && ending.errors.contains("is there already, and no adapter"), "\(ending.errors)")
    #expect(try scratch.bytes("model/model.safetensors") == model)
  }

  @Test func `What cannot be the output is refused before any work, with code 2 and nothing left`() throws {
    try scratch.write("mine", to: "file")
    try scratch.copy("models/llama-untied", as: "foreign")
    Folder.remove(scratch.path + "/foreign/reference.safetensors")
    for name in ["folder.gguf", "notes", "empty"] { try Folder.create(scratch.path + "/" + name) }
    try scratch.write("mine", to: "notes/mine.txt")
    try FileManager.default.createSymbolicLink(atPath: scratch.path + "/nowhere", withDestinationPath: "none")
    let before = try files()
    for (output, problem) in [
      ("", "has no usable name"), ("file", "is a file, and a folder is to be written"),
      ("/dev/null", "is a file, and a folder is to be written"), ("folder.gguf", "is a folder, and a file is to be"),
      ("notes", "holds 'mine.txt', which is no part"), ("foreign", "holds no model that Graft wrote"),
      (".", "which is no part of a model that Graft wrote"), ("nowhere", "leads nowhere"),
    ] {
      let quantized = try run(
        ["quantize", "model"] + packing.dropFirst(2) + ["--packing", "q4_0", "--output", output])
      let merged = try run(["merge", "model", "lora", "--output", output])
      for ending in [quantized, merged] {
        #expect(ending.code == 2 && ending.errors.contains(problem), "'\(output)' \(ending.code) \(ending.errors)")
      }
      #expect(try files() == before, "'\(output)'")
    }
    #expect(!Folder.exists("/dev/null.work"))
  }

  @Test func `A model that Graft wrote, or an empty folder, is replaced, through a link too`() throws {
    try Folder.create(scratch.path + "/empty")
    try FileManager.default.createSymbolicLink(atPath: scratch.path + "/link", withDestinationPath: "out")
    for command in folderCommands("out") + folderCommands("out/") + folderCommands("link") + folderCommands("empty") {
      let ending = try run(command)
      #expect(ending.code == 0, "\(ending.errors)")
    }
    let kind = try FileManager.default.attributesOfItem(atPath: scratch.path + "/link")[.type] as? FileAttributeType
    #expect(kind == .typeSymbolicLink)
    // The last was an export: nothing of the quantisation before it is left.
    #expect(Folder.names(in: scratch.path + "/out") == Folder.names(in: scratch.path + "/empty"))
    #expect(!Folder.names(in: scratch.path + "/out").contains("quantization.csv"))
    let left = Folder.names(in: scratch.path).filter { $0.contains(".work") || $0.contains(".partial") }
    #expect(left.isEmpty)
  }

  // A limit on the size of files stands in for a full disk: 4096 bytes, or 8192 where the shell counts in kilobytes.
  private let full = "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""

  @Test func `When the disk is full an earlier model stays whole, nothing else does, and the code is 1`() throws {
    for command in folderCommands("out") + [["merge", "model", "lora", "--output", "out.gguf"]] {
      try #require(try run(command).code == 0)
    }
    let before = try files()
    for command in folderCommands("out") + [["merge", "model", "lora", "--output", "out.gguf"]] {
      let ending = try run(command, by: full)
      #expect(ending.code == 1 && ending.errors.contains("file too large"), "\(ending.code) \(ending.errors)")
      #expect(!ending.errors.contains(".partial"), "\(ending.errors)")
      #expect(try files().filter { !$0.key.hasPrefix("out.work") } == before)
      for name in try files().keys { #expect(!name.contains("partial"), "\(name)") }
    }
  }

  @Test func `When the disk is full the calibration stream tells the cause, with code 1`() throws {
    try scratch.write(String(repeating: "a b c d e f g h ", count: 600), to: "text.txt")
    let command = ["quantize", "model", "--method", "gptq", "--calibration", "text.txt", "--length", "16"] + packing
    let ending = try run(command + ["--output", "out"], by: full)
    #expect(ending.code == 1 && ending.errors.contains("stream-0.h5"), "\(ending.code) \(ending.errors)")
    #expect(ending.errors.contains("file too large"), "\(ending.errors)")
    #expect(!Folder.names(in: scratch.path + "/out.work").contains { $0.hasPrefix("stream-") })
    #expect(!Folder.exists(scratch.path + "/out"))
    let again = try run(command + ["--output", "out"])
    #expect(again.code == 0, "\(again.errors)")
  }

  @Test func `Results that cannot be printed end with code 1, and a reader who has gone is no error`() throws {
    for (script, reason) in [
      ("exec \"$0\" \"$@\" > /dev/full", "no space left on device"), ("exec \"$0\" \"$@\" >&-", "bad file descriptor"),
    ] {
      for command in [["ls"], ["--help"], ["quantize", "model"] + packing + ["--json", "--output", "out"]] {
        let ending = try run(command, by: script)
        let message = "error: standard output: cannot be written: \(reason)  (exit 1)"
        #expect(ending.code == 1 && ending.errors.contains(message), "\(ending.code) \(ending.errors)")
      }
    }
    let gone = try run(["ls", "--keys"], by: "(\"$0\" \"$@\"; echo \"code $?\" >&2) | head -n 1")
    #expect(gone.errors == "code 0\n", "\(gone.errors)")
  }
}
