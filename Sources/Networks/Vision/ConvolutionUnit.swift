import Autodiff

/// A convolution without bias, the batch norm behind it, and an activation.
struct ConvolutionUnit: Module {
  var convolution: AdaptedConvolution
  var normalization: BatchNorm
  let activation: ImageActivation

  /// The unit whose parts `source` holds as `name.convolution.weight` and `name.normalization.…`.
  init(
    _ name: String, _ inputs: Int, _ outputs: Int, kernel: Int, stride: Int = 1, padding: Padding? = Padding(),
    groups: Int = 1, _ activation: ImageActivation, epsilon: Float = 1e-5, from source: any WeightSource
  ) throws {
    convolution = try AdaptedConvolution(
      "\(name).convolution", inputs, outputs, kernel: kernel, stride: stride, padding: padding, groups: groups,
      from: source)
    normalization = try BatchNorm("\(name).normalization", outputs, epsilon: epsilon, from: source)
    self.activation = activation
  }

  func callAsFunction(_ x: Tensor, _ context: Context) -> Tensor {
    normalization(convolution(x, context), activation, context)
  }

  mutating func visit(_ visitor: Visitor) {
    visitor("convolution", &convolution)
    visitor("normalization", &normalization)
  }
}
