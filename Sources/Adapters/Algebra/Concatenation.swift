import Autodiff

/// One adapter's change of a layer, and its weight in a combination.
public struct WeightedChange: Sendable {
  /// s B A.
  public let change: LowRankFactors
  /// `w`.
  public let weight: Float

  /// w s B A.
  public init(_ change: LowRankFactors, weight: Float) { (self.change, self.weight) = (change, weight) }

  /// w s: what multiplies B A.
  var factor: Float { weight * change.scale }
}

extension LowRankFactors {
  /// The weighted sum of changes of one layer, exactly: their factors side by side.
  ///
  ///     Σ wᵢ sᵢ Bᵢ Aᵢ = [B₁ B₂ …] [w₁ s₁ A₁; w₂ s₂ A₂; …]
  ///
  /// The rank is the sum of the ranks and the scale 1. Each wᵢ sᵢ goes into Aᵢ alone: shared out as a square root, it
  /// would be rounded twice.
  public static func concatenated(_ parts: [WeightedChange]) -> LowRankFactors {
    LowRankFactors(
      a: .concatenated(parts.map { $0.factor * $0.change.a }),
      b: Tensor.concatenated(parts.map(\.change.b.transposed)).transposed,
      scale: 1, bias: biasSum(parts))
  }

  /// Σ wᵢ sᵢ cᵢ; nil where no part changes the bias.
  static func biasSum(_ parts: [WeightedChange]) -> Tensor? {
    parts.compactMap { part in part.change.bias.map { part.factor * $0 } }.reduce(nil) { sum, bias in
      sum.map { $0 + bias } ?? bias
    }
  }
}
