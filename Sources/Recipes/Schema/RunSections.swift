extension Recipe {
  /// What is trained on, and how it becomes tokens.
  public struct Data: Sendable, Equatable {
    /// At least one file.
    public var train: [Source] = []
    /// Files of rows to judge by, together; excludes `evalFraction`.
    public var eval: [RecipePath] = []
    /// Share of the training rows set aside to judge by; excludes `eval`.
    public var evalFraction: Double?
    /// How rows are laid out.
    public var format = Format.auto
    /// The key of each row's task; nil where rows have none.
    public var taskField: String?
    /// The keys of each row's text, of the second text of a pair (nil for texts alone), and of its class.
    public var textField = "text", pairField: String?, labelField = "label"
    /// Which tokens are learnt.
    public var trainOn = Supervision.assistant
    /// Longest sequence, in tokens.
    public var maxSequenceLength = 1024
    /// What to do with longer rows.
    public var tooLong = TooLong.error
    /// Whether short rows share a sequence.
    public var packing = false
    /// Whether rows are drawn in random order.
    public var shuffle = true

    /// No data named yet.
    public init() {}
  }

  /// A training file and how often its rows are drawn.
  public struct Source: Sendable, Equatable {
    /// The file.
    public var path: RecipePath
    /// Relative to the other files; 1 unless given.
    public var weight: Double

    /// A file drawn `weight` times as often as one of weight 1.
    public init(_ path: RecipePath, weight: Double = 1) {
      self.path = path
      self.weight = weight
    }
  }

  /// How rows of a data file are laid out.
  public enum Format: String, Sendable, CaseIterable {
    /// Found out from the first row.
    case auto
    /// `messages` with roles and contents.
    case chat
    /// `prompt` and `completion`.
    case promptCompletion = "prompt_completion"
    /// `instruction`, `input` and `output`.
    case alpaca
    /// `conversations` with `from` and `value`.
    case sharegpt
    /// `text`.
    case text
    /// `input_ids`, and perhaps `labels`: tokens another program has made.
    case ids
    /// A text, perhaps a second, and a class, under the keys that ``Data/textField`` and its kin name.
    case classification
  }

  /// Which tokens are learnt.
  public enum Supervision: String, Sendable, CaseIterable {
    /// Every answer.
    case assistant
    /// The last answer only.
    case lastAssistant = "last_assistant"
    /// What follows the prompt.
    case completion
    /// Every token.
    case all
  }

  /// What to do with rows longer than the longest sequence.
  public enum TooLong: String, Sendable, CaseIterable {
    /// Refuse to start.
    case error
    /// Leave the row out.
    case drop
    /// Keep its end.
    case truncateLeft = "truncate_left"
    /// Keep its start.
    case truncateRight = "truncate_right"
  }

  /// What is measured of the layers' inputs, for methods and starts that ask.
  public struct Calibration: Sendable, Equatable {
    /// Rows to measure on; nil for the training rows.
    public var data: RecipePath?
    /// Rows measured at most, drawn by the seed.
    public var maxRows = 256
    /// An HDF5 file to keep the measurements in, and to take them from while base and data are the same.
    public var statistics: RecipePath?

    /// Every default.
    public init() {}
  }

  /// How long and by which rule weights change.
  public struct Training: Sendable, Equatable {
    /// Passes over the data; nil exactly when `maxSteps` is given.
    public var epochs: Double? = 1
    /// Optimiser steps; nil exactly when `epochs` is in force.
    public var maxSteps: Int?
    /// Rows computed at once.
    public var batchSize = 4
    /// Batches whose gradients make one step.
    public var gradientAccumulationSteps = 1
    /// The highest learning rate of the run.
    public var learningRate = 2e-4
    /// How the learning rate falls.
    public var schedule = Schedule.cosine
    /// Share of the steps over which the learning rate rises; excludes `warmupSteps`.
    public var warmupRatio: Double?
    /// Steps over which the learning rate rises; nil exactly when `warmupRatio` is given.
    public var warmupSteps: Int? = 0
    /// The rule by which weights change.
    public var optimizer = Optimizer.adamw
    /// AdamW: memory of the gradient.
    public var beta1 = 0.9
    /// AdamW: memory of the squared gradient.
    public var beta2 = 0.999
    /// AdamW: added to the root of the squared gradient.
    public var epsilon = 1e-8
    /// SGD: memory of the gradient.
    public var momentum = 0.0
    /// SGD: whether to look ahead along the momentum.
    public var nesterov = false
    /// By what the learning rate of a role is multiplied, such as `router: 100`.
    public var roleRates: [String: Double] = [:]
    /// Pull towards zero, decoupled from the gradient.
    public var weightDecay = 0.01
    /// Longer gradients are shortened to this norm; 0 for never.
    public var maxGradNorm = 1.0
    /// Whether activations are computed again instead of kept.
    public var activationCheckpointing = false
    /// Threads to compute on; nil for all the machine has.
    public var threads: Int?
    /// A plan that needs more is refused; nil for what the machine has.
    public var memoryLimitGB: Double?
    /// What to do when a loss or gradient is not finite.
    public var onNonfinite = Nonfinite.fail
    /// When to stop before the end; nil for never.
    public var earlyStopping: EarlyStopping?

    /// Every default.
    public init() {}
  }

  /// How the learning rate falls after its rise.
  public enum Schedule: String, Sendable, CaseIterable {
    /// Not at all.
    case constant
    /// Along a line to zero.
    case linear
    /// Along half a cosine to zero.
    case cosine
  }

  /// The rule by which weights change.
  public enum Optimizer: String, Sendable, CaseIterable {
    /// Adam with decoupled weight decay.
    case adamw
    /// Stochastic gradient descent.
    case sgd
  }

  /// What to do when a loss or gradient is not finite.
  public enum Nonfinite: Sendable, Equatable {
    /// Stop the run as failed.
    case fail
    /// Leave the step out, at most this many times.
    case skipStep(Int)
  }

  /// When to stop before the end.
  public struct EarlyStopping: Sendable, Equatable {
    /// What is watched; lower is better.
    public var metric = Metric.evalLoss
    /// Evaluations without improvement that end the run.
    public var patience = 3
    /// A smaller improvement does not count.
    public var minDelta = 0.0

    /// Every default.
    public init() {}
  }

  /// What early stopping watches.
  public enum Metric: String, Sendable, CaseIterable {
    /// Loss on the evaluation rows.
    case evalLoss = "eval_loss"
    /// Loss on the training rows.
    case trainLoss = "train_loss"
  }
}
