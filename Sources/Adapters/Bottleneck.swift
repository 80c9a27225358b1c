import Autodiff
import Networks

/// A small network beside or behind a residual branch: down to a few channels, an activation, and up again.
///
///     adaptformer   h + f(h) + g(h)                      g(x) = s Up(dropout(GELU(Down(norm(x)))))
///     pfeiffer      h + f(h) + g(f(h))                   g(x) = s Up(dropout(ReLU(Down(norm(x)))))
///     houlsby       v + g(v),  v = h + f(h)              g(x) = s Up(dropout(SiLU(Down(x))))
///
/// `f` is the branch with its own norm. `Down` is `[r, width]`, drawn evenly from ±1/√width, `Up` is `[width, r]`, zero, so
/// training starts at the base; both have a bias, zero. `r` is the recipe's `rank`, and s its `scale`, or alpha / rank.
/// AdaptFormer's authors take `scale: 0.1`, MoSA's add `dropout: 0.1`; the other two styles were published with
/// `scale: 1` and no dropout. `norm` is a layer norm of the adapter's own (ε = 10⁻⁶). Trains r (2 width + 1) + width
/// numbers and 2 width for the norm. Stands around feed-forward branches; Houlsby's stood around attention as well:
/// `target_modules: [self_attn, mlp]`, or `[attn, mlp]` on GPT-2.
///
/// With `splits` above 1 it is trained as MoSA: see ``SplitMatrix`` and ``MoSA``. Biases are not split; each module of a
/// split matrix has a bias of its own, `[N, …]` in one parameter, and the mean of them is kept.
///
/// Papers: AdaptFormer <https://arxiv.org/abs/2205.13535>, Pfeiffer <https://arxiv.org/abs/2005.00247>,
/// Houlsby <https://arxiv.org/abs/1902.00751>, MoSA <https://arxiv.org/abs/2312.02923>
public struct Bottleneck: BlockAdapter {
  /// What recipes call it.
  public static let method = "bottleneck"
  /// Never.
  public static func merging(_ configuration: Configuration) -> Merging {
    .never(because: "its activation makes the change depend on the input")
  }
  /// Where it stands and with what activation, and how it is split.
  public static var options: [String] { ["style"] + Splits.options }

  /// Where the network stands, and its activation.
  public enum Style: String, Sendable, CaseIterable { case adaptformer, pfeiffer, houlsby }

  /// What can be chosen about it.
  public struct Configuration: Sendable, Equatable {
    /// The channels between `Down` and `Up`.
    public var rank: Int
    /// Where it stands.
    public var style: Style
    /// `s`.
    public var scale: Float
    /// The share of the activations set to zero in training.
    public var dropout: Float
    /// The modules it is trained in.
    public var splits: Splits

    /// A configuration.
    public init(rank: Int, style: Style, scale: Float, dropout: Float = 0, splits: Splits = Splits()) {
      (self.rank, self.style, self.scale, self.dropout, self.splits) = (rank, style, scale, dropout, splits)
    }
  }

  /// What `settings` choose for the block named `site`.
  public static func configuration(_ settings: AdapterSettings, at site: String) throws -> Configuration {
    guard settings.start == "default" else {
      throw GraftError("init '\(settings.start)' is not known to '\(method)'; expected default", key: "init")
    }
    let style = try settings.option("style", .adaptformer, expected: "adaptformer, pfeiffer or houlsby") {
      Style(rawValue: $0)
    }
    return Configuration(
      rank: settings.rank(at: site), style: style, scale: settings.scale(at: site), dropout: Float(settings.dropout),
      splits: try Splits(settings, standard: 1))
  }

  /// Two passes wherever there is more than one module.
  public static func consistency(_ settings: AdapterSettings) throws -> Double? {
    try Splits(settings, standard: 1).passes
  }

  var norm: OwnNorm?
  var down: SplitLinear
  var up: SplitLinear
  let style: Style
  let scale: Float
  let dropout: Float
  let site: String

