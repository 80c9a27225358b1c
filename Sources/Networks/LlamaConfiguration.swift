import Autodiff
import Files
import Glibc

/// The sizes and choices of a decoder of the Llama family, read from `config.json` or a GGUF's metadata.
public struct LlamaConfiguration: Sendable, Equatable {
  /// `llama`, `mistral`, `qwen2` or `qwen3`, as `model_type` says.
  public var family: String
  /// The number of token ids.
  public var vocabularySize: Int
  /// Channels of the residual stream.
  public var width: Int
  /// Channels inside the feed-forward block.
  public var hidden: Int
  /// The number of blocks.
  public var layers: Int
  /// Query heads, and the key heads they share.
  public var heads: Int, kvHeads: Int
  /// Channels of a head.
  public var headSize: Int
  /// The longest sequence, in tokens.
  public var contextLength: Int
  /// ε of the norms.
  public var epsilon: Float
  /// How positions turn into angles.
  public var rotary: RotaryScaling
  /// Whether the head is the embedding table.
  public var tiesHead: Bool
  /// How many of the last tokens a token sees; nil for all.
  public var window: Int?
  /// Which linear layers carry a bias.
  public var hasQueryBias = false, hasOutputBias = false, hasMLPBias = false
  /// Whether each head's q and k are normalised (Qwen 3).
  public var normalisesHeads = false

  /// The families this type covers.
  public static let families = ["llama", "mistral", "qwen2", "qwen3"]

  /// Reads a Hugging Face `config.json`.
  ///
  /// - Throws: a ``FileError`` naming the key that is missing, of another kind, or asks for what is not supported.
  public init(json: JSON, path: String) throws {
    let reader = ConfigurationReader(json: json, path: path)
    family = try reader.string("model_type")
    guard Self.families.contains(family) else {
      throw FileError(
        path, at: "key 'model_type'",
        "\(quoted(family)) is no architecture of the Llama family (\(Self.families.joined(separator: ", ")))")
    }
    if let activation = json["hidden_act"]?.string, activation != "silu" {
      throw FileError(path, at: "key 'hidden_act'", "\(quoted(activation)) is not supported; this family computes silu")
    }
    vocabularySize = try reader.size("vocab_size")
    width = try reader.size("hidden_size")
    hidden = try reader.size("intermediate_size")
    layers = try reader.size("num_hidden_layers", atMost: 1024)
    heads = try reader.size("num_attention_heads", atMost: 4096)
    kvHeads = json["num_key_value_heads"].map { !$0.isNull } == true ? try reader.size("num_key_value_heads") : heads
    headSize =
      json["head_dim"].map { !$0.isNull } == true
      ? try reader.size("head_dim", atMost: 4096) : width / max(1, heads)
    contextLength = try reader.size("max_position_embeddings", default: 2048)
    epsilon = Float(try reader.number("rms_norm_eps", default: 1e-6))
    rotary = try RotaryScaling(json: json, path: path, contextLength: contextLength)
    tiesHead = json["tie_word_embeddings"]?.bool ?? false
    let biased = json["attention_bias"]?.bool ?? false
    (hasQueryBias, hasOutputBias) = (biased || family == "qwen2", biased)
    hasMLPBias = json["mlp_bias"]?.bool ?? false
    normalisesHeads = family == "qwen3"
    if let window = json["sliding_window"]?.int, json["use_sliding_window"]?.bool ?? (family == "mistral") {
      let kinds = json["layer_types"]?.array?.compactMap(\.string) ?? []
      guard !kinds.contains("full_attention") || !kinds.contains("sliding_attention") else {
        throw FileError(
          path, at: "key 'layer_types'", "layers with and without a sliding window are not supported together")
      }
      if !kinds.contains("full_attention") { self.window = window }
    }
    try check(path)
  }

