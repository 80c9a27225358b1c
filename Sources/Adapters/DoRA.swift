import Autodiff
import Networks
import Weights

/// Weight-decomposed low-rank adaptation: a low-rank change of direction and a learned magnitude a row.
///
///     y = m / ‖W + s B A‖ ⊙ (W + s B A) x + b                                     (Liu et al. 2024, eq. 5)
///
/// Norms are of rows, and count as constants in the gradient (section 4.3). `m` `[outputs]` starts at ‖W‖, so training
/// starts at the base model. With dropout, only the part that departs from the base sees the dropped input, as PEFT
/// does. Trains r (inputs + outputs) + outputs numbers. Costs one more pass over the unpacked weight each step.
///
/// Paper: <https://arxiv.org/abs/2402.09353>
public struct DoRA: Adapter {
  /// What recipes call it.
  public static let method = "dora"
  /// Always.
  public static func merging(_ configuration: LoRA.Configuration) -> Merging { .exact }

  /// What `settings` choose for the layer named `site`.
  public static func configuration(_ settings: AdapterSettings, at site: String) throws -> LoRA.Configuration {
    guard !settings.hasBias else { throw GraftError("'dora' has no bias of its own; remove lora_bias") }
    let configuration = try LoRA.configuration(settings, at: site)
    guard configuration.start.isBlank else {
      throw GraftError("'dora' starts from the base itself; init '\(settings.start)' is not known to it", key: "init")
    }
    return configuration
  }

  var lora: LoRA
  var magnitude: Parameter

  /// A fresh adapter, which changes nothing.
  public init(on base: inout FrozenLinear, _ configuration: LoRA.Configuration, _ setup: Setup) throws {
    lora = try LoRA(on: &base, configuration, setup)
    magnitude = Parameter(Self.rowNorms(base.weight.unpacked()), role: .magnitude)
  }

  /// The layer's output with changed directions and magnitudes.
  public func callAsFunction(_ x: Tensor, over base: FrozenLinear, _ context: Context) -> Tensor {
    let ratio = magnitude.value / norms(base)
    let mask = dropoutMask(x.shape, lora.dropout, context.random?[lora.site])?()
    let y: Tensor
    if let mask {
      let dropped = x * mask
      let turned = lowRankLinear(dropped, base.weight, a: lora.a.value, b: lora.b.value, scale: lora.scale)
      y = linear(x, base.weight) + ratio * turned - linear(dropped, base.weight)
    } else {
      y = ratio * lowRankLinear(x, base.weight, a: lora.a.value, b: lora.b.value, scale: lora.scale)
    }
    return base.bias.map { y + $0.value } ?? y
  }

  /// The base with its rows turned and rescaled.
  public func merged(into base: FrozenLinear, _ context: Context) -> FrozenLinear {
    let turned = base.weight.unpacked() + lora.change
    let ratio = magnitude.value.detached / Self.rowNorms(turned)
    var folded = base
    folded.weight = FrozenWeight(turned * ratio.reshaped([base.outputs, 1]))
    return folded
  }

  private func norms(_ base: FrozenLinear) -> Tensor { Self.rowNorms(base.weight.unpacked() + lora.change) }

  private static func rowNorms(_ matrix: Tensor) -> Tensor { (matrix * matrix).rowSums.squareRoot }

  /// Presents the parameters under PEFT's names.
  public mutating func visit(_ visitor: Visitor) {
    lora.visit(visitor)
    visitor("lora_magnitude_vector", &magnitude)
  }
}
