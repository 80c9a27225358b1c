import Autodiff
import Networks
import Weights

/// Channel-wise lightweight reprogramming: a small filter on each channel behind a frozen convolution.
///
///     u = W ⊛ x + b                    v_c = K_c ⊛ u_c                              (Ge et al. 2023)
///     gated:                           v_c = u_c + a_c (K_c ⊛ u_c)
///
/// `K` `[channels, 1, 3, 3]` sees one channel each, with stride 1 and one row of zeros around the map. It starts as the
/// identity, so training starts at the frozen network; the gated form starts there by a gate `a` `[channels]` of zero, its
/// `K` drawn evenly from ±1/3. Which convolutions get a filter is the variant: every one (`full`, `gated`); all but those
/// of size 1 × 1 (`reduced`, the paper's own); all, but those of size 1 × 1 one number a channel (`scalar`). Trains 9
/// numbers a channel, 1 a channel behind a 1 × 1 convolution in the scalar form; a gate adds 1.
///
/// One adapter holds one task; the next task begins with a fresh one on the same base, so nothing is forgotten. With it
/// belong the task's batch norms, whose running moments the authors keep a task as well, and its output layer.
///
/// A number a channel folds into the convolution. A 3 × 3 filter does not: the filter sees zeros around the map, and a
/// single larger convolution would see what W makes of the surroundings. ``fused(weight:bias:moments:epsilon:)`` folds
/// it into the batch norm that follows instead.
///
/// The authors also add 10⁻⁵ Σ ‖p‖ to the loss, the norms not squared, which pulls `K` to zero and not to the identity; we
/// leave it out, and advise `weight_decay: 0` for the same reason.
///
/// Paper: <https://arxiv.org/abs/2307.11386>
public struct CLR: Adapter {
  /// What recipes call it.
  public static let method = "clr"
  /// Never as a whole: each variant has 3 × 3 filters.
  public static func merging(_ configuration: Variant) -> Merging {
    .never(
      because: "a 3 × 3 filter sees zeros around the map, where one larger convolution would see what lies beyond it")
  }
  /// Which convolutions get which filter.
  public static var options: [String] { ["variant"] }

  /// Which convolutions get which filter.
  public enum Variant: String, Sendable, CaseIterable {
    /// 3 × 3 behind every convolution.
    case full
    /// 3 × 3, and none behind convolutions of size 1 × 1.
    case reduced
    /// 3 × 3, and a number a channel behind convolutions of size 1 × 1.
    case scalar
    /// 3 × 3 behind every convolution, beside it and through a gate.
    case gated

    /// The side of the filter behind a convolution whose own filters have the given size; nil for no filter.
    public func side(behind height: Int, by width: Int) -> Int? {
      switch self {
      case .full, .gated: 3
      case .reduced: height == 1 && width == 1 ? nil : 3
      case .scalar: height == 1 && width == 1 ? 1 : 3
      }
    }

    /// The numbers trained behind a convolution of so many channels.
    public func count(channels: Int, behind height: Int, by width: Int) -> Int {
      let side = side(behind: height, by: width) ?? 0
      return channels * side * side + (self == .gated ? channels : 0)
    }
  }

  /// What `settings` choose for the convolution named `site`.
  public static func configuration(_ settings: AdapterSettings, at site: String) throws -> Variant {
    try settings.option(
      "variant", .reduced, expected: "full, reduced, scalar or gated", Variant.init(rawValue:))
  }

  /// `K`; nil where the variant leaves the convolution as it is.
  var filters: Parameter?
  /// `a`, in the gated form.
  var gate: Parameter?
  private let channels: Int

  /// A fresh adapter, which changes nothing.
  public init(on base: inout FrozenConvolution, _ configuration: Variant, _ setup: Setup) {
    channels = base.outputs
    guard let side = configuration.side(behind: base.kernelHeight, by: base.kernelWidth) else { return }
    if configuration == .gated {
      // PyTorch's start of a filter of 9 numbers: ±1/√9.
      filters = Parameter(
        .uniform([channels, 1, side, side], in: -1 / 3..<1 / 3, from: setup.random["filters"]), role: .filter)
      gate = Parameter(.zeros([channels]), role: .magnitude)
    } else {
      filters = Parameter(Self.identity(channels, side), role: .filter)
    }
  }

  /// A 1 in the middle of each channel's filter, zeros around it.
  private static func identity(_ channels: Int, _ side: Int) -> Tensor {
    var values = [Float](repeating: 0, count: channels * side * side)
    for channel in 0..<channels { values[channel * side * side + side * side / 2] = 1 }
    return Tensor(values, shape: [channels, 1, side, side])
  }

  /// What stands behind the convolution as one filter a channel, `[channels, 1, side, side]`: the gated form is
  /// (1 + a K) ⊛ u.
  var filter: Tensor? {
    guard let filters else { return nil }
    guard let gate else { return filters.value }
    let side = filters.value.shape[-1]
    return Self.identity(channels, side) + gate.value.reshaped([channels, 1, 1, 1]) * filters.value
  }

  /// The convolution's output, each channel filtered.
  public func callAsFunction(_ x: Tensor, over base: FrozenConvolution, _ context: Context) -> Tensor {
    guard let filter else { return base(x) }
    return conv2d(base(x), weight: filter, padding: Padding(filter.shape[-1] / 2), groups: channels)
  }

  /// The base with each channel's filters, and its bias, times the channel's number.
  ///
  /// - Precondition: the filter is one number a channel, or there is none.
  public func merged(into base: FrozenConvolution, _ context: Context) -> FrozenConvolution {
    guard let filter = filter?.detached else { return base }
    require(filter.shape[-1] == 1, "a 3 × 3 filter cannot be folded into a convolution")
    var folded = base
    folded.weight = FrozenWeight(base.weight.unpacked() * filter.reshaped([channels, 1]))
    folded.bias = base.bias.map { .frozen($0.value.detached * filter.reshaped([channels])) }
    return folded
  }

  /// The filter and the bias that do what this filter does together with the batch norm behind it, by fixed moments.
  ///
  ///     K′ = K γ / √(σ² + ε)        β′ = β − γ μ / √(σ² + ε)
  ///
  /// `weight`, `bias` and the moments are the norm's, `[channels]`; the filter is `[channels, 1, side, side]`, 1 × 1 where
  /// the variant has none. The filtered map then needs no norm: y = K′ ⊛ u + β′, exactly.
  public func fused(
    weight: Tensor, bias: Tensor, moments: ChannelMoments, epsilon: Float
  ) -> (filter: Tensor, bias: Tensor) {
    require(
      [weight, bias, moments.mean, moments.variance].allSatisfy { $0.count == channels },
      "a batch norm of \(weight.count) channels behind a convolution of \(channels)")
    let factor = weight.detached / (moments.variance.detached + epsilon).squareRoot
    let own = filter?.detached ?? Self.identity(channels, 1)
    return (own * factor.reshaped([channels, 1, 1, 1]), bias.detached - factor * moments.mean.detached)
  }

  /// Presents the filters and the gate.
  public mutating func visit(_ visitor: Visitor) {
    visitor("clr.weight", &filters)
    visitor("clr.gate", &gate)
  }
}
