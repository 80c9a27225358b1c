import Autodiff
import Networks
import Weights

/// QA-LoRA: a low-rank change that a packed base can take in without being rounded again.
///
///     y = W x + b + s B A pool(dropout(x))       pool: the mean of each g adjacent inputs      (Xu et al. 2023, §3.3)
///
/// Within a group of g inputs the change of an output is one number, s (B A)ₒ,ₖ / g, so where W is packed as
/// `scale × code + offset` in groups of g, folding moves offsets and leaves every code and scale as it is: exactly where
/// offsets are stored in single precision (`int4-g64-f32`), to a bfloat16 number's 1/256 where they are not.
///
/// `g` is the packing's own group where it has offsets, else 32, unless `group` says otherwise. `A` `[r, inputs / g]`
/// starts evenly from ±1/√(inputs / g), `B` `[outputs, r]` at zero. Trains r (inputs / g + outputs) numbers. As plain LoRA it
/// is A with each column g times over g. With `pool: scaled` the mean is multiplied by the number of groups, which is what
/// PEFT computes where it is told `use_qalora`; with a `group` too, it is stored as PEFT stores it.
///
/// Paper: <https://arxiv.org/abs/2309.14717>
public struct QALoRA: LowRankChange {
  /// What recipes call it.
  public static let method = "qalora"
  /// Always; see ``FrozenWeight/repacked(_:)`` for packed bases.
  public static func merging(_ configuration: Configuration) -> Merging { .exact }
  /// `group`, `pool`.
  public static let options = ["group", "pool"]

  /// What can be chosen about it.
  public struct Configuration: Sendable, Equatable {
    /// Rank, scale and dropout.
    public var lora: LoRA.Configuration
    /// Inputs whose mean is read; nil for the packing's own group.
    public var group: Int?
    /// Whether the mean is multiplied by the number of groups.
    public var isScaled = false
  }

  /// How a group's inputs are read.
  enum Pool: String { case mean, scaled }

  /// What `settings` choose for the layer named `site`.
  public static func configuration(_ settings: AdapterSettings, at site: String) throws -> Configuration {
    guard !settings.hasBias else { throw GraftError("'qalora' has no bias of its own; remove lora_bias") }
    guard settings.start == "default" else {
      throw GraftError("'qalora' starts at zero; init '\(settings.start)' is not known to it", key: "init")
    }
    let group = try settings.option("group", Int?.none, expected: "a number of inputs from 1") { text in
      Int(text).flatMap { $0 > 0 ? .some($0) : nil }
    }
    let pool = try settings.option("pool", Pool.mean, expected: "mean or scaled") { Pool(rawValue: $0) }
    return Configuration(lora: try LoRA.configuration(settings, at: site), group: group, isScaled: pool == .scaled)
  }

  private var a: Parameter, b: Parameter
  private let scale: Float, dropout: Float
  private let group: Int
  private let site: String

  /// A fresh adapter, which changes nothing.
  ///
  /// - Throws: a ``GraftError`` when the group does not divide the layer's inputs.
  public init(on base: inout FrozenLinear, _ configuration: Configuration, _ setup: Setup) throws {
    group = configuration.group ?? base.weight.offsetGroup ?? 32
    guard base.inputs % group == 0 else {
      throw GraftError("groups of \(group) do not divide the \(base.inputs) inputs of '\(setup.site)'", key: "group")
    }
    let pooled = base.inputs / group, rank = configuration.lora.rank, bound = 1 / Float(pooled).squareRoot()
    a = Parameter(.uniform([rank, pooled], in: -bound..<bound, from: setup.random["lora_A"]), role: .factorA)
    b = Parameter(.zeros([base.outputs, rank]), role: .factorB)
    scale = configuration.lora.scale * (configuration.isScaled ? Float(pooled) : 1)
    (dropout, site) = (configuration.lora.dropout, setup.site)
  }

  /// The layer's output with the branch that reads means.
  public func callAsFunction(_ x: Tensor, over base: FrozenLinear, _ context: Context) -> Tensor {
    let mask = dropoutMask(x.shape, dropout, context.random?[site]), tokens = x.shape.rows
    let dropped = mask.map { x * $0() } ?? x
    let means = dropped.reshaped([tokens * (base.inputs / group), group]).rowMeans
      .reshaped([tokens, base.inputs / group])
    return base(x) + scale * linear(linear(means, weight: a.value), weight: b.value)
  }

  /// The same as plain LoRA.
  public var lowRankFactors: LowRankFactors? {
    let pooled = a.value.shape[1], values = a.value.values
    let spread = (0..<a.value.shape[0]).flatMap { row in
      (0..<pooled * group).map { values[row * pooled + $0 / group] / Float(group) }
    }
    return LowRankFactors(
      a: Tensor(spread, shape: [a.value.shape[0], pooled * group]), b: b.value.detached, scale: scale)
  }

  /// The base with the change added; every number of a group by the same.
  public func merged(into base: FrozenLinear, _ context: Context) -> FrozenLinear {
    lowRankFactors.map { base.adding($0.product) } ?? base
  }

  /// Presents the factors.
  public mutating func visit(_ visitor: Visitor) {
    visitor("lora_A.weight", &a)
    visitor("lora_B.weight", &b)
  }
}

extension FrozenWeight {
  /// The adjacent inputs that share an offset; nil where there are no offsets.
  fileprivate var offsetGroup: Int? {
    guard let layout = packing.layout, layout.zero == .offset, layout.axis == .input else { return nil }
    return layout.groupLength(columns)
  }
}
