import Autodiff
import Weights

/// A convolution with frozen filters; `x` is `[images, inputs, height, width]`.
public struct FrozenConvolution: FrozenLayer {
  /// The filters, one a row: `[outputs, inputs / groups · kernelHeight · kernelWidth]`.
  public var weight: FrozenWeight
  /// Added to each output channel, which a recipe may let learn.
  public var bias: Parameter?
  /// The size of a filter.
  public let kernelHeight: Int, kernelWidth: Int
  /// How far apart outputs are, and how far apart a filter's taps.
  public let stride: Int, dilation: Int
  /// Zeros around the input.
  public let padding: Padding
  /// Groups of channels that do not see each other.
  public let groups: Int

  /// A convolution with the given filters `[outputs, inputs / groups, kernelHeight, kernelWidth]`.
  public init(
    _ filters: Tensor, bias: Tensor? = nil, stride: Int = 1, padding: Padding = Padding(), dilation: Int = 1,
    groups: Int = 1
  ) {
    require(filters.shape.rank == 4, "a convolution's filters have 4 axes; got \(filters.shape)")
    let outputs = filters.shape[0]
    weight = FrozenWeight(filters.reshaped([outputs, filters.count / outputs]))
    self.bias = bias.map { Parameter($0, role: .bias, isTrainable: false) }
    (kernelHeight, kernelWidth) = (filters.shape[2], filters.shape[3])
    (self.stride, self.padding, self.dilation, self.groups) = (stride, padding, dilation, groups)
  }

  /// The number of output channels.
  public var outputs: Int { weight.rows }

  /// The layer's output.
  public func callAsFunction(_ x: Tensor) -> Tensor {
    conv2d(
      x, weight, kernel: (kernelHeight, kernelWidth), bias: bias?.value, stride: stride, padding: padding,
      dilation: dilation, groups: groups)
  }
}

/// A frozen convolution and the place where an adapter is grafted onto it.
public struct AdaptedConvolution: Module {
  /// What was there before.
  public var base: FrozenConvolution
  /// What learns, if anything does.
  public var adapter: (any Adapter<FrozenConvolution>)?

  /// A convolution without an adapter.
  public init(_ base: FrozenConvolution) { self.base = base }

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
  public func merged(_ context: Context) -> AdaptedConvolution {
    guard let adapter else { return self }
    return AdaptedConvolution(adapter.merged(into: base, context))
  }
}
