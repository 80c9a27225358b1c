import Autodiff
import Files
import Synchronization
import Weights

/// Where a model's frozen weights come from, under Hugging Face's names.
public protocol WeightSource: Sendable {
  /// The file or folder, for messages.
  var path: String { get }
  /// A matrix as it is packed, nothing copied where it can be avoided.
  func matrix(_ name: String, rows: Int, columns: Int) throws -> FrozenWeight
  /// The same for a matrix that the checkpoint packs; nil where it is stored plain.
  func packed(_ name: String, rows: Int, columns: Int) throws -> FrozenWeight?
  /// A vector as `Float`.
  func vector(_ name: String, count: Int) throws -> Tensor
  /// A tensor of any shape as `Float`.
  func tensor(_ name: String, shape: Shape) throws -> Tensor
  /// The filters of a convolution, `[outputs, channels / groups, height, width]`, one a row.
  func filters(_ name: String, shape: Shape) throws -> FrozenWeight
  /// The names that were there and have not been asked for.
  var unused: [String] { get }
  /// Marks a name as known, such as the copy of a tied head; it need not be there.
  func ignore(_ name: String)
}

extension WeightSource {
  /// Nil: nothing is packed but what ``matrix(_:rows:columns:)`` gives anyway.
  public func packed(_ name: String, rows: Int, columns: Int) throws -> FrozenWeight? { nil }

  /// The tensor of that name as `Float`.
  public func filters(_ name: String, shape: Shape) throws -> FrozenWeight {
    let all = try tensor(name, shape: shape)
    return FrozenWeight(all.reshaped([shape[0], all.count / max(1, shape[0])]))
  }

  /// Nothing: the source keeps no such list.
  public func ignore(_ name: String) {}

  /// Refuses a checkpoint that holds more than the model computes with, which would change its outputs silently.
  func requireAllUsed(by model: String) throws {
    let left = unused
    guard let first = left.first else { return }
    throw FileError(
      path, at: "tensor \(quoted(first))",
      "\(left.count == 1 ? "it is" : "it and \(left.count - 1) more are") no part of a model of type '\(model)'",
      remedy: "check the model type in its configuration")
  }
}

/// A Hugging Face folder's safetensors.
public struct SafetensorsSource: WeightSource {
  let file: Safetensors
  private let form: (any PackedForm)?
  private let asked = Asked()
  /// The file; the folder where there are several.
  public var path: String { file.path }

  /// The weights in `folder`, one file or shards with an index, packed as `configuration` says.
  public init(folder: String, configuration: JSON = .object([:])) throws {
    file = try Safetensors(folder: folder)
    form = try packedForm(configuration, path: folder + "/config.json")
  }

  /// The matrix of that name where the configuration says that it is packed.
  public func packed(_ name: String, rows: Int, columns: Int) throws -> FrozenWeight? {
    let tensors = PackedTensors(file: file) { [asked] in asked.insert($0) }
    return try form?.matrix(name, rows: rows, columns: columns, in: tensors)
  }

  /// The matrix of that name.
  public func matrix(_ name: String, rows: Int, columns: Int) throws -> FrozenWeight {
    if let packed = try packed(name, rows: rows, columns: columns) { return packed }
    return try plain(name, shape: [rows, columns], rows: rows, columns: columns)
  }

  /// The filters of that name, in whatever packing.
  public func filters(_ name: String, shape: Shape) throws -> FrozenWeight {
    let columns = shape.count / max(1, shape[0])
    if let packed = try packed(name, rows: shape[0], columns: columns) { return packed }
    return try plain(name, shape: shape.dimensions, rows: shape[0], columns: columns)
  }

  private func plain(_ name: String, shape: [Int], rows: Int, columns: Int) throws -> FrozenWeight {
    let entry = try checked(name, shape)
    let packings: [ElementType: Packing] = [.f32: .float32, .f16: .float16, .bf16: .bfloat16]
    guard let packing = packings[entry.type] else {
      throw FileError(
        entry.file.path, at: "tensor '\(name)'", "holds \(entry.type.rawValue); a weight must be F32, F16 or BF16")
    }
    return try FrozenWeight(
      bytes: entry.bytes, owner: entry.file, packing: packing, rows: rows, columns: columns, path: entry.file.path,
      place: "tensor '\(name)'")
  }

