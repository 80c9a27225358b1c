import Autodiff
import Networks
import Weights

/// Context-oriented decomposition adaptation: a low-rank change that starts from the components of the matrix that
/// matter most, or least, to given data.
///
///     W C' = U Σ Vᵀ,   V̂ᵀ = Vᵀ C'⁻¹                                              (Yang et al. 2024, eq. 3 and 4)
///     A = √(Σᵣ / s) V̂ᵣᵀ,   B = Uᵣ √(Σᵣ / s),   y = (W − s B₀ A₀) x + b + s B A x
///
/// `C` `[inputs, inputs]` is the second moment of the layer's inputs on calibration data, C' the same with its diagonal
/// damped. Mode `ipm` (instruction-previewed: the data are those of the task) trains the first r components; `kpm`
/// (knowledge-preserved: the data are what must not be forgotten) the last r of min(inputs, outputs). The rest of W
/// stays in the base as float, so training starts at the base model up to rounding. Trains r (inputs + outputs) numbers;
/// stored as plain LoRA of rank 2r over the untouched base.
///
/// Departures: every token weighs the same, where the authors divide each sample by its largest entry; the products are
/// in double precision, where theirs are in single. Neither moves B A while C keeps its direction.
///
/// Paper: <https://arxiv.org/abs/2406.05223>
public struct CorDA: Adapter {
  /// What recipes call it.
  public static let method = "corda"
  /// Always.
  public static func merging(_ configuration: Configuration) -> Merging { .exact }
  /// `C`.
  public static func statistics(_ settings: AdapterSettings) throws -> Statistics { .secondMoment }
  /// `mode` (`ipm` or `kpm`), `damping` (the first tried, 0.01), `balanced` (whether ‖A‖ = ‖B‖ at the start, false).
  public static let options = ["mode", "damping", "balanced"]

  /// Which components train.
  public enum Mode: String, Sendable {
    /// Those the data use most.
    case instructionPreviewed = "ipm"
    /// Those the data use least.
    case knowledgePreserved = "kpm"
  }

  /// What can be chosen about it.
  public struct Configuration: Sendable {
    /// Rank, scale and dropout.
    public var lora: LoRA.Configuration
    /// Which components train.
    public var mode: Mode
    /// The share of the mean of C's diagonal that is added to it; doubled until the inverse is one.
    public var damping: Float
    /// Whether both factors start equally large: B A is the same, but the size of C no longer decides how fast each
    /// of them moves.
    public var isBalanced: Bool
  }

  /// What `settings` choose for the layer named `site`.
  public static func configuration(_ settings: AdapterSettings, at site: String) throws -> Configuration {
    guard settings.start == "default" else {
      throw GraftError("'corda' has a start of its own; remove adapter.init '\(settings.start)'", key: "init")
    }
    return Configuration(
      lora: try LoRA.configuration(settings, at: site),
      mode: try settings.option("mode", .instructionPreviewed, expected: "ipm or kpm") { Mode(rawValue: $0) },
      damping: try settings.option("damping", 0.01, expected: "a number from 0 to 1") { text in
        Float(text).flatMap { (0...1).contains($0) ? $0 : nil }
      },
      isBalanced: try settings.option("balanced", false, expected: "true or false") { Bool($0) })
  }

  var lora: LoRA

  /// A fresh adapter; `base` is left without what the adapter starts from.
  ///
  /// - Throws: a ``GraftError`` when no second moment was measured, or the rank exceeds the matrix's.
  public init(on base: inout FrozenLinear, _ configuration: Configuration, _ setup: Setup) throws {
    let (rank, scale) = (configuration.lora.rank, configuration.lora.scale)
    guard let moment = setup.statistics?.secondMoment else {
      throw GraftError(
        "'corda' starts from the inputs of layer '\(setup.site)', and they were not measured", key: "type")
    }
    try LowRankStart.check(Self.method, rank, scale, base, setup.site)
    let w = base.weight.unpacked()
    let damped = try Self.damped(moment, from: configuration.damping, at: setup.site).moment
    let parts = try LowRankStart.decomposing(setup.site) { try weightedSingularValues(of: w, by: damped) }
    let count = parts.values.count
    let components = configuration.mode == .instructionPreviewed ? 0..<rank : count - rank..<count
    var factors = StartFactors(components: components, of: parts, scale: scale)
    if configuration.isBalanced { factors = factors.balanced }
    lora = LoRA(LowRankStart.takingOut(factors, scale, of: &base), configuration.lora, site: setup.site)
  }