  /// A fresh adapter, which changes nothing.
  ///
  /// - Throws: when a matrix has fewer entries than it is to have modules.
  public init(width: Int, _ configuration: Configuration, _ setup: Setup) throws {
    let c = configuration, bound = 1 / Float(width).squareRoot()
    try c.splits.check(Self.method, at: setup.site, down: c.rank * width, up: c.rank * width)
    norm = c.style == .houlsby ? nil : OwnNorm(width)
    down = SplitLinear(
      .uniform([c.rank, width], in: -bound..<bound, from: setup.random["down"]), role: .factorA, parts: c.splits.down,
      random: setup.random["split down"])
    up = SplitLinear(
      .zeros([width, c.rank]), role: .factorB, parts: c.splits.up, random: setup.random["split up"])
    (style, scale, dropout, site) = (c.style, c.scale, c.dropout, setup.site)
  }

  /// `h` `[tokens, width]` with the branch's output and the change added.
  public func callAsFunction(_ h: Tensor, _ context: Context, branch: (Tensor) -> Tensor) -> Tensor {
    switch style {
    case .adaptformer: return h + branch(h) + change(h, context)
    case .pfeiffer:
      let f = branch(h)
      return h + f + change(f, context)
    case .houlsby:
      let v = h + branch(h)
      return v + change(v, context)
    }
  }

  /// g(x).
  private func change(_ x: Tensor, _ context: Context) -> Tensor {
    let random = context.random?[site]
    let narrow = down(norm.map { $0(x) } ?? x, random?["down"])
    var active: Tensor
    switch style {
    case .adaptformer: active = narrow.gelu
    case .pfeiffer: active = narrow.rectified
    case .houlsby: active = narrow.silu
    }
    if let mask = dropoutMask(active.shape, dropout, random) { active = active * mask() }
    return scale * up(active, random?["up"])
  }

  /// The same with every split matrix merged to the mean of its modules.
  public var settled: Bottleneck {
    var merged = self
    (merged.down, merged.up) = (down.settled, up.settled)
    return merged
  }
  /// Without the modules, which are merged.
  public static func stored(_ settings: AdapterSettings) -> AdapterSettings {
    var plain = settings
    for key in Splits.options { plain.options[key] = nil }
    return plain
  }

  /// Presents the parts under `adapter`.
  public mutating func visit(_ visitor: Visitor) {
    if var present = norm {
      visitor("adapter.norm", &present)
      norm = present
    }
    visitor("adapter.down", &down)
    visitor("adapter.up", &up)
  }
}

/// A layer norm that learns, started as the identity on normalised rows.
struct OwnNorm: Module {
  private var weight: Parameter, bias: Parameter

  init(_ width: Int) {
    weight = Parameter(.filled(1, [width]), role: .norm)
    bias = Parameter(.zeros([width]), role: .norm)
  }

  func callAsFunction(_ x: Tensor) -> Tensor {
    layerNorm(x, weight: weight.value, bias: bias.value, epsilon: 1e-6)
  }

  mutating func visit(_ visitor: Visitor) {
    visitor("weight", &weight)
    visitor("bias", &bias)
  }
}

/// A linear layer that learns, whole or in modules, each of those with a bias of its own.
struct SplitLinear: Module {
  private var matrix: SplitMatrix
  /// `[outputs]`, or `[N, outputs]`.
  private var bias: Parameter

  init(_ start: Tensor, role: Role, parts: Int, random: RandomKey) {
    matrix = SplitMatrix(start, role: role, parts: parts, random: random)
    let outputs = start.shape[0]
    bias = Parameter(.zeros(parts > 1 ? [parts, outputs] : [outputs]), role: .bias)
  }

  /// The output of the module drawn from `random`, or of the merged layer where that is nil.
  func callAsFunction(_ x: Tensor, _ random: RandomKey?) -> Tensor {
    let part = matrix.draw(random)
    return linear(x, weight: matrix(part), bias: bias(part))
  }

  /// The bias of module `part`; the mean of all where that is nil.
  private func bias(_ part: Int?) -> Tensor {
    guard matrix.partition != nil else { return bias.value }
    guard let part else { return bias.value.transposed.rowMeans }
    return bias.value.rows(part..<part + 1).reshaped([bias.value.shape[1]])
  }

  var settled: SplitLinear {
    var merged = self
    (merged.matrix, merged.bias.value) = (matrix.settled, bias(nil).detached)
    return merged
  }

  mutating func visit(_ visitor: Visitor) {
    matrix.visit(visitor)
    visitor("bias", &bias)
  }
}