  /// The vector of that name.
  public func vector(_ name: String, count: Int) throws -> Tensor { try tensor(name, shape: [count]) }

  /// The tensor of that name.
  public func tensor(_ name: String, shape: Shape) throws -> Tensor {
    Tensor(try checked(name, shape.dimensions).floats(), shape: shape)
  }

  private func checked(_ name: String, _ shape: [Int]) throws -> TensorEntry {
    asked.insert(name)
    let entry = try file.entry(name)
    guard entry.shape == shape else {
      throw FileError(
        entry.file.path, at: "tensor '\(name)'",
        "has shape \(described(shape: entry.shape)); the configuration says \(shape)")
    }
    return entry
  }

  /// The names not asked for, but for what checkpoints are known to carry besides their weights.
  public var unused: [String] {
    file.names.filter {
      !asked.contains($0) && !$0.hasSuffix("rotary_emb.inv_freq") && !$0.hasSuffix(".attn.bias")
        && !$0.hasSuffix(".attn.masked_bias")
    }
  }

  /// Marks a name as known, such as the copy of a tied head.
  public func ignore(_ name: String) { asked.insert(name) }

  /// The same for every name that `isKnown` knows.
  func ignore(where isKnown: (String) -> Bool) { for name in file.names where isKnown(name) { asked.insert(name) } }
}

/// A GGUF file of a Llama-like architecture.
public struct GGUFSource: WeightSource {
  private let file: GGUF
  private let heads: Int, kvHeads: Int, headSize: Int
  private let isRotaryPermuted: Bool
  private let asked = Asked()

  /// The weights of `file`, whose head counts `configuration` knows.
  public init(_ file: GGUF, _ configuration: LlamaConfiguration) {
    self.file = file
    (heads, kvHeads, headSize) = (configuration.heads, configuration.kvHeads, configuration.headSize)
    // llama.cpp turns neighbouring channels of Llama models, so their q and k rows are stored pair by pair.
    isRotaryPermuted = file.metadata["general.architecture"]?.string == "llama"
  }

  /// The file.
  public var path: String { file.path }

  /// The matrix of that Hugging Face name.
  public func matrix(_ name: String, rows: Int, columns: Int) throws -> FrozenWeight {
    let tensor = try checked(name, [rows, columns])
    guard let packing = Packing(tensor.type) else {
      throw FileError(path, at: "tensor '\(tensor.name)'", "type \(tensor.type.name) cannot be used as a weight")
    }
    let permuted = isRotaryPermuted && (name.hasSuffix("q_proj.weight") || name.hasSuffix("k_proj.weight"))
    return try FrozenWeight(
      bytes: tensor.bytes, owner: tensor.file, packing: packing, rows: rows, columns: columns,
      order: permuted ? .rotaryPairs(headSize: headSize) : .natural, path: path, place: "tensor '\(tensor.name)'")
  }

  /// The vector of that Hugging Face name.
  public func vector(_ name: String, count: Int) throws -> Tensor {
    let values = try Self.floats(try checked(name, [count]))
    guard isRotaryPermuted, name.hasSuffix("q_proj.bias") || name.hasSuffix("k_proj.bias") else {
      return Tensor(values, shape: [count])
    }
    let order = RowOrder.rotaryPairs(headSize: headSize)
    return Tensor((0..<count).map { values[order.stored($0)] }, shape: [count])
  }

  /// The tensor of that Hugging Face name.
  public func tensor(_ name: String, shape: Shape) throws -> Tensor {
    Tensor(try Self.floats(try checked(name, shape.dimensions)), shape: shape)
  }