  /// C' = C + δ · mean(diag C) · I, and δ: the first, doubling from `damping`, for which a single-precision inverse P
  /// has ‖C' P − I‖ < 0.05.
  ///
  /// - Throws: a ``GraftError`` naming the layer `site` when C is zero, or no δ helps.
  static func damped(
    _ moment: Tensor, from damping: Float, at site: String
  ) throws -> (moment: Tensor, damping: Float) {
    let n = moment.shape[0]
    let diagonal = moment.withValues { values in (0..<n).map { values[$0 * n + $0] } }
    let mean = Float(diagonal.reduce(0) { $0 + Double($1) } / Double(n))
    guard moment.isFinite, mean > 0 else {
      throw GraftError(
        "the inputs of layer '\(site)' on the calibration data \(mean == 0 ? "are all zero" : "are not finite"); give other data",
        key: "calibration.data")
    }
    let identity = Self.identity(n)
    var share = damping
    // C' nears a multiple of I long before this: at δ = 10³ its condition is below 1 + n / 10³.
    while share <= 1024 {
      let candidate = moment + (share * mean) * identity
      if let inverse = try? choleskySolution(candidate, identity) {
        let rest = matmul(candidate, inverse) - identity
        let norm = rest.withValues { $0.reduce(0) { $0 + Double($1) * Double($1) } }.squareRoot()
        if norm < 0.05 { return (candidate, share) }
      }
      share = share == 0 ? 0.01 : 2 * share
    }
    throw GraftError(
      "the second moment of the inputs of layer '\(site)' has no inverse with any damping; give other data",
      key: "calibration.data")
  }

  private static func identity(_ n: Int) -> Tensor {
    Tensor((0..<n * n).map { $0 % (n + 1) == 0 ? 1 : 0 }, shape: [n, n])
  }

  /// The layer's output with the low-rank branch.
  public func callAsFunction(_ x: Tensor, over base: FrozenLinear, _ context: Context) -> Tensor {
    lora(x, over: base, context)
  }

  /// The rest of the base with `s B A` added to it.
  public func merged(into base: FrozenLinear, _ context: Context) -> FrozenLinear { lora.merged(into: base, context) }

  /// Plain LoRA of rank 2r over the base as it was: s [B, −B₀] [A; A₀].
  public var stored: any Adapter<FrozenLinear> { lora.stored }
  /// As LoRA, rank and α doubled.
  public static func stored(_ settings: AdapterSettings) -> (method: String, settings: AdapterSettings) {
    var plain = LoRA.doubled(settings)
    plain.options = [:]
    return (LoRA.method, plain)
  }

  /// Presents the factors under LoRA's names.
  public mutating func visit(_ visitor: Visitor) { lora.visit(visitor) }
}

extension CorDA: LowRankChange {
  /// The change of the base as it was.
  public var lowRankFactors: LowRankFactors? { lora.lowRankFactors }
}

extension StartFactors {
  /// The same product, shared so that both factors have one norm.
  fileprivate var balanced: StartFactors {
    func norm(_ x: Tensor) -> Double { x.withValues { $0.reduce(0) { $0 + Double($1) * Double($1) } }.squareRoot() }
    let (a, b) = (norm(self.a), norm(self.b))
    guard a > 0, b > 0 else { return self }
    let share = Float((b / a).squareRoot())
    return StartFactors(a: share * self.a, b: (1 / share) * self.b)
  }
}
