import Autodiff
import Networks
import Weights

/// INT2.1: a LoRA that brings a coarsely rounded model back to its original, and a second one for the task.
///
///     y = Ŵ x + b + s₁ B₁ A₁ x + s₂ B₂ A₂ dropout(x)                                    (Chai et al. 2023, §3)
///
/// Stage 1 (LREC) trains the correction `B₁ A₁` alone, best with objective `distillation`, whose teacher is the model
/// before rounding. Stage 2 starts from the first run's folder (`adapter.from`): the correction is frozen, and a fresh
/// LoRA learns the task beside it. `Ŵ` never changes, nor do its packed bytes.
///
/// What it corrects is what the run's own rounding took, or, for a base that was packed beforehand, what it lacks of the
/// teacher. The correction starts as LoRA does, or at the closed form that `correction` names: svd, lqer or eora, see
/// ``ErrorCorrection``; `B` is divided by s₁, so that the scaled product is the correction whatever α is.
///
/// Both are stored as one plain LoRA, exactly: A = [A₁; A₂], B = [s₁ B₁, s₂ B₂], scale 1. Stage 1 trains
/// r₁ (inputs + outputs) numbers, stage 2 r₂ (inputs + outputs).
///
/// Paper: <https://arxiv.org/abs/2306.08162>
public struct INT21: LowRankChange {
  /// What recipes call it.
  public static let method = "int2.1"
  /// Into floats; see `merge.format` for folding into packed weights.
  public static func merging(_ configuration: Configuration) -> Merging { .exact }
  /// `correction`.
  public static let options = ["correction"]

  /// What can be chosen about it.
  public struct Configuration: Sendable, Equatable {
    /// Rank, scale and dropout of the LoRA that learns.
    public var lora: LoRA.Configuration
    /// How the correction starts.
    public var correction: ErrorCorrection
  }

  /// What `settings` choose for the layer named `site`.
  public static func configuration(_ settings: AdapterSettings, at site: String) throws -> Configuration {
    guard !settings.hasBias else { throw GraftError("'int2.1' has no bias of its own; remove lora_bias") }
    guard settings.rankPattern.isEmpty, settings.alphaPattern.isEmpty else {
      throw GraftError(
        "'int2.1' has one rank for all layers; remove rank_pattern and alpha_pattern",
        key: settings.rankPattern.isEmpty ? "alpha_pattern" : "rank_pattern")
    }
    let lora = try LoRA.configuration(settings, at: site)
    guard lora.start.isBlank else {
      throw GraftError("'int2.1' corrects the base as it is; init '\(settings.start)' is not known to it", key: "init")
    }
    return Configuration(lora: lora, correction: try correction(settings))
  }

  private static func correction(_ settings: AdapterSettings) throws -> ErrorCorrection {
    try settings.option(
      "correction", .none, expected: ErrorCorrection.allCases.map(\.rawValue).joined(separator: ", "),
      ErrorCorrection.init(rawValue:))
  }

  /// What the correction's start has to know.
  public static func statistics(_ settings: AdapterSettings) throws -> Statistics {
    try correction(settings).statistics
  }

  private var correctionA: Parameter
  private var correctionB: Parameter
  private let correctionScale: Float
  private var task: LoRA?
  private let dropout: Float
  private let site: String

  /// Stage 1: a correction that learns, and nothing beside it.
  public init(on base: inout FrozenLinear, _ configuration: Configuration, _ setup: Setup) throws {
    let fresh = try LoRA(on: &base, configuration.lora, setup)
    (correctionA, correctionB, correctionScale) = (fresh.a, fresh.b, fresh.scale)
    (dropout, site) = (fresh.dropout, fresh.site)
    guard configuration.correction != .none else { return }
    guard let original = setup.original else {
      throw GraftError(
        "correction \(configuration.correction.rawValue) corrects what rounding took: add a quantization section, or name the original as objective.teacher of a packed base, or set correction: none",
        key: "correction")
    }
    let error = original.unpacked() - base.weight.unpacked()
    if let start = try configuration.correction.factors(
      of: error, rank: configuration.lora.rank, setup.statistics)
    {
      correctionA.value = start.a
      correctionB.value = 1 / correctionScale * start.b
    }
  }

  /// Stage 2: `correction`, frozen, and a fresh LoRA beside it.
  init(
    _ correction: LowRankFactors, on base: inout FrozenLinear, _ configuration: LoRA.Configuration, _ setup: Setup
  ) throws {
    (correctionA, correctionB) = (.frozen(correction.a), .frozen(correction.b))
    (correctionScale, dropout, site) = (correction.scale, configuration.dropout, setup.site)
    task = try LoRA(on: &base, configuration, setup)
  }

