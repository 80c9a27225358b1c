import Autodiff
import Files

/// A batch norm with its weights and the running moments of what it has seen (Ioffe and Szegedy 2015).
///
///     y = (x − μ) / √(σ² + ε) ⊙ w + b
///
/// μ and σ² are the running moments, constants to the gradient, in inference and wherever the base is frozen. Only a norm
/// that ``learnsMoments`` takes those of the batch in training, and leaves them with the context's ``MomentRecorder``.
public struct BatchNorm: Module {
  /// `w` and `b`.
  public var weight: Parameter, bias: Parameter
  /// The running moments.
  public var moments: ChannelMoments
  /// Whether training normalises by the batch and moves the running moments.
  public var learnsMoments = false
  /// How far one batch moves the running moments.
  public let momentum: Float
  /// ε.
  public let epsilon: Float
  /// Its name in the model, under which it records.
  public let site: String

  /// The norm that `source` holds as `name.weight`, `.bias`, `.running_mean` and `.running_var`.
  ///
  /// - Throws: what is missing or of another shape, and a variance below 0.
  public init(
    _ name: String, _ channels: Int, epsilon: Float, momentum: Float = 0.1, from source: any WeightSource
  ) throws {
    weight = Parameter(try source.vector("\(name).weight", count: channels), role: .norm, isTrainable: false)
    bias = Parameter(try source.vector("\(name).bias", count: channels), role: .bias, isTrainable: false)
    moments = ChannelMoments(
      mean: try source.vector("\(name).running_mean", count: channels),
      variance: try source.vector("\(name).running_var", count: channels))
    guard moments.variance.values.allSatisfy({ $0 >= 0 && $0.isFinite }), moments.mean.isFinite else {
      throw FileError(
        source.path, at: "tensor '\(name).running_var'", "holds a variance below 0, or a number that is not finite")
    }
    source.ignore("\(name).num_batches_tracked")
    (self.epsilon, self.momentum, site) = (epsilon, momentum, name)
  }

  /// The normalised `x` `[images, channels, …]`, plus `shortcut` where there is one, then `activation` of it.
  public func callAsFunction(
    _ x: Tensor, adding shortcut: Tensor? = nil, _ activation: ImageActivation, _ context: Context
  ) -> Tensor {
    guard learnsMoments, context.isTraining else {
      if !weight.value.hasHistory && !bias.value.hasHistory {
        return frozenBatchNorm(
          x, weight: weight.value, bias: bias.value, moments: moments, epsilon: epsilon, clamps: activation != .none,
          ceiling: activation == .relu6 ? 6 : .infinity, adding: shortcut)
      }
      let result = batchNorm(x, weight: weight.value, bias: bias.value, moments: moments, epsilon: epsilon)
      return activation(shortcut.map { result + $0 } ?? result)
    }
    let (result, seen) = batchNorm(x, weight: weight.value, bias: bias.value, epsilon: epsilon)
    context.moments?.record(seen, over: x.count / max(1, x.shape[1]), at: site)
    return activation(shortcut.map { result + $0 } ?? result)
  }

  /// Presents the weights; the moments are no parameters, see ``Module/forEachBatchNorm(_:)``.
  public mutating func visit(_ visitor: Visitor) {
    visitor("weight", &weight)
    visitor("bias", &bias)
  }
}

/// What stands behind a convolution and its norm.
public enum ImageActivation: Sendable {
  /// Nothing.
  case none
  /// max(0, x).
  case relu
  /// x clamped to [0, 6].
  case relu6

  func callAsFunction(_ x: Tensor) -> Tensor {
    switch self {
    case .none: x
    case .relu: x.rectified
    case .relu6: x.rectified6
    }
  }
}
