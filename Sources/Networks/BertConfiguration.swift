import Files

/// The sizes of a BERT encoder, and the classes its head tells apart, read from `config.json`.
public struct BertConfiguration: Sendable, Equatable {
  /// The number of token ids, blocks, heads, channels, and channels inside the feed-forward block.
  public var vocabularySize: Int, layers: Int, heads: Int, width: Int, hidden: Int
  /// The longest sequence, in tokens.
  public var contextLength: Int
  /// How many kinds of segment it knows: 2 for pairs of texts.
  public var segments: Int
  /// ε of the norms.
  public var epsilon: Float
  /// What stands between the two layers of a feed-forward block.
  public var activation: Activation
  /// The names of the classes, by `id2label`; empty where the file names none.
  public var labels: [String]

  /// The functions between the two layers of a feed-forward block.
  public enum Activation: String, Sendable, CaseIterable {
    /// With the exact normal distribution function.
    case gelu
    /// By its tanh approximation.
    case geluNew = "gelu_new"
    /// max(0, x).
    case relu
  }

  /// Reads a Hugging Face `config.json` of `model_type` bert.
  ///
  /// - Throws: a ``FileError`` naming the key that is missing or asks for what is not supported.
  public init(json: JSON, path: String) throws {
    let reader = ConfigurationReader(json: json, path: path)
    let name = json["hidden_act"]?.string ?? Activation.gelu.rawValue
    guard let activation = Activation(rawValue: name) else {
      let known = Activation.allCases.map(\.rawValue).joined(separator: ", ")
      throw FileError(path, at: "key 'hidden_act'", "\(quoted(name)) is not supported; expected one of \(known)")
    }
    self.activation = activation
    let positions = json["position_embedding_type"]?.string ?? "absolute"
    guard positions == "absolute" else {
      throw FileError(
        path, at: "key 'position_embedding_type'", "\(quoted(positions)) is not supported; expected absolute")
    }
    for key in ["is_decoder", "add_cross_attention"] where json[key]?.bool == true {
      throw FileError(path, at: "key '\(key)'", "true is not supported; an encoder reads the whole text at once")
    }
    if let problem = json["problem_type"]?.string, problem != "single_label_classification" {
      throw FileError(
        path, at: "key 'problem_type'",
        "\(quoted(problem)) is not supported; each text has one class (single_label_classification)")
    }
    vocabularySize = try reader.size("vocab_size")
    layers = try reader.size("num_hidden_layers", atMost: 1024)
    heads = try reader.size("num_attention_heads", atMost: 4096)
    width = try reader.size("hidden_size")
    hidden = try reader.size("intermediate_size")
    contextLength = try reader.size("max_position_embeddings", default: 512)
    segments = try reader.size("type_vocab_size", atMost: 1024, default: 2)
    epsilon = Float(try reader.number("layer_norm_eps", default: 1e-12))
    guard epsilon > 0, epsilon < 1 else {
      throw FileError(path, at: "key 'layer_norm_eps'", "\(epsilon) is not between 0 and 1")
    }
    guard width % heads == 0 else {
      throw FileError(path, at: "key 'num_attention_heads'", "\(heads) heads do not divide \(width) channels")
    }
    labels = try Self.labels(json, path)
  }

  private static func labels(_ json: JSON, _ path: String) throws -> [String] {
    guard let named = json["id2label"]?.object else { return [] }
    let labels = (0..<named.count).map { named[String($0)]?.string }
    guard case let present = labels.compactMap(\.self), present.count == named.count else {
      throw FileError(path, at: "key 'id2label'", "does not name the classes 0 to \(named.count - 1)")
    }
    guard Set(present).count == present.count else {
      throw FileError(path, at: "key 'id2label'", "gives two classes one name")
    }
    return present
  }
}
