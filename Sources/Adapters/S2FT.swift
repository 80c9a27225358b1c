import Autodiff
import Networks
import Weights

/// Structured sparse fine-tuning: train whole channels of the matrix itself, and no other.
///
///     y = W x + b + V x[idx]            side in:  input columns idx learn, V [outputs, s]     (Yang et al. 2024, §3)
///     y = W x + b;  y[idx] += V x       side out: output rows idx learn, V [s, inputs]
///
/// `V` starts at zero, so training starts at the base model, and folding adds it to `W[:, idx]` or `W[idx, :]`: no other
/// entry changes. Trains s · outputs or s · inputs numbers. On the input side only the s chosen channels of x are kept
/// for the way back, which is why `o_proj` and `down_proj` (and GPT-2's `c_proj`) train input columns and all other
/// layers output rows, unless `side` says otherwise.
///
/// Departures: the authors permute coupled matrices so that the chosen channels lie side by side; here they are gathered
/// where they lie, which computes the same, leaves the checkpoint's order alone and makes grouped-query attention
/// nothing special (a unit of `o_proj` is a query head, one of `v_proj` a key head). The authors' efficient code trains
/// rows where their paper, and this, train columns.
///
/// Paper: <https://arxiv.org/abs/2412.06289>
public struct S2FT: Adapter {
  /// What recipes call it.
  public static let method = "s2ft"
  /// Always.
  public static func merging(_ configuration: Configuration) -> Merging { .exact }
  /// `side`, and the keys of ``S2FTSelection``.
  public static let options = ["side"] + S2FTSelection.options

  /// Which side of the matrix its channels are.
  public enum Side: String, Sendable, CaseIterable {
    /// Input channels: columns of the matrix.
    case input = "in"
    /// Output channels: its rows.
    case output = "out"
  }

  /// What can be chosen about it.
  public struct Configuration: Sendable, Equatable {
    /// The side whose channels learn.
    public var side: Side

    /// A configuration.
    public init(side: Side) { self.side = side }
  }

  /// What `settings` choose for the layer named `site`.
  public static func configuration(_ settings: AdapterSettings, at site: String) throws -> Configuration {
    for (key, isSet) in [
      ("dropout", settings.dropout > 0), ("lora_bias", settings.hasBias), ("rslora", settings.isRankStabilised),
      ("init", settings.start != "default"),
    ] where isSet {
      throw GraftError(
        "'\(key)' means nothing to 's2ft', which trains channels of the matrix itself; remove it",
        key: key)
    }
    return Configuration(side: try side(settings, at: site))
  }

  /// The side whose channels learn at `site`.
  static func side(_ settings: AdapterSettings, at site: String) throws -> Side {
    let chosen = try settings.option("side", "auto", expected: "auto, in or out") {
      $0 == "auto" || Side(rawValue: $0) != nil ? $0 : nil
    }
    let readsUnits = ["o_proj", "down_proj", "c_proj"].contains { site == $0 || site.hasSuffix("." + $0) }
    return Side(rawValue: chosen) ?? (readsUnits ? .input : .output)
  }

  /// What the selection has to know about the layers.
  public static func statistics(_ settings: AdapterSettings) throws -> Statistics {
    try S2FTSelection(settings).score.statistics
  }

  /// The channels each site trains.
  public static func plan(
    _ sites: [Site<FrozenLinear>], _ settings: AdapterSettings, random: RandomKey
  ) throws -> [String: [Int]] {
    try S2FTSelection(settings).channels(of: sites, settings, random: random)
  }

  /// The side its channels are on.
  public let side: Side
  /// The channels that learn, rising, as the checkpoint numbers them.
  public let channels: [Int]
  /// How many there are to choose from.
  public let channelCount: Int
  /// `V`; nil where no channel was chosen.
  var delta: Parameter?

  /// A fresh adapter, which changes nothing.
  public init(on base: inout FrozenLinear, _ configuration: Configuration, _ setup: Setup) throws {
    guard let channels = setup.channels else {
      throw GraftError("no channels were chosen for '\(setup.site)'; was the adapter made for other layers?")
    }
    let count = configuration.side == .input ? base.inputs : base.outputs
    // An adapter file may name any numbers.
    guard zip(channels, channels.dropFirst()).allSatisfy(<), channels.allSatisfy({ $0 >= 0 && $0 < count }) else {
      throw GraftError(
        "the channels of '\(setup.site)' must rise and lie in 0..<\(count); was the adapter trained on another model?")
    }
    let shape: Shape =
      configuration.side == .input ? [base.outputs, channels.count] : [channels.count, base.inputs]
    self.init(side: configuration.side, channels: channels, of: count, delta: channels.isEmpty ? nil : .zeros(shape))
  }

  init(side: Side, channels: [Int], of channelCount: Int, delta: Tensor?) {
    (self.side, self.channels, self.channelCount) = (side, channels, channelCount)
    self.delta = delta.map { Parameter($0) }
  }

  /// The layer's output with its chosen channels changed.
  public func callAsFunction(_ x: Tensor, over base: FrozenLinear, _ context: Context) -> Tensor {
    guard let delta else { return base(x) }
    let bias = base.bias?.value
    switch side {
    case .input: return linear(x, base.weight, bias: bias, columns: channels, delta: delta.value)
    case .output: return linear(x, base.weight, bias: bias, rows: channels, delta: delta.value)
    }
  }

  /// The base with `V` added to its chosen columns or rows; every other entry keeps its bits.
  public func merged(into base: FrozenLinear, _ context: Context) -> FrozenLinear {
    var matrix = ChannelMatrix(base.weight.unpacked())
    matrix.add(self)
    var folded = base
    folded.weight = FrozenWeight(matrix.tensor)
    return folded
  }

  /// Presents the change.
  public mutating func visit(_ visitor: Visitor) { visitor("s2ft_delta", &delta) }
}

extension S2FT: LowRankChange {
  /// The same change as a product of two thin matrices, exactly: one picks the channels, the other is `V`. Its rank is
  /// the number of channels.
  public var lowRankFactors: LowRankFactors? {
    guard let delta = delta?.value.detached else { return nil }
    let picks = Tensor(
      channels.flatMap { channel in (0..<channelCount).map { $0 == channel ? 1 : 0 } },
      shape: [channels.count, channelCount])
    return side == .input
      ? LowRankFactors(a: picks, b: delta, scale: 1) : LowRankFactors(a: delta, b: picks.transposed, scale: 1)
  }

  /// The same; a change of zero where no channel was chosen, so that a layer left alone is exact too.
  public func lowRankFactors(over base: FrozenLinear, _ context: Context) -> LowRankFactors? {
    lowRankFactors ?? LowRankFactors(a: .zeros([1, base.inputs]), b: .zeros([base.outputs, 1]), scale: 1)
  }
}
