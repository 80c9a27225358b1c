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

  /// Ones for a norm's weight, zeros for a bias.
  public func vector(_ name: String, count: Int) throws -> Tensor {
    .filled(name.hasSuffix(".bias") ? 0 : 1, [count])
  }

  /// A tensor of normal numbers.
  public func tensor(_ name: String, shape: Shape) throws -> Tensor {
    .normal(shape, deviation: deviation, from: random[name])
  }

  /// Nothing is ever left over.
  public var unused: [String] { [] }
}
