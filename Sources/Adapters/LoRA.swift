import Autodiff
import Networks

/// Low-rank adaptation: learn a rank-`r` change to a frozen matrix.
///
///     y = W x + b + s B A dropout(x)        s = α / r, or α / √r with rsLoRA        (Hu et al. 2021, eq. 3)
///
/// `A` is `[r, inputs]`, drawn evenly from ±1/√inputs as PEFT does; `B` is `[outputs, r]`, zero, so training starts at
/// the base model. Folding adds `s B A` to `W` and costs nothing at inference. Trains r (inputs + outputs) numbers.
/// Other starts are in ``LowRankStart``; one that takes B₀ A₀ out of the base is stored as LoRA of rank 2r over the
/// base as it was, s [B, −B₀] [A; A₀].
///
/// Papers: <https://arxiv.org/abs/2106.09685>, rsLoRA <https://arxiv.org/abs/2312.03732>
public struct LoRA: Adapter {
  /// What recipes call it.
  public static let method = "lora"
  /// Always.
  public static func merging(_ configuration: Configuration) -> Merging { .exact }
  /// The inputs' second moment, where `A` starts from them.
  public static func statistics(_ settings: AdapterSettings) throws -> Statistics {
    settings.start == "eva" ? .secondMoment : []
  }

  /// What can be chosen about it; DoRA shares it.
  public struct Configuration: Sendable, Equatable {
    /// `r`; the change has at most this rank.
    public var rank: Int
    /// `s`: α / r, or α / √r where the rank-stabilised form is asked for.
    public var scale: Float
    /// The share of the branch's inputs set to zero in training.
    public var dropout: Float
    /// Whether `B` has a bias of its own (PEFT's `lora_bias`).
    public var hasBias: Bool
    /// How the factors start.
    public var start: LowRankStart

    /// A configuration.
    public init(rank: Int, scale: Float, dropout: Float = 0, hasBias: Bool = false, start: LowRankStart = .uniform) {
      (self.rank, self.scale, self.dropout, self.hasBias, self.start) = (rank, scale, dropout, hasBias, start)
    }
  }

  /// What `settings` choose for the layer named `site`.
  public static func configuration(_ settings: AdapterSettings, at site: String) throws -> Configuration {
    guard let start = LowRankStart(settings.start) else {
      throw GraftError(
        "init '\(settings.start)' is not known to '\(method)'; expected default, gaussian, orthogonal, pissa, pissa_niter_N, olora, eva or loftq",
        key: "init"
      )
    }
    return Configuration(
      rank: settings.rank(at: site), scale: settings.scale(at: site), dropout: Float(settings.dropout),
      hasBias: settings.hasBias, start: start)
  }

  var a: Parameter
  var b: Parameter
  var bias: Parameter?
  let scale: Float
  let dropout: Float
  let site: String
  /// What was taken out of the base, if anything was.
  private let removed: StartFactors?

  /// A fresh adapter, which changes nothing; where the start takes part of `base`, the rest is left there.
  ///
  /// - Throws: a ``GraftError`` for a rank the start cannot have here, or what it needed measured and was not.
  public init(on base: inout FrozenLinear, _ configuration: Configuration, _ setup: Setup) throws {
    let factors = try configuration.start.factors(
      on: &base, rank: configuration.rank, scale: configuration.scale, setup)
    self.init(factors, configuration, site: setup.site)
  }

  /// An adapter with the given factors.
  init(_ factors: StartFactors, _ configuration: Configuration, site: String) {
    a = Parameter(factors.a, role: .factorA)
    b = Parameter(factors.b, role: .factorB)
    bias = configuration.hasBias ? Parameter(.zeros([factors.b.shape[0]]), role: .bias) : nil
    removed = factors.leftBase ? factors : nil
    (scale, dropout, self.site) = (configuration.scale, configuration.dropout, site)
  }

  /// An adapter with the given factors, `a` `[r, inputs]` and `b` `[outputs, r]`, of a base that is whole.
  init(a: Tensor, b: Tensor, bias: Tensor? = nil, scale: Float, dropout: Float = 0, site: String) {
    self.a = Parameter(a.detached, role: .factorA)
    self.b = Parameter(b.detached, role: .factorB)
    self.bias = bias.map { Parameter($0.detached, role: .bias) }
    removed = nil
    (self.scale, self.dropout, self.site) = (scale, dropout, site)
  }

  /// The layer's output with the low-rank branch.
  public func callAsFunction(_ x: Tensor, over base: FrozenLinear, _ context: Context) -> Tensor {
    let mask = dropoutMask(x.shape, dropout, context.random?[site])
    let y = lowRankLinear(
      x, base.weight, bias: base.bias?.value, a: a.value, b: b.value, scale: scale, mask: mask)
    return bias.map { y + scale * $0.value } ?? y
  }

  /// The base with `s B A` added to its weight.
  public func merged(into base: FrozenLinear, _ context: Context) -> FrozenLinear {
    var folded = base.adding(change)
    if let bias {
      let own = base.bias?.value ?? .zeros([base.outputs])
      folded.bias = .frozen(own.detached + scale * bias.value.detached)
    }
    return folded
  }

  /// `s B A`, `[outputs, inputs]`.
  var change: Tensor { scale * matmul(b.value.detached, a.value.detached) }

  /// The change of the base as it was before the start took its part: of twice the rank if it did.
  public var stored: any Adapter<FrozenLinear> { overOriginal }

  var overOriginal: LoRA {
    guard let removed else { return self }
    let whole = StartFactors(
      a: .concatenated([a.value.detached, removed.a]),
      b: Tensor.concatenated([b.value.detached.transposed, -1 * removed.b.transposed]).transposed)
    let configuration = Configuration(rank: whole.a.shape[0], scale: scale, dropout: dropout, hasBias: bias != nil)
    var plain = LoRA(whole, configuration, site: site)
    plain.bias = bias
    return plain
  }

  /// Rank and α doubled where the start took part of the base.
  public static func stored(_ settings: AdapterSettings) -> (method: String, settings: AdapterSettings) {
    (method, LowRankStart(settings.start)?.movesBase ?? false ? doubled(settings) : settings)
  }

  /// The settings of a change of twice the rank and the same scale at every layer.
  static func doubled(_ settings: AdapterSettings) -> AdapterSettings {
    var plain = settings
    plain.start = "default"
    let factor = settings.isRankStabilised ? 2.0.squareRoot() : 2
    (plain.rank, plain.alpha) = (2 * settings.rank, factor * settings.alpha)
    plain.rankPattern = settings.rankPattern.mapValues { 2 * $0 }
    plain.alphaPattern = settings.alphaPattern.mapValues { factor * $0 }
    return plain
  }

  /// Presents the factors under PEFT's names.
  public mutating func visit(_ visitor: Visitor) {
    visitor("lora_A.weight", &a)
    visitor("lora_B.weight", &b)
    visitor("lora_B.bias", &bias)
  }
}

/// Zero with probability `rate`, else 1 / (1 − rate), drawn from `random`; nil where nothing is to be dropped.
///
/// A function and not a tensor: the key gives the same mask on the way back, so that no layer need hold one.
func dropoutMask(_ shape: Shape, _ rate: Float, _ random: RandomKey?) -> (@Sendable () -> Tensor)? {
  guard rate > 0, let random else { return nil }
  return { .dropoutMask(shape, rate: rate, from: random["dropout"]) }
}
