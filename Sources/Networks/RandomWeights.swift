import Autodiff
import Weights

/// Weights for a model that starts from nothing: matrices drawn from a normal, norms 1, biases 0.
///
/// Each tensor draws from a stream of its own name, so changing one size leaves the others' start as it was.
public struct RandomWeights: WeightSource {
  private let random: RandomKey
  private let deviation: Float
  /// What messages call it.
  public var path: String { "a fresh model" }

  /// Weights of the given deviation, 0.02 as GPT-2 and Llama begin with.
  public init(_ random: RandomKey, deviation: Float = 0.02) { (self.random, self.deviation) = (random, deviation) }

  /// A matrix of normal numbers.
  public func matrix(_ name: String, rows: Int, columns: Int) throws -> FrozenWeight {
    FrozenWeight(.normal([rows, columns], deviation: deviation, from: random[name]))
  }

  /// Ones for a norm's weight and variance, zeros for a bias and a mean.
  public func vector(_ name: String, count: Int) throws -> Tensor {
    .filled(name.hasSuffix(".bias") || name.hasSuffix(".running_mean") ? 0 : 1, [count])
  }

  /// Filters that keep a rectified signal's size: deviation √(2 / inputs of an output) (He et al. 2015).
  public func filters(_ name: String, shape: Shape) throws -> FrozenWeight {
    let columns = shape.count / max(1, shape[0])
    return FrozenWeight(
      .normal([shape[0], columns], deviation: (2 / Float(max(1, columns))).squareRoot(), from: random[name]))
  }

  /// A tensor of normal numbers.
  public func tensor(_ name: String, shape: Shape) throws -> Tensor {
    .normal(shape, deviation: deviation, from: random[name])
  }

  /// Nothing is ever left over.
  public var unused: [String] { [] }
}
