import Adapters
import Autodiff
import Files
import Networks
import Text
import Weights

/// Writes models and adapters as GGUF files that llama.cpp reads.
public enum GGUFExport {
  /// Writes `network`, which must carry no adapter, with the tokenizer and metadata of `base`.
  ///
  /// - Parameters:
  ///   - type: how matrices are packed; nil keeps each as it is. Rows that its blocks do not divide are packed in smaller
  ///     ones. Embeddings, to which 4 bits are unkind, are packed no smaller than Q8_0; norms and biases stay F32.
  ///   - check: reads the file under a temporary name before it takes its own; what it throws is thrown.
  /// - Throws: an ``OutputError`` where the file may not be written, a ``FileError`` for an architecture that has no GGUF
  ///   form here, and for packings GGUF does not have.
  public static func write(
    _ network: any TextNetwork, of base: LoadedModel, type: Packing?, to path: String,
    checking check: (_ temporary: String) throws -> Void = { _ in }
  ) throws {
    let output = try ModelOutput(path, of: base, isFile: true), path = output.path
    Interruption.begin(output)
    guard let llama = network as? Llama else {
      throw FileError(
        path, "a model of type '\(base.checkpoint.architecture)' has no GGUF form here",
        remedy: "export a folder instead")
    }
    let configuration = llama.configuration
    var tensors: [GGUFTensorToWrite] = []
    var failure: (any Error)?
    let architecture = ggufArchitecture(configuration.family)
    func add(_ name: String, _ weight: FrozenWeight, isTable: Bool) {
      guard failure == nil, let stored = GGUFNames.gguf(name + ".weight") else { return }
      do {
        tensors.append(
          try tensor(
            stored, weight, isTable && type.map { $0.bitsPerWeight < 8 } == true ? smallest(weight.packing) : type,
            order: order(name, configuration, architecture), path))
      } catch { failure = error }
    }
    var copy = network
    copy.forEachEmbedding { add($0, $1.base.weight, isTable: true) }
    copy.forEachLinear { add($0, $1.base.weight, isTable: $0 == "lm_head") }
    copy.forEachParameter { name, parameter in
      guard let stored = GGUFNames.gguf(name) else { return }
      var values = parameter.value.values
      if name.hasSuffix(".bias"), case .rotaryPairs = order(String(name.dropLast(5)), configuration, architecture) {
        let order = order(String(name.dropLast(5)), configuration, architecture)
        let natural = values
        for (row, value) in natural.enumerated() { values[order.stored(row)] = value }
      }
      let floats = values
      tensors.append(
        GGUFTensorToWrite(name: stored, type: .f32, shape: parameter.value.shape.dimensions) { writer in
          try floats.withUnsafeBytes { try writer.write($0) }
        })
    }
    if let failure { throw failure }
    if case .gguf(let file) = base.checkpoint.form, let divisors = file["rope_freqs.weight"] {
      tensors.append(
        GGUFTensorToWrite(name: divisors.name, type: divisors.type, shape: divisors.shape) {
          try $0.write(divisors.bytes)
        })
    }
    if let divisors = configuration.rotary.divisors(headSize: configuration.headSize) {
      tensors.append(floats("rope_freqs.weight", divisors, [divisors.count]))
    }
    try GGUF.write(metadata: metadata(configuration, base, fileType(type, tensors)), tensors: tensors, to: path) {
      try check($0)
      Interruption.settle()
    }
  }

