import Autodiff
import Networks

/// The factors of a change of a linear layer: s B A of its matrix, and perhaps s c of its bias.
public struct LowRankFactors: Sendable, Equatable {
  /// `A`, `[rank, inputs]`, and `B`, `[outputs, rank]`.
  public let a: Tensor, b: Tensor
  /// `s`.
  public let scale: Float
  /// `c`, `[outputs]`; nil where the bias stays as it is.
  public let bias: Tensor?

  /// The change s B A, and s c of the bias.
  public init(a: Tensor, b: Tensor, scale: Float, bias: Tensor? = nil) {
    (self.a, self.b, self.scale, self.bias) = (a, b, scale, bias)
  }

  /// The number of rows of `A`.
  public var rank: Int { a.shape[0] }
  /// s B A, `[outputs, inputs]`.
  public var product: Tensor { scale * matmul(b, a) }

  /// s₁ B₁ A₁ + s₂ B₂ A₂ + … as one change of scale 1: A = [A₁; A₂; …], B = [s₁ B₁, s₂ B₂, …]; history is kept.
  static func concatenated(_ parts: [LowRankFactors]) -> LowRankFactors {
    LowRankFactors(
      a: .concatenated(parts.map(\.a)),
      b: Tensor.concatenated(parts.map { ($0.scale * $0.b).transposed }).transposed, scale: 1)
  }
}

/// An adapter whose change of a linear layer is, for some or all of its settings, a product of two thin matrices.
///
/// A family says its factors in one of two ways: ``lowRankFactors`` where they are its own numbers, as LoRA's are, or
/// ``lowRankFactors(over:_:)`` where they need the base (Hydra's second head) or the task (MHR). Converting to plain
/// LoRA, and GGUF's adapter files, take what is offered as exact; what has none is approximated, or refused.
public protocol LowRankChange: Adapter where Base == FrozenLinear {
  /// The factors; nil where these settings have none, or none without more knowledge.
  var lowRankFactors: LowRankFactors? { get }
  /// The factors over `base` for the context's task; by default those that need neither.
  func lowRankFactors(over base: FrozenLinear, _ context: Context) -> LowRankFactors?
}

extension LowRankChange {
  /// The factors that need neither base nor task.
  public func lowRankFactors(over base: FrozenLinear, _ context: Context) -> LowRankFactors? { lowRankFactors }
}

extension LoRA: LowRankChange {
  /// Its own over the base as it lies on disk, and its branch's bias if it has one.
  public var lowRankFactors: LowRankFactors? {
    let plain = overOriginal
    return LowRankFactors(
      a: plain.a.value.detached, b: plain.b.value.detached, scale: scale, bias: bias?.value.detached)
  }
}
