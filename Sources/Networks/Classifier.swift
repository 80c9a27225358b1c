import Autodiff

/// A network that tells the class of a text, or of a pair of texts.
///
/// The labels of a batch are one a sequence.
public protocol Classifier: TextNetwork {
  /// The names of the classes, in the order of the logits; empty where it has no head yet.
  var labels: [String] { get }
  /// How many kinds of segment it knows: 2 where it reads pairs of texts.
  var segmentKinds: Int { get }
  /// Names the classes of its head; nothing happens where these are not as many.
  mutating func name(_ labels: [String])
  /// What the head's matrix is multiplied with, of rows of ``TextNetwork/states(_:_:)``.
  func pooled(_ states: Tensor, _ context: Context) -> Tensor
  /// Gives it a fresh head for `labels`, drawn from `random`.
  mutating func setHead(labels: [String], random: RandomKey)
}

extension Classifier {
  /// The output layer's name in Hugging Face's checkpoints of classifiers.
  public var headName: String { "classifier" }

  /// Each sequence's first token.
  public func stateTokens(_ batch: TokenBatch) -> [Int32] { batch.starts }

  /// Every sequence that is labelled.
  public func scored(_ batch: TokenBatch, _ labels: [Int32]) -> (rows: [Int32], targets: [Int32]) {
    require(labels.count == batch.lengths.count, "\(labels.count) labels for \(batch.lengths.count) sequences")
    let rows = labels.indices.filter { labels[$0] != ignoredLabel }
    return (rows.map(Int32.init), rows.map { labels[$0] })
  }
}