  /// The layer's output with the correction, and the task's change where there is one.
  public func callAsFunction(_ x: Tensor, over base: FrozenLinear, _ context: Context) -> Tensor {
    let mask = dropoutMask(x.shape, dropout, context.random?[site]), bias = base.bias?.value
    func corrected(_ mask: (@Sendable () -> Tensor)?) -> Tensor {
      lowRankLinear(
        x, base.weight, bias: bias, a: correctionA.value, b: correctionB.value, scale: correctionScale, mask: mask)
    }
    guard let task else { return corrected(mask) }
    if let mask {
      let hidden = linear(x * mask(), weight: task.a.value)
      return corrected(nil) + task.scale * linear(hidden, weight: task.b.value)
    }
    // The one LoRA that is stored, so that what was trained and what is read back agree to the bit.
    let both = LowRankFactors.concatenated([
      LowRankFactors(a: correctionA.value, b: correctionB.value, scale: correctionScale),
      LowRankFactors(a: task.a.value, b: task.b.value, scale: task.scale),
    ])
    return lowRankLinear(x, base.weight, bias: bias, a: both.a, b: both.b, scale: 1)
  }

  /// The change as one product.
  public var lowRankFactors: LowRankFactors? { whole }

  private var whole: LowRankFactors {
    let correction = LowRankFactors(
      a: correctionA.value.detached, b: correctionB.value.detached, scale: correctionScale)
    return task?.lowRankFactors.map { .concatenated([correction, $0]) } ?? correction
  }

  /// The base with both changes added to its weight.
  public func merged(into base: FrozenLinear, _ context: Context) -> FrozenLinear {
    base.adding(whole.product)
  }

  /// Both as one plain LoRA.
  public var stored: any Adapter<FrozenLinear> {
    LoRA(a: whole.a, b: whole.b, scale: whole.scale, site: site)
  }

  /// Plain LoRA: of the correction's own rank and α after stage 1, of both ranks and scale 1 after stage 2.
  public static func stored(_ settings: AdapterSettings) -> (method: String, settings: AdapterSettings) {
    var plain = settings
    (plain.options, plain.start) = ([:], "default")
    if let rank = settings.options[correctionRank].flatMap(Int.init) {
      plain.rank = settings.rank + rank
      (plain.alpha, plain.isRankStabilised, plain.dropout) = (Double(plain.rank), false, 0)
    }
    return (LoRA.method, plain)
  }

  /// Where a plan notes the frozen correction's rank.
  static let correctionRank = "correction_rank"

  /// Presents the correction and the task's factors.
  public mutating func visit(_ visitor: Visitor) {
    visitor("correction_A.weight", &correctionA)
    visitor("correction_B.weight", &correctionB)
    if var present = task {
      present.visit(visitor)
      task = present
    }
  }
}

extension TextNetwork {
  /// Stage 2 of INT2.1: freezes the LoRA the model carries as `plan` describes it, and puts a fresh one for the task, by
  /// `settings`, beside each. Returns the plan of both.
  ///
  /// - Throws: a ``GraftError`` when what is there is not plain LoRA of one rank, or the settings do not fit.
  public mutating func stack(
    _ settings: AdapterSettings, on plan: GraftPlan, random: RandomKey
  ) throws -> GraftPlan {
    guard plan.method == LoRA.method, plan.bias == .none, plan.modulesToSave.isEmpty, !plan.settings.hasBias,
      plan.settings.rankPattern.isEmpty
    else {
      throw GraftError(
        "'int2.1' starts from a correction that is plain LoRA of one rank, without biases or whole modules; adapter.from holds another kind",
        key: "from")
    }
    guard settings.options["correction"] ?? "none" == "none" else {
      throw GraftError(
        "the correction is there already: remove 'correction', which says how a new one starts",
        key: "correction")
    }
    forEachParameter { $1.isTrainable = false }
    try forEachLinear(throwing: { name, layer in
      guard let adapter = layer.adapter else { return }
      guard let correction = (adapter as? LoRA)?.lowRankFactors else {
        throw GraftError("the adapter on '\(name)' is no plain LoRA")
      }
      let configuration = try INT21.configuration(settings, at: name).lora
      layer.adapter = try INT21(correction, on: &layer.base, configuration, Setup(site: name, random: random))
    })
    try forEachEmbedding(throwing: { name, table in
      if table.adapter != nil { throw GraftError("'int2.1' has no form for the embedding '\(name)'") }
    })
    var both = plan
    (both.method, both.settings) = (INT21.method, settings)
    both.settings.options[INT21.correctionRank] = String(plan.settings.rank)
    return both
  }
}
