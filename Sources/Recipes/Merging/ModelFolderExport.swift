import Autodiff
import Files
import Networks
import Text
import Weights

/// Writes a model as a Hugging Face folder.
public enum ModelFolderExport {
  /// Writes `network`, which must carry no adapter, with the configuration and tokenizer of `base`.
  ///
  /// Weights that lie as F16 or BF16 keep that form; packed ones become F32, since a Hugging Face folder has no form for
  /// GGUF's blocks. Every file appears whole or not at all.
  public static func write(_ network: any LanguageModel, of base: LoadedModel, to folder: String) throws {
    try Folder.create(folder)
    if case .folder = base.checkpoint.form, sameFolder(folder, base.checkpoint.path) {
      throw FileError(folder, "is the base model's own folder", remedy: "choose another output")
    }
    let (configuration, files) = try companions(of: network, base, folder)
    for (name, text) in files { try AtomicFile.write(text, to: folder + "/" + name) }
    try AtomicFile.write(configuration.text(pretty: true) + "\n", to: folder + "/config.json")
    try Safetensors.write(tensors(of: network), metadata: ["format": "pt"], to: folder + "/model.safetensors")
  }

  private static func sameFolder(_ a: String, _ b: String) -> Bool {
    (try? MappedFile(a + "/config.json").path) != nil && a == b
  }

  private static func companions(
    of network: any LanguageModel, _ base: LoadedModel, _ folder: String
  ) throws -> (JSON, [String: String]) {
    switch base.checkpoint.form {
    case .folder(let configuration):
      var object = configuration.object ?? [:]
      for key in ["torch_dtype", "dtype"] where object[key] != nil { object[key] = .string("float32") }
      object["quantization_config"] = nil
      let kept = [
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json",
        "chat_template.jinja", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json",
      ]
      var files: [String: String] = [:]
      for name in kept where Folder.exists(base.checkpoint.path + "/" + name) {
        files[name] = try TextFile.read(base.checkpoint.path + "/" + name)
      }
      return (.object(object), files)
    case .gguf(let file):
      let tokenizer = try base.requireTokenizer()
      let configuration = try LlamaConfiguration(gguf: file)
      return (
        try configuration.json(bos: tokenizer.beginningOfSequence, eos: tokenizer.endOfSequence, path: folder),
        try tokenizer.huggingFaceFiles()
      )
    }
  }

  /// Every tensor of a model under its checkpoint name, written row by row.
  static func tensors(of network: any LanguageModel) -> [TensorToWrite] {
    var copy = network
    var tensors: [TensorToWrite] = []
    copy.forEachEmbedding { tensors.append(tensor($0 + ".weight", $1.base.weight)) }
    copy.forEachLinear { name, layer in
      if layer.base.storesTransposed {
        let stored = layer.base.weight.unpacked().transposed
        tensors.append(TensorToWrite(name: name + ".weight", floats: stored.values, shape: stored.shape.dimensions))
      } else {
        tensors.append(tensor(name + ".weight", layer.base.weight))
      }
    }
    copy.forEachParameter { name, parameter in
      tensors.append(
        TensorToWrite(name: name, floats: parameter.value.values, shape: parameter.value.shape.dimensions))
    }
    return tensors
  }

  private static func tensor(_ name: String, _ weight: FrozenWeight) -> TensorToWrite {
    let kept: [Packing: ElementType] = [.float32: .f32, .float16: .f16, .bfloat16: .bf16]
    if let type = kept[weight.packing], weight.order == .natural {
      return TensorToWrite(name: name, type: type, shape: [weight.rows, weight.columns]) { writer in
        try weight.withBytes { try writer.write($0) }
      }
    }
    return TensorToWrite(name: name, type: .f32, shape: [weight.rows, weight.columns]) { writer in
      try weight.forEachRowBlock { rows in try writer.write(UnsafeRawBufferPointer(rows)) }
    }
  }
}

extension FrozenWeight {
  /// Calls `body` with the rows as floats, some at a time.
  func forEachRowBlock(_ body: (UnsafeBufferPointer<Float>) throws -> Void) rethrows {
    let size = 64
    var block = [Float](repeating: 0, count: size * columns)
    for start in stride(from: 0, to: rows, by: size) {
      let range = start..<min(rows, start + size)
      block.withUnsafeMutableBufferPointer { buffer in
        if let place = buffer.baseAddress { unpack(rows: range, into: place) }
      }
      try block.withUnsafeBufferPointer { try body(UnsafeBufferPointer(rebasing: $0[..<(range.count * columns)])) }
    }
  }
}
