extension Recipe {
  /// When and on what the adapter is judged.
  public struct Evaluation: Sendable, Equatable {
    /// Steps between evaluations; nil for none between start and end.
    public var everySteps: Int?
    /// Whether to evaluate before the first step.
    public var atStart = true
    /// Whether to evaluate after the last step.
    public var atEnd = true
    /// Rows computed at once; the training batch unless given.
    public var batchSize = 4
    /// Rows used at most; nil for all.
    public var maxRows: Int?
    /// Other rows to measure before the first step and after the last, by name: what the model could do besides.
    public var also: [String: RecipePath] = [:]
    /// Text to generate beside the loss; nil for none.
    public var samples: Samples?

    /// Every default.
    public init() {}
  }

  /// Text generated greedily at every evaluation, so that it can be compared across runs.
  public struct Samples: Sendable, Equatable {
    /// What to answer.
    public var prompts: [String] = []
    /// Longest answer, in tokens.
    public var maxNewTokens = 64

    /// No prompts yet.
    public init() {}
  }

  /// When checkpoints are written and which are kept.
  public struct Saving: Sendable, Equatable {
    /// Steps between checkpoints; nil for one at the end only.
    public var everySteps: Int?
    /// Checkpoints kept besides the best.
    public var keepLast = 2
    /// Whether the checkpoint with the lowest evaluation loss is kept.
    public var keepBest = true

    /// Every default.
    public init() {}
  }

  /// What is reported while training.
  public struct Logging: Sendable, Equatable {
    /// Steps between reports.
    public var everySteps = 1
    /// Whether `metrics.jsonl` is written.
    public var jsonl = true
    /// Whether the loss is drawn.
    public var plot = true

    /// Every default.
    public init() {}
  }

  /// Folding the trained adapter into the base.
  public struct Merge: Sendable, Equatable {
    /// Where the merged model is written; `merged` in the run's folder unless given.
    public var output = RecipePath("")
    /// What is written.
    public var format = MergeFormat.full
    /// The packing of layers whose change their own packing would lose; nil to leave them as they are.
    public var raise: String?
    /// When the merged model counts as equal to the adapted one.
    public var verify = Verification()

    /// Every default.
    public init() {}
  }

  /// What a merge writes.
  public enum MergeFormat: String, Sendable, CaseIterable {
    /// The adapter alone.
    case adapterOnly = "adapter_only"
    /// The whole model in float.
    case full
    /// The whole model, packed as the base was.
    case requantize
  }

  /// When a merged model counts as equal to the adapted one.
  public struct Verification: Sendable, Equatable {
    /// Rows to compare on; nil for the evaluation rows.
    public var prompts: RecipePath?
    /// Highest mean Kullback–Leibler divergence, in nats a token.
    public var maxKL = 0.02
    /// Lowest share of positions whose most likely token agrees.
    public var minTop1Agreement = 0.98
    /// Lowest share of the adapter's change that outlives packing.
    public var minSurvival = 0.5

    /// Every default.
    public init() {}
  }

  /// Files for other programs.
  public struct Export: Sendable, Equatable {
    /// A merged model for llama.cpp.
    public var gguf: RecipePath?
    /// How its weights are stored.
    public var ggufType = GGUFStorage.keep
    /// The adapter for llama.cpp.
    public var ggufLora: RecipePath?
    /// The adapter for PEFT: a folder.
    public var peft: RecipePath?

    /// No file named yet.
    public init() {}
  }

  /// How an exported model's weights are stored.
  public enum GGUFStorage: String, Sendable, CaseIterable {
    /// Single precision.
    case f32
    /// Half precision.
    case f16
    /// The upper half of single precision.
    case bf16
    /// Eight bits, 32 weights a scale.
    case q8_0
    /// Four bits, 32 weights a scale.
    case q4_0
    /// Four bits, 32 weights a scale and offset.
    case q4_1
    /// Five bits, 32 weights a scale.
    case q5_0
    /// Five bits, 32 weights a scale and offset.
    case q5_1
    /// Two bits in blocks of 256 weights.
    case q2_k
    /// Three bits in blocks of 256 weights.
    case q3_k
    /// Four bits in blocks of 256 weights.
    case q4_k
    /// Five bits in blocks of 256 weights.
    case q5_k
    /// Six bits in blocks of 256 weights.
    case q6_k
    /// Four bits of uneven levels, 32 weights a scale.
    case iq4_nl
    /// Four bits of uneven levels in blocks of 256 weights.
    case iq4_xs
    /// Four-bit floats, 32 weights a power of two.
    case mxfp4
    /// Four-bit floats, 16 weights a scale.
    case nvfp4
    /// Signs, 128 weights a scale.
    case q1_0
    /// Two bits, 64 weights a scale.
    case q2_0
    /// As the base stores them.
    case keep
  }
}
