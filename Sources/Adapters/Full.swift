import Autodiff
import Networks
import Weights

/// Full fine-tuning of one layer: the matrix itself learns.
///
///     y = W x + b        W learned, starting at the base's
///
/// Not an adaptation of the literature but its yardstick, and what PEFT's `modules_to_save` does for the modules it
/// names. Trains inputs · outputs numbers, and holds them in float besides the packed base.
public struct Full: Adapter {
  /// What recipes call it.
  public static let method = "full"
  /// Always.
  public static func merging(_ configuration: Nothing) -> Merging { .exact }

  /// Nothing.
  public static func configuration(_ settings: AdapterSettings, at site: String) throws -> Nothing { Nothing() }

  /// There is nothing to choose.
  public struct Nothing: Sendable {
    /// The only one.
    public init() {}
  }

  var weight: Parameter

  /// A layer that starts as the base.
  public init(on base: inout FrozenLinear, _ configuration: Nothing, _ setup: Setup) {
    weight = Parameter(base.weight.unpacked(), role: setup.isHead ? .head : .weight)
  }

  /// The layer's output by the learned matrix.
  public func callAsFunction(_ x: Tensor, over base: FrozenLinear, _ context: Context) -> Tensor {
    linear(x, weight: weight.value, bias: base.bias?.value)
  }

  /// The base with the learned matrix in place of its own.
  public func merged(into base: FrozenLinear, _ context: Context) -> FrozenLinear {
    var learned = base
    learned.weight = FrozenWeight(weight.value.detached)
    return learned
  }

  /// Presents the matrix under its checkpoint name.
  public mutating func visit(_ visitor: Visitor) { visitor("weight", &weight) }
}

/// Full fine-tuning of an embedding table, and of the head tied to it.
public struct FullEmbedding: EmbeddingAdapter {
  /// What recipes call it.
  public static let method = "full"
  /// Always.
  public static func merging(_ configuration: Full.Nothing) -> Merging { .exact }
  /// Nothing.
  public static func configuration(_ settings: AdapterSettings, at site: String) throws -> Full.Nothing {
    Full.Nothing()
  }

  var weight: Parameter

  /// A table that starts as the base.
  public init(on base: inout FrozenEmbedding, _ configuration: Full.Nothing, _ setup: Setup) {
    weight = Parameter(base.weight.unpacked())
  }

  /// The learned rows of `ids`.
  public func rows(_ ids: [Int32], over base: FrozenEmbedding, _ context: Context) -> Tensor {
    weight.value.gathered(ids)
  }

  /// The product of `x` with every learned row.
  public func callAsFunction(_ x: Tensor, over base: FrozenEmbedding, _ context: Context) -> Tensor {
    linear(x, weight: weight.value)
  }

  /// The learned table in place of the base's.
  public func merged(into base: FrozenEmbedding, _ context: Context) -> FrozenEmbedding {
    FrozenEmbedding(FrozenWeight(weight.value.detached))
  }

  /// Presents the table under its checkpoint name.
  public mutating func visit(_ visitor: Visitor) { visitor("weight", &weight) }
}