  private func checked(_ name: String, _ shape: [Int]) throws -> GGUFTensor {
    guard let own = GGUFNames.gguf(name) else {
      throw FileError(path, at: "tensor '\(name)'", "has no name in a GGUF file")
    }
    asked.insert(own)
    let tensor = try file.tensor(own)
    guard tensor.shape == shape else {
      throw FileError(
        path, at: "tensor '\(own)'", "has shape \(tensor.shape); the metadata says \(shape)")
    }
    return tensor
  }

  /// A tensor's numbers as `Float`.
  static func floats(_ tensor: GGUFTensor) throws -> [Float] {
    guard let packing = Packing(tensor.type), let start = tensor.bytes.baseAddress else {
      throw FileError(
        tensor.file.path, at: "tensor '\(tensor.name)'", "type \(tensor.type.name) cannot be used as a weight")
    }
    let count = tensor.shape.reduce(1, *)
    var values = [Float](repeating: 0, count: count)
    values.withUnsafeMutableBufferPointer { buffer in
      guard let place = buffer.baseAddress else { return }
      PackedCodec.unpack(start, rowCount: 1, columns: count, packing: packing, into: place)
    }
    return values
  }

  /// The names not asked for.
  public var unused: [String] { file.names.filter { !asked.contains($0) && $0 != "rope_freqs.weight" } }
}

/// Which names have been asked for; shared by the copies of a source while a model is being made.
private final class Asked: Sendable {
  private let names = Mutex<Set<String>>([])
  func insert(_ name: String) { names.withLock { _ = $0.insert(name) } }
  func contains(_ name: String) -> Bool { names.withLock { $0.contains(name) } }
}

/// The two spellings of a Llama's tensor names.
public enum GGUFNames {
  private static let parts: [(hub: String, gguf: String)] = [
    ("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm"), ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"), ("self_attn.v_proj", "attn_v"), ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"), ("self_attn.k_norm", "attn_k_norm"), ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"), ("mlp.down_proj", "ffn_down"),
  ]
  private static let whole: [(hub: String, gguf: String)] = [
    ("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output"),
  ]

  /// llama.cpp's name for a tensor that Hugging Face calls `name`, such as `model.layers.3.mlp.up_proj.weight`.
  public static func gguf(_ name: String) -> String? {
    let (stem, kind) = split(name)
    if let match = whole.first(where: { $0.hub == stem }) { return match.gguf + kind }
    let pieces = stem.split(separator: ".", maxSplits: 3).map(String.init)
    guard pieces.count == 4, pieces[0] == "model", pieces[1] == "layers", Int(pieces[2]) != nil,
      let match = parts.first(where: { $0.hub == pieces[3] })
    else { return nil }
    return "blk.\(pieces[2]).\(match.gguf)\(kind)"
  }

  private static func split(_ name: String) -> (stem: String, kind: String) {
    for kind in [".weight", ".bias"] where name.hasSuffix(kind) { return (String(name.dropLast(kind.count)), kind) }
    return (name, "")
  }
}

extension Packing {
  /// The packing of a GGUF type; nil for those that hold no weights.
  public init?(_ type: GGUFType) {
    let table: [GGUFType: Packing] = [
      .f32: .float32, .f16: .float16, .bf16: .bfloat16, .q4_0: .q4_0, .q4_1: .q4_1, .q5_0: .q5_0, .q5_1: .q5_1,
      .q8_0: .q8_0, .q4_K: .q4_K, .q5_K: .q5_K, .q6_K: .q6_K, .q1_0: .q1_0, .q2_0: .q2_0, .q2_K: .q2_K, .q3_K: .q3_K,
      .iq4_nl: .iq4_nl, .iq4_xs: .iq4_xs, .mxfp4: .mxfp4, .nvfp4: .nvfp4,
    ]
    guard let packing = table[type] else { return nil }
    self = packing
  }

  /// The GGUF type that holds this packing; nil for Graft's own.
  public var gguf: GGUFType? {
    GGUFType.allCases.first { Packing($0) == self }
  }
}