  /// Writes the LoRA adapter of `network` for use beside a GGUF of the same base.
  ///
  /// - Throws: a ``FileError`` for what such a file cannot hold: other families, biases, embeddings.
  public static func writeAdapter(_ network: any TextNetwork, of base: LoadedModel, to path: String) throws {
    let path = try ModelOutput(path, of: base, isFile: true).path
    guard let llama = network as? Llama else {
      throw FileError(path, "an adapter of a '\(base.checkpoint.architecture)' model has no GGUF form here")
    }
    let configuration = llama.configuration, architecture = ggufArchitecture(configuration.family)
    var changes: [(name: String, change: LowRankFactors)] = []
    var failure: FileError?
    var copy = network
    copy.forEachEmbedding { name, table in
      if table.adapter != nil {
        failure = FileError(path, at: name, "a change of an embedding has no form in a GGUF adapter")
      }
    }
    copy.forEachLinear { name, layer in
      guard let adapter = layer.adapter else { return }
      guard let factors = layer.lowRankFactors else {
        failure = FileError(
          path, at: name,
          "only what amounts to plain LoRA without biases has a GGUF form; this is '\(type(of: adapter).method)'",
          remedy: "merge it and export the model")
        return
      }
      changes.append((name, factors))
    }
    if let failure { throw failure }
    guard let first = changes.first else { throw FileError(path, "the model carries no adapter") }
    // llama.cpp scales by alpha / rank with one alpha a file; what differs from it goes into B.
    let alpha = first.change.scale * Float(first.change.a.shape[0])
    var tensors: [GGUFTensorToWrite] = []
    for (name, change) in changes {
      guard let stored = GGUFNames.gguf(name + ".weight") else { continue }
      let rank = change.a.shape[0], rest = change.scale * Float(rank) / alpha
      let order = order(name, configuration, architecture), natural = change.b.values
      var b = natural
      for row in 0..<change.b.shape[0] {
        for i in 0..<rank {
          b[order.stored(row) * rank + i] = rest == 1 ? natural[row * rank + i] : rest * natural[row * rank + i]
        }
      }
      tensors.append(floats(stored + ".lora_a", change.a.values, change.a.shape))
      tensors.append(floats(stored + ".lora_b", b, change.b.shape))
    }
    let metadata: [(String, GGUFValue)] = [
      ("general.type", .string("adapter")), ("general.architecture", .string(architecture)),
      ("general.file_type", .uint32(0)), ("adapter.type", .string("lora")), ("adapter.lora.alpha", .float32(alpha)),
    ]
    try GGUF.write(metadata: metadata, tensors: tensors, to: path)
  }

  private static func floats(_ name: String, _ values: [Float], _ shape: Shape) -> GGUFTensorToWrite {
    GGUFTensorToWrite(name: name, type: .f32, shape: shape.dimensions) { writer in
      try values.withUnsafeBytes { try writer.write($0) }
    }
  }

  private static func smallest(_ packing: Packing) -> Packing {
    packing.bitsPerWeight < 8.5 && packing.gguf != nil ? packing : .q8_0
  }

  /// What holds rows that a type's blocks do not divide, as llama.cpp's own quantiser chooses; it has nothing for Q1_0
  /// and NVFP4. Rows that fit in no blocks stay floats.
  private static let substitutes: [Packing: Packing] = [
    .q1_0: .q4_0, .q2_0: .q4_0, .q2_K: .q4_0, .q3_K: .q4_0, .q4_K: .q5_0, .q5_K: .q5_1, .q6_K: .q8_0, .iq4_xs: .iq4_nl,
    .nvfp4: .mxfp4,
  ]

  private static func tensor(
    _ name: String, _ weight: FrozenWeight, _ type: Packing?, order: RowOrder, _ path: String
  ) throws -> GGUFTensorToWrite {
    let packing = type ?? weight.packing
    guard let form = packing.gguf else {
      throw FileError(
        path, at: "tensor '\(name)'", "packing \(packing.name) has no GGUF type", remedy: "choose a GGUF type")
    }
    guard let rowBytes = try? packing.bytesPerRow(columns: weight.columns) else {
      return try tensor(name, weight, substitutes[packing] ?? .float16, order: order, path)
    }
    let shape = [weight.rows, weight.columns]
    var logical = Array(0..<weight.rows)
    for row in 0..<weight.rows { logical[order.stored(row)] = row }
    let rows = logical
    return GGUFTensorToWrite(name: name, type: form, shape: shape) { writer in
      if packing == weight.packing && order == weight.order { return try weight.withBytes { try writer.write($0) } }
      var floats = [Float](repeating: 0, count: weight.columns), bytes = [UInt8](repeating: 0, count: rowBytes)
      for row in rows {
        try floats.withUnsafeMutableBufferPointer { floats in
          guard let place = floats.baseAddress else { return }
          weight.unpack(rows: row..<row + 1, into: place)
          try bytes.withUnsafeMutableBytes { bytes in
            guard let start = bytes.baseAddress else { return }
            try PackedCodec.pack(
              rows: place, rowCount: 1, columns: weight.columns, packing: packing, into: start, firstRow: row)
          }
        }
        try bytes.withUnsafeBytes { try writer.write($0) }
      }
    }
  }

