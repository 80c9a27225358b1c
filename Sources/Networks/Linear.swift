import Autodiff
import Weights

/// `y = x Wᵀ + b` with `W` frozen; `x` is `[tokens, inputs]`, `y` is `[tokens, outputs]`.
public struct FrozenLinear: FrozenLayer {
  /// The matrix, `[outputs, inputs]`, in whatever packing it came.
  public var weight: FrozenWeight
  /// `b`, which a recipe may let learn.
  public var bias: Parameter?
  /// How the checkpoint this layer came from stores it; merging writes it back the same way.
  public var storesTransposed: Bool

  /// A layer with the given weight.
  public init(_ weight: FrozenWeight, bias: Tensor? = nil, storesTransposed: Bool = false) {
    (self.weight, self.bias, self.storesTransposed) = (
      weight, bias.map { Parameter($0, role: .bias, isTrainable: false) }, storesTransposed
    )
  }

  /// The number of input channels.
  public var inputs: Int { weight.columns }
  /// The number of output channels.
  public var outputs: Int { weight.rows }

  /// The layer's output.
  public func callAsFunction(_ x: Tensor) -> Tensor { linear(x, weight, bias: bias?.value) }

  /// This layer with `change` added to its weight, unpacked to `Float`.
  public func adding(_ change: Tensor) -> FrozenLinear {
    var sum = self
    sum.weight = FrozenWeight(weight.unpacked() + change.detached)
    return sum
  }
}

/// A frozen linear layer and the place where an adapter is grafted onto it.
public struct AdaptedLinear: Module {
  /// What was there before.
  public var base: FrozenLinear
  /// What learns, if anything does.
  public var adapter: (any Adapter<FrozenLinear>)?

  /// A layer without an adapter.
  public init(_ base: FrozenLinear) { self.base = base }

  /// The layer's output, with its adapter's change if it has one.
  public func callAsFunction(_ x: Tensor, _ context: Context) -> Tensor {
    adapter.map { $0(x, over: base, context) } ?? base(x)
  }

  /// Presents the bias and the adapter's parameters.
  public mutating func visit(_ visitor: Visitor) {
    visitor("bias", &base.bias)
    if var present = adapter {
      present.visit(visitor)
      adapter = present
    }
  }

  /// The layer with its adapter folded in.
  public func merged(_ context: Context) -> AdaptedLinear {
    guard let adapter else { return self }
    return AdaptedLinear(adapter.merged(into: base, context))
  }
}
