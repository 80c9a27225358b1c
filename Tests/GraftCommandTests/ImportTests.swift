import Files
import Foundation
import Testing

/// What becomes of files that other programs wrote.
struct ImportTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  private func run(_ arguments: String...) throws -> Command.Ending { try Command.run(arguments, in: scratch.path) }

  private func fixture(_ name: String) -> String { fixtures + "/files/" + name }

  @Test(arguments: [
    ("torch.pth", "stored", "torch.safetensors"), ("torch-stream.pth", "stored", "torch.safetensors"),
    ("keras-old.h5", "stored", "keras-old.safetensors"), ("model.onnx", "stored", "model-onnx.safetensors"),
    ("dinov2.onnx", "dinov2", "dinov2.safetensors"), ("bert.onnx", "bert", "bert.safetensors"),
  ])
  func `The arrays of a foreign file are written as they are`(
    _ name: String, _ names: String, _ reference: String
  )
    throws
  {
    let ending = try run("import", fixture(name), "out.safetensors", "--names", names)
    #expect(ending.code == 0, "\(ending.errors)")
    #expect(ending.output.hasSuffix("\nwrote out.safetensors\n"))
    let written = try Safetensors(scratch.path + "/out.safetensors"), expected = try Safetensors(fixture(reference))
    #expect(written.names.sorted() == expected.names.sorted())
    #expect(written.metadata == (name.hasPrefix("keras") ? [:] : ["format": "pt"]))
    for name in expected.names {
      let entry = try written.entry(name), wanted = try expected.entry(name)
      #expect(entry.type == wanted.type && entry.shape == wanted.shape)
      #expect(entry.withBytes(Array.init) == wanted.withBytes(Array.init), "\(name)")
    }
  }

  @Test func `An exported DINOv2 becomes a folder that is a network of images`() throws {
    let ending = try run("import", fixture("dinov2.onnx"), "out", "--network", "dinov2")
    #expect(ending.code == 0, "\(ending.errors)")
    let configuration = try JSON.read(scratch.path + "/out/config.json")
    #expect(configuration["model_type"]?.string == "dinov2" && configuration["num_hidden_layers"]?.int ?? 0 > 0)
    let cut = try run("import", fixture("dinov2.onnx"), "cut", "--network", "dinov2", "--trunk", "2")
    #expect(cut.code == 2 && cut.errors.contains("--trunk belongs to --network cifar-cnn"))
    let other = try run("import", fixture("torch.pth"), "none", "--network", "dinov2")
    #expect(other.code == 3 && other.errors.contains("is no ONNX model of a whole DINOv2"), "\(other.errors)")
  }

  @Test func `Foreign files show names, types and shapes`() throws {
    for (name, first, line) in [
      ("torch.pth", "16 tensors, PyTorch, zip archive", "  transposed  F32  [4, 2, 3]  norm "),
      ("torch-stream.pth", "16 tensors, PyTorch, stream of pickles", "  u8  U8  [5]\n"),
      ("keras-nested.h5", "3 tensors, Keras 3.11.3, 3 layers", "  trunk/Conv1/kernel  F32  [1, 1, 2, 3]"),
      ("model.onnx", "26 tensors, ONNX, 3 nodes, operator set 17", "  bf16_raw  BF16  [2, 2]"),
    ] {
      let ending = try run("inspect", fixture(name))
      #expect(ending.code == 0, "\(ending.errors)")
      #expect(ending.output.contains("\(name): \(first)") && ending.output.contains(line), "\(ending.output)")
    }
  }

  @Test(arguments: [
    ("resnet", "resnet.embedder.embedder.convolution  [16, 3, 7, 7]  F32"),
    ("vit-tiny", "vit.layers.0.attention.q_proj  [64, 64]  F32"),
  ])
  func `A network of images shows its weights, and the layers that adapters can be put on`(
    _ name: String, _ layer: String
  ) throws {
    let folder = fixtures + "/models/" + name, file = try Safetensors(folder + "/model.safetensors")
    let count = try file.names.filter { !$0.hasSuffix("num_batches_tracked") }.reduce(0) {
      try $0 + file.entry($1).count
    }
    let ending = try run("inspect", folder, "--linears")
    #expect(ending.code == 0, "\(ending.errors)")
    let digits = ending.output.prefix { $0 != "w" }.filter(\.isNumber)
    #expect(digits == String(count), "\(ending.output)")
    #expect(ending.output.contains(layer) && ending.output.contains("sha256 "), "\(ending.output)")
  }

  @Test func `A pickle that names more than tensors ends with 3 and writes nothing`() throws {
    // A file of the older form whose object is os.system("id").
    let magic: [UInt8] = [0x80, 2, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e]
    let hostile =
      magic + [0x80, 2, 0x4d, 0xe9, 3, 0x2e] + Array("\u{7d}.cos\nsystem\n\u{58}\u{2}\0\0\0id\u{29}R.".utf8)
    try Data(hostile).write(to: URL(fileURLWithPath: scratch.path + "/bad.pth"))
    for arguments in [["import", "bad.pth", "out.safetensors"], ["inspect", "bad.pth"]] {
      let ending = try Command.run(arguments, in: scratch.path)
      #expect(ending.code == 3)
      #expect(ending.errors.contains("names 'os.system', which is no part of a tensor"), "\(ending.errors)")
    }
    #expect(Folder.names(in: scratch.path).filter { !$0.hasPrefix(".") } == ["bad.pth"])
  }

  @Test func `Wrong uses say what is wrong`() throws {
    try scratch.write("", to: "there.safetensors")
    for (arguments, code, text) in [
      (["torch.pth", "out.bin"], 2, "must end in .safetensors"),
      (["torch.pth", "there.safetensors"], 2, "is there already; give --overwrite"),
      (["torch.pth", "out.safetensors", "--names", "bert"], 2, "is for ONNX models"),
      (["model.onnx", "out.safetensors", "--names", "gpt"], 2, "expected stored, modules, dinov2 or bert"),
      (["model.onnx", "out.safetensors", "--names", "bert"], 3, "is it a BERT model exported from PyTorch?"),
      (["make.py", "out.safetensors"], 3, "is no file of arrays that can be read"),
      (["none.pth", "out.safetensors"], 3, "is not there"),
    ] {
      let ending = try Command.run(["import", fixture(arguments[0])] + arguments.dropFirst(), in: scratch.path)
      #expect(ending.code == Int32(code) && ending.errors.contains(text), "\(arguments): \(ending.errors)")
    }
    #expect(
      try run("import", "efficientnet-lite0", "out.safetensors").errors.contains("graft fetch efficientnet-lite0"))
  }
}