  private static func order(_ name: String, _ configuration: LlamaConfiguration, _ architecture: String) -> RowOrder {
    architecture == "llama" && (name.hasSuffix("q_proj") || name.hasSuffix("k_proj"))
      ? .rotaryPairs(headSize: configuration.headSize) : .natural
  }

  /// llama.cpp knows Mistral as a Llama.
  private static func ggufArchitecture(_ family: String) -> String { family == "mistral" ? "llama" : family }

  private static func fileType(_ type: Packing?, _ tensors: [GGUFTensorToWrite]) -> UInt32? {
    // llama.cpp's numbers; of its mixtures (S, M, L) the one with least beside the type itself.
    let numbers: [Packing: UInt32] = [
      .float32: 0, .float16: 1, .q4_0: 2, .q4_1: 3, .q8_0: 7, .q5_0: 8, .q5_1: 9, .q2_K: 10, .q3_K: 11, .q4_K: 14,
      .q5_K: 16, .q6_K: 18, .iq4_nl: 25, .iq4_xs: 30, .bfloat16: 32, .mxfp4: 38, .nvfp4: 39, .q1_0: 40, .q2_0: 41,
    ]
    return type.flatMap { numbers[$0] }
  }

  private static func metadata(
    _ configuration: LlamaConfiguration, _ base: LoadedModel, _ fileType: UInt32?
  ) throws -> [(String, GGUFValue)] {
    if case .gguf(let file) = base.checkpoint.form {
      return file.keys.compactMap { key in
        if key == "general.file_type", let fileType { return (key, .uint32(fileType)) }
        return file.metadata[key].map { (key, $0) }
      }
    }
    let name = ggufArchitecture(configuration.family)
    guard configuration.window == nil else {
      throw FileError(base.checkpoint.path, at: "key 'sliding_window'", "a sliding window has no form in a GGUF Llama")
    }
    var entries: [(String, GGUFValue)] = [
      ("general.architecture", .string(name)), ("general.type", .string("model")),
      ("general.name", .string(base.checkpoint.path.split(separator: "/").last.map(String.init) ?? "model")),
      ("\(name).block_count", .uint32(UInt32(configuration.layers))),
      ("\(name).context_length", .uint32(UInt32(configuration.contextLength))),
      ("\(name).embedding_length", .uint32(UInt32(configuration.width))),
      ("\(name).feed_forward_length", .uint32(UInt32(configuration.hidden))),
      ("\(name).attention.head_count", .uint32(UInt32(configuration.heads))),
      ("\(name).attention.head_count_kv", .uint32(UInt32(configuration.kvHeads))),
      ("\(name).attention.key_length", .uint32(UInt32(configuration.headSize))),
      ("\(name).attention.value_length", .uint32(UInt32(configuration.headSize))),
      ("\(name).attention.layer_norm_rms_epsilon", .float32(configuration.epsilon)),
      ("\(name).rope.freq_base", .float32(Float(configuration.rotary.base))),
      ("\(name).rope.dimension_count", .uint32(UInt32(configuration.headSize))),
      ("\(name).vocab_size", .uint32(UInt32(configuration.vocabularySize))),
    ]
    switch configuration.rotary.kind {
    case .none: break
    case .linear(let factor):
      entries.append(("\(name).rope.scaling.type", .string("linear")))
      entries.append(("\(name).rope.scaling.factor", .float32(Float(factor))))
    // Llama 3's scaling, and divisors given one by one, are a tensor of their own.
    case .llama3, .divisors: break
    }
    if let fileType { entries.append(("general.file_type", .uint32(fileType))) }
    return entries + (try base.requireTokenizer().ggufMetadata(rows: configuration.vocabularySize))
  }
}

extension Packing {
  /// Bits a weight takes in long rows.
  public var bitsPerWeight: Double {
    // Groups along the output cost what those along the input do, but outside the rows.
    if case .grouped(var layout) = self, layout.axis == .output {
      layout.axis = .input
      return layout.packing.bitsPerWeight
    }
    let columns = blockSize * max(1, 4096 / blockSize)
    return (try? bytesPerRow(columns: columns)).map { 8 * Double($0) / Double(columns) } ?? 32
  }
}
