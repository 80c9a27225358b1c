import Autodiff
import Weights

/// A frozen table with one row an entry; only the rows that are looked up are unpacked.
public struct FrozenEmbedding: FrozenLayer {
  /// The table, `[entries, width]`.
  public var weight: FrozenWeight
  /// An embedding over the given table.
  public init(_ weight: FrozenWeight) { self.weight = weight }
}

/// What an adapter of an embedding must be able to do besides: serve as a tied output head.
public protocol EmbeddingAdapter: Adapter where Base == FrozenEmbedding {
  /// The rows of `ids`, `[ids.count, width]`.
  func rows(_ ids: [Int32], over base: FrozenEmbedding, _ context: Context) -> Tensor
}

/// An embedding table and the place where an adapter is grafted onto it.
public struct AdaptedEmbedding: Module {
  /// What was there before.
  public var base: FrozenEmbedding
  /// What learns, if anything does.
  public var adapter: (any EmbeddingAdapter)?

  /// An embedding without an adapter.
  public init(_ base: FrozenEmbedding) { self.base = base }

  /// The rows of `ids`, `[ids.count, width]`.
  public func callAsFunction(_ ids: [Int32], _ context: Context) -> Tensor {
    adapter.map { $0.rows(ids, over: base, context) } ?? gathered(base.weight, ids)
  }

  /// The product of `x` `[tokens, width]` with every row: the logits of a model that ties its head to its embedding.
  public func logits(_ x: Tensor, _ context: Context) -> Tensor {
    adapter.map { $0(x, over: base, context) } ?? linear(x, base.weight)
  }

  /// Presents the adapter's parameters.
  public mutating func visit(_ visitor: Visitor) {
    if var present = adapter {
      present.visit(visitor)
      adapter = present
    }
  }

  /// The embedding with its adapter folded in.
  public func merged(_ context: Context) -> AdaptedEmbedding {
    guard let adapter else { return self }
    return AdaptedEmbedding(adapter.merged(into: base, context))
  }
}
