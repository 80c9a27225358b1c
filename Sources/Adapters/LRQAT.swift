import Autodiff
import Networks
import Synchronization
import Weights

/// LR-QAT: a low-rank change trained as it will be shipped, rounded together with the packed base.
///
///     y = Q(W + s B A) x + b         Q: the base's own packing          (Bondarenko et al. 2024, §4)
///     ∂L/∂A, ∂L/∂B as if Q were not there (straight through), ∂L/∂x with Q
///
/// A change that is small against the packing's steps moves nothing until it has grown past half of one; then it moves
/// the whole step. So what is trained is what folding gives, byte for byte, and learning rates are those that cross
/// steps: 10 to 30 times LoRA's. Over a base of floats it is LoRA.
///
/// The authors round s · clamp(Φ₀ + B A) with one scale for good; here Q is what a merge writes: a block keeps its scale
/// until a fresh one is nearer. `A` `[r, inputs]` starts evenly from
/// ±1/√inputs, `B` `[outputs, r]` at zero. Trains r (inputs + outputs) numbers. Each forward unpacks, adds and rounds
/// the matrix, and training holds the rounded copy, as large as the packed matrix, until the step is done.
///
/// Paper: <https://arxiv.org/abs/2406.06385>
public struct LRQAT: Adapter {
  /// What recipes call it.
  public static let method = "lrqat"
  /// Always: into the base's own packing.
  public static func merging(_ configuration: LoRA.Configuration) -> Merging { .exact }

  /// What `settings` choose for the layer named `site`.
  public static func configuration(_ settings: AdapterSettings, at site: String) throws -> LoRA.Configuration {
    guard !settings.hasBias else { throw GraftError("'lrqat' has no bias of its own; remove lora_bias") }
    guard settings.start == "default" else {
      throw GraftError("'lrqat' starts at zero; init '\(settings.start)' is not known to it", key: "init")
    }
    return try LoRA.configuration(settings, at: site)
  }

  private var a: Parameter, b: Parameter
  private let scale: Float, dropout: Float
  private let site: String
  private let latest = LatestRounding()

  /// A fresh adapter, which changes nothing.
  public init(on base: inout FrozenLinear, _ configuration: LoRA.Configuration, _ setup: Setup) throws {
    let bound = 1 / Float(base.inputs).squareRoot()
    a = Parameter(
      .uniform([configuration.rank, base.inputs], in: -bound..<bound, from: setup.random["lora_A"]), role: .factorA)
    b = Parameter(.zeros([base.outputs, configuration.rank]), role: .factorB)
    (scale, dropout, site) = (configuration.scale, configuration.dropout, setup.site)
  }

  /// The layer's output, the change rounded with the matrix.
  public func callAsFunction(_ x: Tensor, over base: FrozenLinear, _ context: Context) -> Tensor {
    let y = linear(x, rounded(base.weight), bias: base.bias?.value)
    guard a.value.hasHistory || b.value.hasHistory else { return y }
    let mask = dropoutMask(x.shape, dropout, context.random?[site]), input = x.detached
    let dropped = mask.map { input * $0() } ?? input
    // Adds zero to the output, and to the way back what the change would get if nothing were rounded.
    let change = scale * linear(linear(dropped, weight: a.value), weight: b.value)
    return y + (change - change.detached)
  }

  /// Q(W + s B A): computed once for the factors as they are.
  private func rounded(_ weight: FrozenWeight) -> FrozenWeight {
    latest.value(of: weight, a.value.detached, b.value.detached) {
      let whole = weight.unpacked() + scale * matmul(b.value.detached, a.value.detached)
      // Factors that have grown past what a number holds give an output that is not finite, which training reports.
      return (try? weight.repacked(whole)) ?? FrozenWeight(whole)
    }
  }

  /// The base with its matrix as it was rounded in training, packed as before.
  public func merged(into base: FrozenLinear, _ context: Context) -> FrozenLinear {
    var folded = base
    folded.weight = rounded(base.weight)
    return folded
  }

  /// Presents the factors.
  public mutating func visit(_ visitor: Visitor) {
    visitor("lora_A.weight", &a)
    visitor("lora_B.weight", &b)
  }
}

/// The last matrix that was rounded and what it was made of, so that evaluating and generating round once.
///
/// Tensors and packed bytes never change, so the same storage means the same numbers.
private final class LatestRounding: Sendable {
  private struct Made {
    let weight: FrozenWeight, a: Tensor, b: Tensor
    let result: FrozenWeight
  }
  private let made = Mutex<Made?>(nil)

  func value(of weight: FrozenWeight, _ a: Tensor, _ b: Tensor, _ make: () -> FrozenWeight) -> FrozenWeight {
    made.withLock { made in
      if let made, made.weight.isSame(as: weight), made.a.isSame(as: a), made.b.isSame(as: b) { return made.result }
      // What was there is let go of first, so that two never exist at once.
      made = nil
      let result = make()
      made = Made(weight: weight, a: a, b: b, result: result)
      return result
    }
  }
}
