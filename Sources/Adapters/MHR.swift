import Autodiff
import Networks
import Weights

/// Multi-head adapter routing: an inventory of low-rank skills, mixed anew for each task and each block of channels.
///
///     y = W x + b + s B_t A_t x        s = α / r                                    (Caccia et al. 2023, eq. 4)
///     A_t = [A_t¹, …, A_tˢ],  A_t^q = Σ_k w_qk a_qk,  B_t^q = Σ_k w_qk b_qk,  w_q = σ(z_tq) / Σ_k σ(z_tqk)
///
/// With `heads` S, head q mixes the q-th block of `inputs / S` channels of A and of `outputs / S` channels of B by
/// weights of its own; one head is Poly. Factors are mixed, not their products. `a` is `[S, K, inputs / S, r]`, drawn
/// evenly from ±1/√inputs as LoRA's `A` (the authors draw √3 narrower, PEFT √S wider); `b` `[S, K, r, outputs / S]` is
/// zero, so training starts at the base model; the logits `Z` `[tasks, S · K]` are drawn from ±0.001, all but an even
/// mixture. They move little at the rate of the factors: `train.role_rates: {router: 100}` is the authors' choice.
///
/// Trains K r (inputs + outputs) + T S K numbers. A task's mixture is a plain LoRA of rank r, so it folds exactly, for
/// that task. `relaxed` draws the mixture of each row from a relaxed Bernoulli distribution in training. With α = 1 it is
/// PEFT's Poly and is stored so; any other becomes Poly by taking α into `b`, see ``PolyFolder``.
///
/// Papers: <https://arxiv.org/abs/2211.03831>, Poly <https://arxiv.org/abs/2202.13914>
public struct MHR: TaskRouted {
  /// What recipes call it.
  public static let method = "mhr"
  /// Once the task is chosen; always where only the mean is left.
  public static func merging(_ configuration: Configuration) -> Merging {
    configuration.mode == .mean ? .exact : .perTask
  }
  /// `skills`: K, 8 unless given. `heads`: S, 1 unless given. `relaxed`: see above, false unless given. `mode`: see
  /// ``Mode``, full unless given.
  public static let options = ["skills", "heads", "relaxed", "mode"]
  /// K where nothing is said, and the most K and S can be.
  static let standardSkills = 8, mostSkills = 1024

  /// What learns when a trained inventory meets new tasks.
  public enum Mode: String, Sendable, CaseIterable {
    /// Inventory and logits (MHR).
    case full
    /// The logits alone, S · K a task and layer (MHR-z).
    case router
    /// A single LoRA that starts as the mean of the inventory (MHR-μ).
    case mean
  }

  /// What can be chosen about it.
  public struct Configuration: Sendable, Equatable {
    /// `r`.
    public var rank: Int
    /// `s`.
    public var scale: Float
    /// `K` and `S`.
    public var skills: Int, heads: Int
    /// Whether mixtures are drawn in training.
    public var isRelaxed: Bool
    /// What learns.
    public var mode: Mode

    /// A configuration; by default that of Poly.
    public init(
      rank: Int, scale: Float, skills: Int = 8, heads: Int = 1, isRelaxed: Bool = false, mode: Mode = .full
    ) {
      (self.rank, self.scale, self.skills, self.heads) = (rank, scale, skills, heads)
      (self.isRelaxed, self.mode) = (isRelaxed, mode)
    }
  }

  /// What `settings` choose for the layer named `site`.
  public static func configuration(_ settings: AdapterSettings, at site: String) throws -> Configuration {
    for (key, isSet) in [
      ("lora_bias", settings.hasBias), ("dropout", settings.dropout > 0), ("init", settings.start != "default"),
    ] where isSet {
      throw GraftError("'mhr' has no bias, no dropout and one way to start; remove \(key)", key: key)
    }
    guard !site.hasSuffix("lm_head") else {
      throw GraftError(
        "'mhr' cannot stand on '\(site)', which sees rows without their task; leave it out of the targets")
    }
    func count(_ key: String, _ standard: Int) throws -> Int {
      try settings.option(key, standard, expected: "a whole number from 1 to \(mostSkills)") {
        Int($0).flatMap { (1...mostSkills).contains($0) ? $0 : nil }
      }
    }
    return Configuration(
      rank: settings.rank(at: site), scale: settings.scale(at: site), skills: try count("skills", standardSkills),
      heads: try count("heads", 1),
      isRelaxed: try settings.option("relaxed", false, expected: "true or false", Bool.init),
      mode: try settings.option("mode", .full, expected: "full, router or mean", Mode.init))
  }

  var a: Parameter
  var b: Parameter
  var logits: Parameter
  var isRelaxed: Bool
  let scale: Float
  let site: String

  /// A fresh inventory, of which every mixture changes nothing.
  ///
  /// - Throws: when the heads do not divide the layer's channels, and for a mode that needs a trained inventory.
  public init(on base: inout FrozenLinear, _ configuration: Configuration, _ setup: Setup) throws {
    let (S, K, r) = (configuration.heads, configuration.skills, configuration.rank)
    guard base.inputs % S == 0, base.outputs % S == 0 else {
      throw GraftError(
        "'\(setup.site)' is [\(base.outputs), \(base.inputs)], which \(S) heads do not divide; choose heads that divide both, or leave the layer out of the targets",
        key: "heads")
    }
    guard configuration.mode == .full else {
      throw GraftError(
        "mode '\(configuration.mode.rawValue)' adapts a trained inventory to new tasks; name its folder as adapter.from, or set mode: full",
        key: "mode")
    }
    let bound = 1 / Float(base.inputs).squareRoot()
    a = Parameter(
      .uniform([S, K, base.inputs / S, r], in: -bound..<bound, from: setup.random["poly_lora_A"]), role: .factorA)
    b = Parameter(.zeros([S, K, r, base.outputs / S]), role: .factorB)
    logits = Parameter(Self.freshLogits(setup.tasks, S * K, from: setup.random), role: .router)
    (isRelaxed, scale, site) = (configuration.isRelaxed, configuration.scale, setup.site)
  }

