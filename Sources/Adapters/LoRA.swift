import Autodiff
import Networks

/// Low-rank adaptation: learn a rank-`r` change to a frozen matrix.
///
///     y = W x + b + s B A dropout(x)        s = α / r, or α / √r with rsLoRA        (Hu et al. 2021, eq. 3)
///
/// `A` is `[r, inputs]`, drawn evenly from ±1/√inputs as PEFT does; `B` is `[outputs, r]`, zero, so training starts at
/// the base model. Folding adds `s B A` to `W` and costs nothing at inference. Trains r (inputs + outputs) numbers.
///
/// Papers: <https://arxiv.org/abs/2106.09685>, rsLoRA <https://arxiv.org/abs/2312.03732>
public struct LoRA: Adapter {
  /// What recipes call it.
  public static let method = "lora"
  /// Always.
  public static func merging(_ configuration: Configuration) -> Merging { .exact }

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
    /// How `A` starts.
    public var start: Start

    /// A configuration.
    public init(rank: Int, scale: Float, dropout: Float = 0, hasBias: Bool = false, start: Start = .uniform) {
      (self.rank, self.scale, self.dropout, self.hasBias, self.start) = (rank, scale, dropout, hasBias, start)
    }

    /// The ways `A` can start.
    public enum Start: String, Sendable { case uniform = "default", gaussian }
  }

  /// What `settings` choose for the layer named `site`.
  public static func configuration(_ settings: AdapterSettings, at site: String) throws -> Configuration {
    guard let start = Configuration.Start(rawValue: settings.start) else {
      throw GraftError("init '\(settings.start)' is not known to '\(method)'; expected default or gaussian")
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

  /// A fresh adapter, which changes nothing.
  public init(on base: inout FrozenLinear, _ configuration: Configuration, _ setup: Setup) {
    let r = configuration.rank
    a = Parameter(Self.start(configuration, fanIn: base.inputs, from: setup.random["lora_A"]), role: .factorA)
    b = Parameter(.zeros([base.outputs, r]), role: .factorB)
    bias = configuration.hasBias ? Parameter(.zeros([base.outputs]), role: .bias) : nil
    (scale, dropout, site) = (configuration.scale, configuration.dropout, setup.site)
  }

  static func start(_ configuration: Configuration, fanIn: Int, from random: RandomKey) -> Tensor {
    switch configuration.start {
    case .uniform:
      let bound = 1 / Float(fanIn).squareRoot()
      return .uniform([configuration.rank, fanIn], in: -bound..<bound, from: random)
    case .gaussian:
      return .normal([configuration.rank, fanIn], deviation: 1 / Float(configuration.rank), from: random)
    }
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
