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
  /// Zeros around the input; nil where as many as TensorFlow's SAME asks of the input's size.
  public let padding: Padding?
  /// Groups of channels that do not see each other.
  public let groups: Int

  /// A convolution with the given filters `[outputs, inputs / groups, kernelHeight, kernelWidth]`.
  public init(
    _ filters: Tensor, bias: Tensor? = nil, stride: Int = 1, padding: Padding? = Padding(), dilation: Int = 1,
    groups: Int = 1
  ) {
    require(filters.shape.rank == 4, "a convolution's filters have 4 axes; got \(filters.shape)")
    let outputs = filters.shape[0]
    self.init(
      FrozenWeight(filters.reshaped([outputs, filters.count / outputs])), kernel: (filters.shape[2], filters.shape[3]),
      bias: bias, stride: stride, padding: padding, dilation: dilation, groups: groups)
  }

  /// The same with filters `[outputs, inputs / groups · kernelHeight · kernelWidth]` in whatever packing.
  public init(
    _ weight: FrozenWeight, kernel: (height: Int, width: Int), bias: Tensor? = nil, stride: Int = 1,
    padding: Padding? = Padding(), dilation: Int = 1, groups: Int = 1
  ) {
    require(
      weight.columns % (kernel.height * kernel.width) == 0,
      "rows of \(weight.columns) numbers for filters of \(kernel.height) × \(kernel.width)")
    self.weight = weight
    self.bias = bias.map { Parameter($0, role: .bias, isTrainable: false) }
    (kernelHeight, kernelWidth) = kernel
    (self.stride, self.padding, self.dilation, self.groups) = (stride, padding, dilation, groups)
  }

  /// The zeros laid around an input of the given sizes.
  public func padding(height: Int, width: Int) -> Padding {
    padding
      ?? .same(
        height: height, width: width, kernel: (kernelHeight, kernelWidth), stride: stride, dilation: dilation)
  }

  /// The number of input channels.
  public var inputs: Int { weight.columns / (kernelHeight * kernelWidth) * groups }
  /// The number of output channels.
  public var outputs: Int { weight.rows }

  /// The layer's output.
  public func callAsFunction(_ x: Tensor) -> Tensor {
    conv2d(
      x, weight, kernel: (kernelHeight, kernelWidth), bias: bias?.value, stride: stride,
      padding: padding(height: x.shape[2], width: x.shape[3]), dilation: dilation, groups: groups)
  }

  /// The layer's output with its filters changed by `scale` times B A: `a` is `[rank, inputs, kernelHeight, kernelWidth]`,
  /// `b` `[outputs, rank, 1, 1]`. Of a convolution in one group.
  public func changed(_ x: Tensor, a: Tensor, b: Tensor, scale: Float) -> Tensor {
    require(groups == 1, "a low-rank change of a convolution in \(groups) groups has no form")
    return lowRankConv2d(
      x, weight, bias: bias?.value, a: a, b: b, scale: scale, stride: stride,
      padding: padding(height: x.shape[2], width: x.shape[3]), dilation: dilation)
  }

  /// Other filters, `[outputs, inputs / groups, kernelHeight, kernelWidth]`, moved over `x` as its own are; no bias.
  public func convolved(_ x: Tensor, with filters: Tensor) -> Tensor {
    conv2d(
      x, weight: filters, stride: stride, padding: padding(height: x.shape[2], width: x.shape[3]), dilation: dilation,
      groups: groups)
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

  /// The convolution whose filters `source` holds as `name.weight`, and its bias, where it has one, as `name.bias`.
  init(
    _ name: String, _ inputs: Int, _ outputs: Int, kernel: Int, stride: Int = 1, padding: Padding? = Padding(),
    groups: Int = 1, hasBias: Bool = false, from source: any WeightSource
  ) throws {
    self.init(
      FrozenConvolution(
        try source.filters("\(name).weight", shape: [outputs, inputs / groups, kernel, kernel]),
        kernel: (kernel, kernel), bias: hasBias ? try source.vector("\(name).bias", count: outputs) : nil,
        stride: stride, padding: padding, groups: groups))
  }

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
