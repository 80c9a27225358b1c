import Autodiff
import Weights

/// Sequences of token ids laid end to end, without padding.
public struct TokenBatch: Sendable {
  /// All ids, sequence after sequence.
  public let ids: [Int32]
  /// How many belong to each sequence.
  public let lengths: [Int]

  /// A batch of the given sequences.
  public init(_ sequences: [[Int32]]) {
    ids = sequences.flatMap(\.self)
    lengths = sequences.map(\.count)
  }

  /// Each id's position within its sequence.
  public var positions: [Int32] { lengths.flatMap { Int32(0)..<Int32($0) } }
}

extension TokenBatch {
  /// The tokens whose prediction is scored, and what each should predict.
  ///
  /// `labels[i]` belongs to token `i`; its prediction is made at `i − 1` of the same sequence, so a sequence's first
  /// label is never scored.
  public func scored(_ labels: [Int32]) -> (tokens: [Int32], targets: [Int32]) {
    require(labels.count == ids.count, "\(labels.count) labels for \(ids.count) tokens")
    var tokens: [Int32] = [], targets: [Int32] = []
    var start = 0
    for length in lengths {
      for i in start + 1..<max(start + 1, start + length) where labels[i] != ignoredLabel {
        tokens.append(Int32(i - 1))
        targets.append(labels[i])
      }
      start += length
    }
    return (tokens, targets)
  }
}

/// A network that predicts the next token.
public protocol LanguageModel: BlockStack {
  /// The number of token ids it knows.
  var vocabularySize: Int { get }
  /// The longest sequence it was made for, in tokens.
  var contextLength: Int { get }
  /// Whether the head is the embedding table.
  var tiesHead: Bool { get }
  /// The final states, normalised and ready for the head: `[tokens, width]`.
  func states(_ batch: TokenBatch, _ context: Context) -> Tensor
  /// The final states of `ids`, which follow what `cache` has seen; adds them to it.
  func states(_ ids: [Int32], cache: KeyValueCache) -> Tensor
  /// An empty cache for generating with this model.
  func makeCache() -> KeyValueCache
  /// The head's product with `states`: `[tokens, vocabulary]`.
  func logits(_ states: Tensor, _ context: Context) -> Tensor
  /// For the ends of layers' names, the channels that belong together there, such as the size of a head.
  var channelUnits: [String: Int] { get }
  /// The head's matrix where it is frozen and nothing is grafted onto it, so that the loss can take it in chunks.
  var frozenHead: FrozenWeight? { get }
}

extension LanguageModel {
  /// Every channel stands alone.
  public var channelUnits: [String: Int] { [:] }

  /// The logits of every token of `batch`, `[tokens, vocabulary]`.
  public func logits(_ batch: TokenBatch, _ context: Context = Context()) -> Tensor {
    logits(states(batch, context), context)
  }

  /// Σ −log p(label) in nats over the positions of `batch` whose next label is scored, and how many there are.
  ///
  /// `labels[i]` belongs to token `i`; its prediction is made at `i − 1` of the same sequence, so a sequence's first
  /// label is never scored. The head is computed for the scored positions alone.
  public func lossSum(_ batch: TokenBatch, labels: [Int32], _ context: Context) -> (sum: Tensor, count: Int) {
    let (scored, targets) = batch.scored(labels)
    let rows = states(batch, context).gathered(scored)
    if let head = frozenHead { return (linearCrossEntropySum(rows, head: head, labels: targets), targets.count) }
    // A head that learns: its logits are forgotten chunk by chunk and computed again on the way back.
    let chunk = 128
    var total = Tensor(0)
    for first in stride(from: 0, to: targets.count, by: chunk) {
      let range = first..<min(targets.count, first + chunk), labels = Array(targets[range])
      total = total + checkpointed([rows.rows(range)]) { crossEntropySum(logits($0[0], context), labels: labels) }
    }
    return (total, targets.count)
  }
}

/// What attention remembers of the tokens so far: each layer's keys and values.
///
/// A reference, because it grows in place while a text is written; one cache serves one text on one thread.
public final class KeyValueCache {
  private var keys: [Storage], values: [Storage]
  private var capacity: Int
  private let width: Int
  /// The number of tokens seen.
  public private(set) var count = 0

  init(layers: Int, width: Int) {
    self.width = width
    capacity = 64
    keys = (0..<layers).map { _ in Storage(uninitialized: 64 * width) }
    values = (0..<layers).map { _ in Storage(uninitialized: 64 * width) }
  }

  /// Makes room for `tokens` more.
  func reserve(_ tokens: Int) {
    guard count + tokens > capacity else { return }
    capacity = max(count + tokens, 2 * capacity)
    func grown(_ old: Storage) -> Storage {
      let storage = Storage(uninitialized: capacity * width)
      storage.pointer.update(from: old.pointer, count: count * width)
      return storage
    }
    (keys, values) = (keys.map(grown), values.map(grown))
  }

  /// Adds one layer's keys and values of new tokens and returns all of them, the new ones last.
  func append(_ k: Tensor, _ v: Tensor, layer: Int) -> (keys: Tensor, values: Tensor) {
    let total = count + k.shape[0]
    (keys[layer].pointer + count * width).update(from: k.pointer, count: k.count)
    (values[layer].pointer + count * width).update(from: v.pointer, count: v.count)
    return (Tensor(keys[layer], [total, width]), Tensor(values[layer], [total, width]))
  }

  /// Counts tokens in, once every layer has added them.
  func advance(_ tokens: Int) { count += tokens }
}
