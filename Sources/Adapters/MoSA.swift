import Autodiff
import Networks

/// Sparse modules of a low-rank change: split its factors, train one part at a time, keep their mean.
///
///     y = W x + b + s Bⱼ Aᵢ dropout(x)     Bⱼ = maskⱼ ⊙ D,  j drawn evenly from N each pass     (Zhang et al. 2023)
///
/// The LoRA form of MoSA; ``Bottleneck`` with `splits` is the form with an activation. The masks part the entries of `B`
/// `[outputs, r]`; with `share: up` those of `A` `[r, inputs]` instead, with `share: none` of both, i and j drawn
/// independently. ``SplitMatrix`` says how N modules fit into one matrix of changes. Starts as LoRA does, at the base.
/// Trains r (inputs + outputs) numbers, of which a pass moves one factor whole and an Nth of the other.
///
/// A step makes two passes with draws of their own, and adds `consistency` · ½ (KL(p₂ ‖ p₁) + KL(p₁ ‖ p₂)) to the first
/// one's loss. Outside training the modules' mean computes: a plain LoRA, which is also what is stored and what folds.
/// Its output is the expectation of the layer's over the draws.
///
/// Paper: <https://arxiv.org/abs/2312.02923>
public struct MoSA: Adapter {
  /// What recipes call it.
  public static let method = "mosa"
  /// Always: what is left is a LoRA.
  public static func merging(_ configuration: Configuration) -> Merging { .exact }
  /// How many modules, which factor is whole, and how strongly two passes are pulled together.
  public static var options: [String] { Splits.options }

  /// What can be chosen about it.
  public struct Configuration: Sendable, Equatable {
    /// Rank, scale, dropout and start of the low-rank change.
    public var lora: LoRA.Configuration
    /// The modules.
    public var splits: Splits

    /// A configuration; by default of four modules that share `A`.
    public init(_ lora: LoRA.Configuration, splits: Splits = Splits(4)) { (self.lora, self.splits) = (lora, splits) }
  }

  /// What `settings` choose for the layer named `site`.
  public static func configuration(_ settings: AdapterSettings, at site: String) throws -> Configuration {
    guard !settings.hasBias else { throw GraftError("'mosa' has no bias of its own; remove lora_bias") }
    let lora = try LoRA.configuration(settings, at: site)
    guard lora.start.isBlank else {
      throw GraftError(
        "'mosa' splits changes of the base itself; init '\(settings.start)' is not known to it", key: "init")
    }
    return Configuration(lora, splits: try Splits(settings, standard: 4))
  }

  /// Two passes wherever there is more than one module.
  public static func consistency(_ settings: AdapterSettings) throws -> Double? {
    try Splits(settings, standard: 4).passes
  }

  var a: SplitMatrix
  var b: SplitMatrix
  let scale: Float
  let dropout: Float
  let site: String

  /// A fresh adapter, which changes nothing.
  ///
  /// - Throws: when a factor has fewer entries than it is to have modules.
  public init(on base: inout FrozenLinear, _ configuration: Configuration, _ setup: Setup) throws {
    let start = try LoRA(on: &base, configuration.lora, setup), splits = configuration.splits
    try splits.check(Self.method, at: setup.site, down: start.a.value.count, up: start.b.value.count)
    a = SplitMatrix(start.a.value, role: .factorA, parts: splits.down, random: setup.random["split A"])
    b = SplitMatrix(start.b.value, role: .factorB, parts: splits.up, random: setup.random["split B"])
    (scale, dropout, site) = (start.scale, start.dropout, start.site)
  }

  /// The layer's output with the branch of the modules drawn, or of their mean outside training.
  public func callAsFunction(_ x: Tensor, over base: FrozenLinear, _ context: Context) -> Tensor {
    let random = context.random?[site]
    return lowRankLinear(
      x, base.weight, bias: base.bias?.value, a: a(a.draw(random?["A"])), b: b(b.draw(random?["B"])), scale: scale,
      mask: dropoutMask(x.shape, dropout, random))
  }

  /// The mean of the modules as the LoRA it is.
  var mean: LoRA { LoRA(a: a(nil), b: b(nil), scale: scale, dropout: dropout, site: site) }

  /// The base with `s B A` of the mean added to its weight.
  public func merged(into base: FrozenLinear, _ context: Context) -> FrozenLinear { mean.merged(into: base, context) }

  /// The mean of the modules: N modules are of no use once training is over.
  public var stored: any Adapter<FrozenLinear> { mean }
  /// A LoRA's.
  public static func stored(_ settings: AdapterSettings) -> (method: String, settings: AdapterSettings) {
    var plain = settings
    for key in Splits.options { plain.options[key] = nil }
    return (LoRA.method, plain)
  }

  /// Presents the factors under PEFT's names where they are whole, their changes beside them where they are not.
  public mutating func visit(_ visitor: Visitor) {
    visitor("lora_A", &a)
    visitor("lora_B", &b)
  }
}

extension MoSA: LowRankChange {
  /// The factors of the mean.
  public var lowRankFactors: LowRankFactors? { mean.lowRankFactors }
}
