/// Zeros laid around an image before a window slides over it, side by side because frameworks differ in the sides.
public struct Padding: Sendable, Equatable {
  /// Rows or columns of zeros at each side.
  public var top: Int, bottom: Int, left: Int, right: Int

  /// The same number at each side.
  public init(_ all: Int = 0) { (top, bottom, left, right) = (all, all, all, all) }

  /// A number for each side.
  public init(top: Int, bottom: Int, left: Int, right: Int) {
    (self.top, self.bottom, self.left, self.right) = (top, bottom, left, right)
  }

  /// What TensorFlow calls SAME: an output of ⌈size / stride⌉, an odd zero going to the bottom and the right.
  public static func same(
    height: Int, width: Int, kernel: (height: Int, width: Int), stride: Int = 1, dilation: Int = 1
  ) -> Padding {
    func total(_ size: Int, _ kernel: Int) -> Int {
      max(0, ((size + stride - 1) / stride - 1) * stride + (kernel - 1) * dilation + 1 - size)
    }
    let (rows, columns) = (total(height, kernel.height), total(width, kernel.width))
    return Padding(top: rows / 2, bottom: rows - rows / 2, left: columns / 2, right: columns - columns / 2)
  }
}

/// A convolution with a bank of filters (cross-correlation, as every framework has it).
///
/// `x` is `[images, channels, height, width]`, `weight` `[outputs, channels / groups, kernelHeight, kernelWidth]`, `bias`
/// `[outputs]`; the result `[images, outputs, …]`. Keeps `x` for the weight's gradient and `weight` for x's; patches are
/// laid out again on the way back rather than kept.
public func conv2d(
  _ x: Tensor, weight: Tensor, bias: Tensor? = nil, stride: Int = 1, padding: Padding = Padding(), dilation: Int = 1,
  groups: Int = 1
) -> Tensor {
  require(weight.shape.rank == 4, "a convolution's weight has 4 axes; got \(weight.shape)")
  let plan = ConvolutionPlan(
    x.shape, outputs: weight.shape[0], kernel: (weight.shape[2], weight.shape[3]), stride, padding, dilation, groups)
  require(
    weight.shape[1] == plan.groupInputs && (bias?.count ?? plan.outputs) == plan.outputs,
    "a convolution of \(x.shape) in \(groups) groups with \(weight.shape) and a bias of \(bias?.count ?? 0)")
  // Each operand is kept only for the other's gradient.
  let input = weight.hasHistory ? x.detached : nil, filters = x.hasHistory ? weight.detached : nil
  let y = plan.forward(x.detached, weight.pointer, bias?.detached)
  return Tensor(y, of: [x, weight] + (bias.map { [$0] } ?? [])) { [hasBias = bias != nil] gradient, inflow in
    if let filters {
      inflow.add(0) { plan.addInputGradient(gradient, filters.pointer, $0, accumulates: $1) }
    }
    if let input {
      inflow.add(1) { plan.addWeightGradient(gradient, input, $0, accumulates: $1) }
    }
    if hasBias { inflow.addChannelSums(2, of: gradient) }
  }
}

/// The same with frozen filters, each row of `weight` `[outputs, channels / groups · kernelHeight · kernelWidth]` one.
///
/// No gradient of `weight` is computed, and `x` is not kept. Filters are unpacked for each pass and released after it.
public func conv2d(
  _ x: Tensor, _ weight: any FrozenMatrix, kernel: (height: Int, width: Int), bias: Tensor? = nil, stride: Int = 1,
  padding: Padding = Padding(), dilation: Int = 1, groups: Int = 1
) -> Tensor {
  let plan = ConvolutionPlan(x.shape, outputs: weight.rows, kernel: kernel, stride, padding, dilation, groups)
  require(
    weight.columns == plan.patch && (bias?.count ?? plan.outputs) == plan.outputs,
    "a convolution of \(x.shape) in \(groups) groups with a matrix [\(weight.rows), \(weight.columns)] of "
      + "\(kernel.height) × \(kernel.width) filters and a bias of \(bias?.count ?? 0)")
  let y = weight.withFilters { plan.forward(x.detached, $0, bias?.detached) }
  return Tensor(y, of: [x] + (bias.map { [$0] } ?? [])) { [hasBias = bias != nil] gradient, inflow in
    inflow.add(0) { place, accumulates in
      weight.withFilters { plan.addInputGradient(gradient, $0, place, accumulates: accumulates) }
    }
    if hasBias { inflow.addChannelSums(1, of: gradient) }
  }
}

extension FrozenMatrix {
  /// Calls `body` with all rows as `Float`, in place where they already are.
  func withFilters<R>(_ body: (UnsafePointer<Float>) -> R) -> R {
    withFloats { dense in
      if let dense { return body(dense) }
      return unpacked().withValues { values in
        guard let base = values.baseAddress else { fatalError("a convolution needs filters; got none") }
        return body(base)
      }
    }
  }
}

extension Inflow {
  /// Adds, for an operand of one number a channel, the sums of the gradient `[images, channels, …]` over all but channels.
  func addChannelSums(_ index: Int, of gradient: Tensor) {
    add(index) { place, accumulates in
      let (images, channels) = (gradient.shape[0], gradient.shape[1])
      let plane = gradient.count / max(1, images * channels)
      Parallel.forRanges(channels, grain: max(1, elementGrain / max(1, images * plane))) { range in
        for channel in range {
          var sum = 0.0
          for image in 0..<images {
            sum += Double(total(gradient.pointer + (image * channels + channel) * plane, plane))
          }
          place[channel] = (accumulates ? place[channel] : 0) + Float(sum)
        }
      }
    }
  }
}
