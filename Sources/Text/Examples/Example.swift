/// One training example: token ids, and which of them, or which class, the model is trained to predict.
public struct Example: Sendable, Equatable {
  /// What a label holds where the model is not trained to predict the token.
  public static let unsupervised: Int32 = -100

  /// The tokens.
  public var ids: [Int32]

  /// For each token its own id, or ``unsupervised``. The loss does the shift: position `i` predicts label `i + 1`.
  /// Where the example has a class, that alone.
  public var labels: [Int32]

  /// Whether a class of the whole is predicted, not tokens.
  public var isClassified = false

  /// Which of a pair of texts each token belongs to, 0 or 1; empty for a text alone.
  public var segments: [Int32] = []

  /// The task it belongs to, where the data name tasks.
  public var task: String?

  /// Where the example was read: `data/train.jsonl:17`.
  public var source: String

  /// An example; `labels` are as many as `ids`.
  public init(ids: [Int32], labels: [Int32], source: String) {
    self.ids = ids
    self.labels = labels
    self.source = source
  }

  /// An example of the class with the index `label`.
  public init(ids: [Int32], segments: [Int32], label: Int32, source: String) {
    (self.ids, self.segments, labels, isClassified, self.source) = (ids, segments, [label], true, source)
  }

  /// How many tokens, or classes, the model is trained to predict. The first token has nothing before it and is never one
  /// of them.
  public var targets: Int { isClassified ? labels.count : labels.dropFirst().count { $0 != Self.unsupervised } }
}