  /// Logits of tasks about which nothing is known, `[tasks, mixtures]`.
  static func freshLogits(_ tasks: Int, _ mixtures: Int, from random: RandomKey) -> Tensor {
    .uniform([tasks, mixtures], in: -1e-3..<1e-3, from: random["poly_router"])
  }

  /// The tasks it tells apart, numbered from 0.
  public var tasks: Int { logits.value.shape[0] }
  var heads: Int { a.value.shape[0] }
  var skills: Int { a.value.shape[1] }

  /// The layer's output with the change of each row's task.
  public func callAsFunction(_ x: Tensor, over base: FrozenLinear, _ context: Context) -> Tensor {
    let runs = context.tasks(ofRows: x.shape.rows), random = isRelaxed ? context.random?[site] : nil
    // Where mixtures are drawn each run has one of its own; else runs of one task share theirs.
    let mixed = random == nil ? Set(runs.map(\.task)).sorted() : runs.map(\.task)
    let (a, b) = factors(weights(of: mixed, drawnFrom: random))
    let routes = runs.enumerated().map { index, run in
      (factors: random == nil ? mixed.firstIndex(of: run.task) ?? 0 : index, rows: run.rows)
    }
    return base(x) + routedLowRank(x, a: a, b: b, scale: scale, runs: routes)
  }

  /// `w`, the weights of the mixtures of the given tasks, `[tasks.count, S, K]`; each head's sum to 1.
  func weights(of tasks: [Int], drawnFrom random: RandomKey? = nil) -> Tensor {
    require(
      tasks.allSatisfy { (0..<self.tasks).contains($0) }, "'\(site)' routes \(self.tasks) tasks, and was given \(tasks)"
    )
    var z = logits.value.gathered(tasks.map(Int32.init))
    if let random {
      // Short of the ends by the spacing of Float below 1, so that no logit is infinite.
      z = z + Self.logistic(.uniform(z.shape, in: 0x1p-24..<1 - 0x1p-24, from: random["poly_router"]))
    }
    // Heads apart before they are normalised: each has a mixture of its own.
    let p = z.sigmoid.reshaped([tasks.count, heads, skills])
    return p / (p.rowSums.reshaped([tasks.count, heads, 1]) + 1e-12)
  }

  /// ln u − ln (1 − u): with u drawn evenly from (0, 1) and added to a logit before σ, a draw of the relaxed Bernoulli
  /// distribution at temperature 1.
  static func logistic(_ u: Tensor) -> Tensor { u.logarithm - (-u + 1).logarithm }

  /// `A` `[n, r, inputs]` and `B` `[n, outputs, r]` mixed by weights `[n, S, K]`.
  func factors(_ weights: Tensor) -> (a: Tensor, b: Tensor) {
    let (n, S, K) = (weights.shape[0], heads, skills), (width, r) = (a.value.shape[2], a.value.shape[3])
    let outputs = b.value.shape[3], byHead = weights.transposed([1, 0, 2])  // [S, n, K]
    let down = matmul(byHead, a.value.reshaped([S, K, width * r])).reshaped([S, n, width, r])
    let up = matmul(byHead, b.value.reshaped([S, K, r * outputs])).reshaped([S, n, r, outputs])
    return (
      down.transposed([1, 3, 0, 2]).reshaped([n, r, S * width]),
      up.transposed([1, 0, 3, 2]).reshaped([n, S * outputs, r])
    )
  }

  /// The mixture of the context's task as a LoRA.
  public func plainLoRA(over base: FrozenLinear, _ context: Context) -> LoRA {
    guard let task = context.task else { fatalError("'\(site)' routes by task and was given none to fold for") }
    return lora(mixedBy: weights(of: [task]).detached)
  }

  /// The mean of the inventory as a LoRA, with which single-adapter tuning starts (MHR-μ).
  ///
  /// The authors keep all K copies and train them by even weights, which under Adam moves the mean as training it
  /// directly does.
  var mean: LoRA { lora(mixedBy: .filled(1 / Float(skills), [1, heads, skills])) }

  private func lora(mixedBy weights: Tensor) -> LoRA {
    let (a, b) = factors(weights)
    return LoRA(
      a: a.reshaped([a.shape[1], a.shape[2]]), b: b.reshaped([b.shape[1], b.shape[2]]), scale: scale, site: site)
  }

  /// The base with the mixture of the context's task added to its weight.
  public func merged(into base: FrozenLinear, _ context: Context) -> FrozenLinear {
    plainLoRA(over: base, context).merged(into: base, context)
  }

  /// The adapter with all of it learning: its inventory belongs in the file even where only the logits learnt.
  public var stored: any Adapter<FrozenLinear> {
    var whole = self
    whole.a.isTrainable = true
    whole.b.isTrainable = true
    return whole
  }

  /// The same without `mode`, which says how it was trained and not what it is.
  public static func stored(_ settings: AdapterSettings) -> (method: String, settings: AdapterSettings) {
    var settings = settings
    settings.options["mode"] = nil
    return (method, settings)
  }

  /// Presents the inventory and the logits, as PEFT names Poly's.
  public mutating func visit(_ visitor: Visitor) {
    visitor("poly_lora_A", &a)
    visitor("poly_lora_B", &b)
    visitor("poly_router.module_logits", &logits)
  }
}
