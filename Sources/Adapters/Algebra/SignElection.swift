import Autodiff

/// How changes of opposite sign settle on one.
public enum SignElection: String, Sendable, CaseIterable {
  /// The sign of their sum: the larger movement wins.
  case total
  /// The sign of the sum of their signs: the majority wins.
  case frequency
}

/// For each number, the mean of those tensors that agree with the elected sign (Yadav et al. 2023, section 3.2).
///
///     γ = sign Σ tᵢ,  or sign Σ sign tᵢ;   mean = Σ_{sign tᵢ = γ} wᵢ tᵢ / |{i : sign tᵢ = γ}|
///
/// Signs are those of the tensors without their weights, and a sum of 0 counts as positive; a zero agrees with neither
/// sign.
///
/// Paper: <https://arxiv.org/abs/2306.01708>
func electedMean(_ tensors: [Tensor], weights: [Float], signs: SignElection) -> Tensor {
  let all = tensors.map(\.values)
  let mean = (0..<tensors[0].count).map { position in
    let numbers = all.map { $0[position] }
    let votes = signs == .total ? numbers : numbers.map { $0 > 0 ? 1 : $0 < 0 ? -1 : 0 }
    let isPositive = votes.reduce(0, +) >= 0
    var sum: Float = 0, count: Float = 0
    for (number, weight) in zip(numbers, weights) where isPositive ? number > 0 : number < 0 {
      sum += weight * number
      count += 1
    }
    return sum / max(count, 1)
  }
  return Tensor(mean, shape: tensors[0].shape)
}
