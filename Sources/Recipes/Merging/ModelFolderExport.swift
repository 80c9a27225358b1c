import Autodiff
import Files
import Networks
import Text
import Weights

/// Writes a model as a Hugging Face folder.
public enum ModelFolderExport {
  /// How packed matrices are stored.
  public enum Form: Sendable {
    /// As F32, which every reader of such folders knows.
    case plain
    /// With their bytes, in Graft's own form.
    case packed
    /// Those of the blocks' linear layers as GPTQ's tools do, version 2; others as F32.
    case gptq
  }

  /// Writes `network`, which must carry no adapter, with the configuration and tokenizer of `base`.
  ///
  /// Weights that lie as F16 or BF16 keep that form. The folder appears whole or not at all; one that Graft wrote before is
  /// replaced.
  ///
  /// - Parameter check: reads what was written, and adds to it, before it takes its name; what it throws is thrown.
  /// - Throws: an ``OutputError`` where the folder may not be written, a ``FileError`` where it cannot, a `PackingError` for
  ///   layers that GPTQ's form has no place for. An earlier folder is then untouched.
  public static func write(
    _ network: any TextNetwork, of base: LoadedModel, to folder: String, as form: Form = .plain,
    checking check: (_ temporary: String) throws -> Void = { _ in }
  ) throws {
    let output = try ModelOutput(folder, of: base, isFile: false)
    let packed = form == .plain ? [:] : packings(of: network, inBlocks: form == .gptq)
    let section = try section(form, packed, network)
    let (configuration, files) = try companions(of: network, base, folder, section)
    let tensors = try tensors(of: network, keeping: Set(packed.keys), as: form)
    let metadata = ["format": "pt", ModelOutput.mark.0: ModelOutput.mark.1]
    try output.fill { temporary in
      for (name, text) in files { try AtomicFile.write(text, to: temporary + "/" + name) }
      try AtomicFile.write(configuration.text(pretty: true) + "\n", to: temporary + "/config.json")
      try Safetensors.write(tensors, metadata: metadata, to: temporary + "/model.safetensors")
      try check(temporary)
    }
  }

  /// What the configuration says of the packed matrices; nil where there are none.
  private static func section(
    _ form: Form, _ packed: [String: Packing], _ network: any TextNetwork
  ) throws -> JSON? {
    guard form == .gptq else { return packed.isEmpty ? nil : GraftForm.section(packed) }
    var copy = network
    var weights: [FrozenWeight] = []
    copy.forEachLinear { if packed[$0 + ".weight"] != nil { weights.append($1.base.weight) } }
    guard !weights.isEmpty else {
      throw PackingError(
        "gptq", "no layer of the model's blocks is packed",
        remedy: "run graft quantize --packing int4-g128-f16-zero first")
    }
    return try GPTQForm.section(weights)
  }

  /// The packings of the matrices that are no plain numbers, by their tensors' names; of linear layers in blocks alone if
  /// `inBlocks`.
  static func packings(of network: any TextNetwork, inBlocks: Bool = false) -> [String: Packing] {
    var copy = network
    var found: [String: Packing] = [:]
    func note(_ name: String, _ weight: FrozenWeight) {
      if inBlocks && blockIndex(name) == nil { return }
      if ![.float32, .float16, .bfloat16].contains(weight.packing) { found[name + ".weight"] = weight.packing }
    }
    copy.forEachLinear { note($0, $1.base.weight) }
    if !inBlocks { copy.forEachEmbedding { note($0, $1.base.weight) } }
    return found
  }

  private static func companions(
    of network: any TextNetwork, _ base: LoadedModel, _ folder: String, _ section: JSON?
  ) throws -> (JSON, [String: String]) {
    switch base.checkpoint.form {
    case .folder(let configuration):
      var object = configuration.object ?? [:]
      for key in ["torch_dtype", "dtype"] where object[key] != nil { object[key] = .string("float32") }
      object["quantization_config"] = section
      if let classifier = network as? any Classifier { object.merge(head(of: classifier)) { $1 } }
      var files: [String: String] = [:]
      for name in ModelOutput.companions where Folder.exists(base.checkpoint.path + "/" + name) {
        files[name] = try TextFile.read(base.checkpoint.path + "/" + name)
      }
      return (.object(object), files)
    case .gguf(let file):
      let tokenizer = try base.requireTokenizer()
      let configuration = try LlamaConfiguration(gguf: file)
      let json = try configuration.json(
        bos: tokenizer.beginningOfSequence, eos: tokenizer.endOfSequence, path: folder)
      var object = json.object ?? [:]
      object["quantization_config"] = section
      return (.object(object), try tokenizer.huggingFaceFiles())
    }
  }

  /// What a configuration says of a classifier's head, which the base may not have had.
  private static func head(of classifier: any Classifier) -> [String: JSON] {
    guard !classifier.labels.isEmpty else { return [:] }
    let numbered = classifier.labels.enumerated()
    return [
      "architectures": .array([.string("BertForSequenceClassification")]),
      "problem_type": .string("single_label_classification"),
      "id2label": .object(Dictionary(uniqueKeysWithValues: numbered.map { (String($0), .string($1)) })),
      "label2id": .object(Dictionary(uniqueKeysWithValues: numbered.map { ($1, .integer($0)) })),
    ]
  }

  /// Every tensor of a model under its checkpoint name, written row by row; those in `packed` as they are packed.
  static func tensors(
    of network: any TextNetwork, keeping packed: Set<String> = [], as form: Form = .plain
  ) throws -> [TensorToWrite] {
    var copy = network
    var tensors: [TensorToWrite] = []
    copy.forEachEmbedding { name, table in
      let name = name + ".weight", weight = table.base.weight
      tensors += packed.contains(name) ? GraftForm.tensors(name, weight) : [tensor(name, weight)]
    }
    try copy.forEachLinear(throwing: { name, layer in
      if packed.contains(name + ".weight"), form == .gptq {
        tensors += try GPTQForm.tensors(name, layer.base.weight)
      } else if packed.contains(name + ".weight") {
        tensors += GraftForm.tensors(name + ".weight", layer.base.weight)
      } else if layer.base.storesTransposed {
        let stored = layer.base.weight.unpacked().transposed
        tensors.append(TensorToWrite(name: name + ".weight", floats: stored.values, shape: stored.shape.dimensions))
      } else {
        tensors.append(tensor(name + ".weight", layer.base.weight))
      }
    })
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
        let size = 16 << 20
        try weight.withBytes { bytes in
          for start in stride(from: 0, to: bytes.count, by: size) {
            try writer.write(UnsafeRawBufferPointer(rebasing: bytes[start..<min(bytes.count, start + size)]))
            // What a file holds need not lie in memory too once it is written.
            weight.forgetPages()
          }
        }
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