  /// Reads the metadata of a GGUF file of architecture `llama`, `qwen2` or `qwen3`.
  public init(gguf: GGUF) throws {
    let path = gguf.path
    guard let architecture = gguf.metadata["general.architecture"]?.string else {
      throw FileError(path, at: "key 'general.architecture'", "missing; is this a language model?")
    }
    guard ["llama", "qwen2", "qwen3"].contains(architecture) else {
      throw FileError(
        path, at: "key 'general.architecture'",
        "\(quoted(architecture)) is not supported; expected llama, qwen2 or qwen3")
    }
    func value(_ key: String) -> GGUFValue? { gguf.metadata["\(architecture).\(key)"] }
    func size(_ key: String, atMost limit: Int = 1 << 24) throws -> Int {
      guard let number = value(key)?.int, number > 0, number <= limit else {
        throw FileError(path, at: "key '\(architecture).\(key)'", "missing or no whole number from 1 to \(limit)")
      }
      return number
    }
    if let experts = value("expert_count")?.int, experts > 0 {
      throw FileError(path, at: "key '\(architecture).expert_count'", "mixtures of experts are not supported")
    }
    family = architecture
    width = try size("embedding_length")
    hidden = try size("feed_forward_length")
    layers = try size("block_count", atMost: 1024)
    heads = try size("attention.head_count", atMost: 4096)
    kvHeads = value("attention.head_count_kv") == nil ? heads : try size("attention.head_count_kv")
    headSize = value("attention.key_length") == nil ? width / heads : try size("attention.key_length", atMost: 4096)
    contextLength = try size("context_length")
    epsilon = Float(value("attention.layer_norm_rms_epsilon")?.double ?? 1e-5)
    rotary = try RotaryScaling(gguf: gguf, architecture: architecture, contextLength: contextLength)
    tiesHead = gguf["output.weight"] == nil
    vocabularySize = try gguf.tensor("token_embd.weight").shape.first ?? 0
    // llama.cpp takes 0 for no window.
    window = value("attention.sliding_window")?.int.flatMap { $0 == 0 ? nil : $0 }
    hasQueryBias = gguf["blk.0.attn_q.bias"] != nil
    hasOutputBias = gguf["blk.0.attn_output.bias"] != nil
    hasMLPBias = gguf["blk.0.ffn_gate.bias"] != nil
    normalisesHeads = gguf["blk.0.attn_q_norm.weight"] != nil
    try check(path)
  }

  private func check(_ path: String) throws {
    guard heads % kvHeads == 0 else {
      throw FileError(path, at: "num_key_value_heads", "\(kvHeads) does not divide \(heads) attention heads")
    }
    guard headSize > 0, headSize % 2 == 0 else {
      throw FileError(path, at: "head_dim", "\(headSize) is not an even number of channels a head")
    }
    guard epsilon > 0, epsilon < 1 else {
      throw FileError(path, at: "rms_norm_eps", "\(epsilon) is not between 0 and 1")
    }
    if case .divisors(let divisors) = rotary.kind, divisors.count != headSize / 2 {
      throw FileError(
        path, at: "tensor 'rope_freqs.weight'", "holds \(divisors.count) numbers where a head has \(headSize / 2) pairs"
      )
    }
    guard rotary.frequencies(headSize: headSize).allSatisfy(\.isFinite) else {
      throw FileError(path, at: "rope_scaling", "makes angles that are not finite; is a factor 0?")
    }
    if let window, window < 1 {
      throw FileError(path, at: "sliding_window", "\(window) is no number of tokens from 1")
    }
  }

  /// The `config.json` that describes this model to other tools.
  public func json(bos: Int?, eos: Int?, path: String) throws -> JSON {
    let architectures = ["llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"]
    var object: [String: JSON] = [
      "architectures": .array([.string("\(architectures[family] ?? "Llama")ForCausalLM")]),
      "model_type": .string(family), "torch_dtype": .string("float32"), "hidden_act": .string("silu"),
      "vocab_size": .integer(vocabularySize), "hidden_size": .integer(width), "intermediate_size": .integer(hidden),
      "num_hidden_layers": .integer(layers), "num_attention_heads": .integer(heads),
      "num_key_value_heads": .integer(kvHeads), "head_dim": .integer(headSize),
      "max_position_embeddings": .integer(contextLength),
      "rms_norm_eps": .number(Double("\(epsilon)") ?? Double(epsilon)),
      "rope_theta": .number(rotary.base), "rope_scaling": try rotary.json(path: path),
      "tie_word_embeddings": .bool(tiesHead),
    ]
    if family == "llama" || family == "qwen3" { object["attention_bias"] = .bool(hasOutputBias) }
    if family == "llama" { object["mlp_bias"] = .bool(hasMLPBias) }
    if let window { object["sliding_window"] = .integer(window) }
    if family.hasPrefix("qwen") { object["use_sliding_window"] = .bool(window != nil) }
    if let bos { object["bos_token_id"] = .integer(bos) }
    if let eos { object["eos_token_id"] = .integer(eos) }
    return .object(object)
  }
}

/// Reads keys of a configuration with the sentences for what can be wrong with them.
struct ConfigurationReader {
  let json: JSON
  let path: String

  func string(_ key: String) throws -> String {
    guard let value = json[key]?.string else { throw FileError(path, at: "key '\(key)'", "missing or no text") }
    return value
  }

  func size(_ key: String, atMost limit: Int = 1 << 24, default fallback: Int? = nil) throws -> Int {
    guard let value = json[key] else {
      if let fallback { return fallback }
      throw FileError(path, at: "key '\(key)'", "missing")
    }
    guard let number = value.int, number > 0, number <= limit else {
      throw FileError(path, at: "key '\(key)'", "\(quoted(value.text())) is no whole number from 1 to \(limit)")
    }
    return number
  }

  func number(_ key: String, default fallback: Double) throws -> Double {
    guard let value = json[key], !value.isNull else { return fallback }
    guard let number = value.double, number.isFinite else {
      throw FileError(path, at: "key '\(key)'", "\(quoted(value.text())) is no number")
    }
    return number
  }
}
