import Autodiff
import Networks

/// The factors of a change s B A.
public struct LowRankFactors: Sendable {
  /// `A`, `[rank, inputs]`, and `B`, `[outputs, rank]`.
  public let a: Tensor, b: Tensor
  /// `s`.
  public let scale: Float
}

/// An adapter whose change of a linear layer is a product of two thin matrices and nothing else.
public protocol LowRankChange: Adapter where Base == FrozenLinear {
  /// The factors; nil where the adapter also changes a bias.
  var factors: LowRankFactors? { get }
}

extension LoRA: LowRankChange {
  /// The factors; nil where the branch has a bias of its own.
  public var factors: LowRankFactors? {
    bias == nil ? LowRankFactors(a: a.value.detached, b: b.value.detached, scale: scale) : nil
  }
}
