import Autodiff
import Text
import Weights

/// Sequences of token ids laid end to end, without padding.
public struct TokenBatch: Sendable {
  /// All ids, sequence after sequence.
  public let ids: [Int32]
  /// How many belong to each sequence.
  public let lengths: [Int]
  /// Which of a pair of texts each token belongs to, 0 or 1; empty where every token belongs to the first.
  public let segments: [Int32]

  /// A batch of the given sequences; `segments` are as many and as long, or none.
  public init(_ sequences: [[Int32]], segments: [[Int32]] = []) {
    ids = sequences.flatMap(\.self)
    lengths = sequences.map(\.count)
    self.segments = segments.flatMap(\.self)
    require(
      self.segments.isEmpty || segments.map(\.count) == lengths, "segments that are not as long as their sequences")
  }

  /// A batch of the given examples.
  public init(_ examples: some Collection<Example>) {
    let hasPairs = examples.contains { !$0.segments.isEmpty }
    self.init(
      examples.map(\.ids),
      segments: hasPairs
        ? examples.map { $0.segments.isEmpty ? [Int32](repeating: 0, count: $0.ids.count) : $0.segments } : [])
  }

  /// Each id's position within its sequence.
  public var positions: [Int32] { lengths.flatMap { Int32(0)..<Int32($0) } }

  /// Where each sequence begins.
  public var starts: [Int32] {
    var next: Int32 = 0
    return lengths.map { length in
      defer { next += Int32(length) }
      return next
    }
  }
}

/// A network that reads tokens and gives logits: of the next token at each one, or of each sequence's class.
///
/// Between the two lie the *states*, the rows that the head reads. Training, merging and measuring know nothing else, so
/// they are the same for a decoder and for an encoder.
public protocol TextNetwork: BlockStack, AdaptableNetwork {
  /// The number of token ids it knows.
  var vocabularySize: Int { get }
  /// The longest sequence it was made for, in tokens.
  var contextLength: Int { get }
  /// The rows ready for the head, `[rows, width]`: one a token for a decoder, one a sequence for a classifier.
  func states(_ batch: TokenBatch, _ context: Context) -> Tensor
  /// The head's product with `states`; `context` is that of the rows, see ``Context/at(_:)``.
  func logits(_ states: Tensor, _ context: Context) -> Tensor
  /// The token of `batch` that each row of ``states(_:_:)`` stands at.
  func stateTokens(_ batch: TokenBatch) -> [Int32]
  /// The rows of ``states(_:_:)`` whose logits are scored, and what each should predict.
  func scored(_ batch: TokenBatch, _ labels: [Int32]) -> (rows: [Int32], targets: [Int32])
  /// The head's matrix where it is frozen, without bias, and nothing is grafted onto it, so that the loss can take it in
  /// chunks.
  var frozenHead: FrozenWeight? { get }
}

extension TextNetwork {
  /// The logits of every row of the states of `batch`.
  public func logits(_ batch: TokenBatch, _ context: Context = Context()) -> Tensor {
    logits(states(batch, context), context.at(stateTokens(batch)))
  }

  /// Σ −log p(label) in nats over what is scored of `batch`, and how many that are.
  ///
  /// `labels` are one a token for a decoder, each scored at the token before it, and one a sequence for a classifier;
  /// the head is computed for the scored rows alone.
  public func lossSum(_ batch: TokenBatch, labels: [Int32], _ context: Context) -> (sum: Tensor, count: Int) {
    let scored = ScoredRows(self, batch, labels, context)
    let rows = states(batch, context).gathered(scored.rows)
    if let head = frozenHead {
      return (linearCrossEntropySum(rows, head: head, labels: scored.targets), scored.targets.count)
    }
    let sum = scored.inChunks([rows]) { chunk, rows in
      crossEntropySum(logits(rows[0], chunk.context), labels: chunk.labels)
    }
    return (sum, scored.targets.count)
  }
}
