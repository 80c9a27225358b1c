extension Recipe {
  /// The base model: one to load, or one to start from scratch.
  public struct Model: Sendable, Equatable {
    /// A folder, a `.gguf` file or a known name; nil exactly when `initial` is given.
    public var path: RecipePath?
    /// A Jinja file; nil for the model's own template.
    public var chatTemplate: RecipePath?
    /// The type arithmetic is done in.
    public var computeType = ComputeType.float32
    /// The shape of a new model; nil to load `path`.
    public var initial: Initial?

    /// A model not named yet.
    public init() {}
  }

  /// The type arithmetic is done in.
  public enum ComputeType: String, Sendable, CaseIterable {
    /// IEEE single precision.
    case float32
  }

  /// The shape of a new Llama-style model, trained from scratch.
  public struct Initial: Sendable, Equatable {
    /// Width of the residual stream.
    public var hiddenSize = 64
    /// Width of the feed-forward layer.
    public var intermediateSize = 192
    /// Number of blocks.
    public var hiddenLayers = 2
    /// Number of query heads.
    public var attentionHeads = 4
    /// Number of key and value heads; as many as query heads unless given.
    public var keyValueHeads = 4
    /// Whether the output layer is the embedding.
    public var tieWordEmbeddings = true
    /// Base of the rotary angles.
    public var ropeTheta = 10000.0
    /// Longest sequence.
    public var maxPositionEmbeddings = 2048
    /// Added to the mean square before its root is taken.
    public var rmsNormEpsilon = 1e-5
    /// The tokenizer to use: a `tokenizer.json`, its folder, or a `.gguf` file.
    public var tokenizer = RecipePath("")

    /// A small shape without a tokenizer.
    public init() {}

    /// The numbers of the matrices of a model of this shape that knows `vocabulary` tokens.
    func parameterCount(vocabulary: Int) -> Int {
      let keys = hiddenSize / attentionHeads * keyValueHeads
      let layer = hiddenSize * (2 * hiddenSize + 2 * keys + 3 * intermediateSize)
      return vocabulary * hiddenSize * (tieWordEmbeddings ? 1 : 2) + hiddenLayers * layer
    }
  }

  /// How the base model's weights are packed.
  public struct Quantization: Sendable, Equatable {
    /// One of the catalogue's packings, such as `int4`.
    public var packing = ""
    /// Weights that share a scale; for `int…` packings.
    public var groupSize = 64
    /// Whether the scales are packed too; for `nf4`.
    public var doubleQuant = false
    /// Layers left alone: names, or the ends of names.
    public var skip: [String] = []

    /// No packing named yet.
    public init() {}
  }

  /// What is trained on top of, or of, the base model.
  public struct Adapter: Sendable, Equatable {
    /// One of the catalogue's types, such as `lora`.
    public var type = ""
    /// A trained adapter to start from.
    public var from: RecipePath?
    /// Width of the low-rank change.
    public var rank = 8
    /// The change is multiplied by `alpha / rank`; nil exactly when `scale` is given.
    public var alpha: Double? = 8
    /// The multiplier itself; nil exactly when `alpha` is in force.
    public var scale: Double?
    /// Chance that an adapter input is dropped while training.
    public var dropout = 0.0
    /// Whether `alpha` is divided by √rank instead of rank.
    public var rslora = false
    /// Which layers are adapted, by name.
    public var targetModules = Targets.allLinear
    /// Which blocks are adapted, by number.
    public var layers = Layers.all
    /// Ranks that differ from `rank`, by layer name or pattern.
    public var rankPattern: [String: Int] = [:]
    /// Alphas that differ from `alpha`, by layer name or pattern.
    public var alphaPattern: [String: Double] = [:]
    /// Which biases are trained.
    public var bias = Bias.none
    /// Layers trained whole and saved with the adapter.
    public var modulesToSave: [String] = []
    /// How the adapter starts.
    public var initialization = Start.default
    /// Keys only this adapter type knows.
    public var options: [String: RecipeValue] = [:]

    /// No type named yet.
    public init() {}

    /// What the low-rank change of a layer with this rank and alpha is multiplied by.
    public func effectiveScale(rank: Int, alpha: Double) -> Double {
      alpha / (rslora ? Double(rank).squareRoot() : Double(rank))
    }

    /// What the low-rank change is multiplied by, patterns aside.
    public var effectiveScale: Double { scale ?? effectiveScale(rank: rank, alpha: alpha ?? 8) }
  }

  /// Which layers are adapted, by name.
  public enum Targets: Sendable, Equatable {
    /// Names, or the ends of names, such as `q_proj`.
    case names([String])
    /// Whole names that match this expression.
    case regex(String)
    /// Every linear layer except the output.
    case allLinear
  }

  /// Which blocks are adapted, by number.
  public enum Layers: Sendable, Equatable {
    /// Every block.
    case all
    /// This many from the end.
    case last(Int)
    /// These, counted from 0.
    case indices([Int])
  }

  /// Which biases are trained.
  public enum Bias: String, Sendable, CaseIterable {
    /// No bias.
    case none
    /// Every bias of the model.
    case all
    /// The biases of adapted layers.
    case loraOnly = "lora_only"
  }

  /// How an adapter starts.
  public enum Start: Sendable, Equatable {
    /// As the method's authors start it.
    case `default`
    /// From a normal distribution.
    case gaussian
    /// From rows of one orthogonal matrix.
    case orthogonal
    /// From the largest components of the base, exactly, or by so many random passes.
    case pissa(iterations: Int?)
    /// From an orthogonal and a triangular factor of the base.
    case olora
    /// From the strongest directions of the layers' inputs.
    case eva
    /// From what packing the base loses.
    case loftq

    /// The start of that spelling.
    public init?(spelling: String) {
      let plain: [Start] = [.default, .gaussian, .orthogonal, .pissa(iterations: nil), .olora, .eva, .loftq]
      if let start = plain.first(where: { $0.spelling == spelling }) {
        self = start
      } else if spelling.hasPrefix("pissa_niter_"), let count = ScalarRules.integer(String(spelling.dropFirst(12))),
        (0...1000).contains(count)
      {
        self = .pissa(iterations: count)
      } else {
        return nil
      }
    }

    /// As recipes spell it.
    public var spelling: String {
      switch self {
      case .default: "default"
      case .gaussian: "gaussian"
      case .orthogonal: "orthogonal"
      case .pissa(nil): "pissa"
      case .pissa(let count?): "pissa_niter_\(count)"
      case .olora: "olora"
      case .eva: "eva"
      case .loftq: "loftq"
      }
    }
  }
}
