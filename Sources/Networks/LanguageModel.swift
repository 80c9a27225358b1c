import Autodiff
import Weights

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
public protocol LanguageModel: TextNetwork {
  /// The final states of `ids`, which follow what `cache` has seen; adds them to it.
  func states(_ ids: [Int32], cache: KeyValueCache) -> Tensor
  /// An empty cache for generating with this model.
  func makeCache() -> KeyValueCache
}

extension LanguageModel {
  /// The output layer's name in the checkpoints of decoders.
  public var headName: String { "lm_head" }

  /// Every token.
  public func stateTokens(_ batch: TokenBatch) -> [Int32] { Array(0..<Int32(batch.ids.count)) }

  /// Every token before one that is labelled.
  public func scored(_ batch: TokenBatch, _ labels: [Int32]) -> (rows: [Int32], targets: [Int32]) {
    let (tokens, targets) = batch.scored(labels)
    return (tokens, targets)
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
