import Autodiff
import Networks
import Weights

/// QLLM: a low-rank correction of a layer whose input is rounded, with the input's widest channels taken apart first.
///
///     y = (Ŵ + s B A) x' + b,   x' = D q(D⁻¹ P x)                                          (Liu et al. 2024, §4)
///
/// `Ŵ` is the base as it is, rounded by the recipe's `quantization` or not; q rounds each token to `activation_bits` on a
/// grid of its own. D and P are the ``ChannelReassembly`` that ``ReassemblySearch`` finds on calibration data: a channel
/// of huge range is divided by its number of copies T before rounding, and as many channels that are alike are averaged.
/// Copies and averages go back to their own channels, which is the same as repeating and adding up columns of Ŵ and A,
/// and leaves every byte of the base alone. Gradients pass the rounding unchanged, see `roundedRows`.
///
/// `A` `[r, inputs]` and `B` `[outputs, r]` start as LoRA's do, so that training starts at the rounded model, and train
/// r (inputs + outputs) numbers. The authors take r = 4 and α = 1, and learn block by block: objective `blocks`, with
/// norms and biases named beside (`modules_to_save`, `bias`).
///
/// No matrix rounds its input, so the adapter stays beside its base. With `activation_bits: 16` nothing is rounded and
/// nothing reassembled: what is left is a plain LoRA, which folds and is stored as one. 8 bits unless given, since a
/// rounding is what the family is asked for, and 8 cost little.
///
/// Departures: the products inside attention are not rounded; the authors fold the correction before they round the
/// weights for use, so that it is rounded itself, where here it is used as it was trained; the last norm gets no bias.
///
/// Paper: <https://arxiv.org/abs/2310.08041>
public struct QLLM: Adapter {
  /// What recipes call it.
  public static let method = "qllm"
  /// Where the input is not rounded.
  public static func merging(_ configuration: Configuration) -> Merging {
    guard let bits = configuration.bits else { return .exact }
    return .never(
      because:
        "it rounds its layers' inputs to \(bits) bits, which no matrix does; train with activation_bits: 16 for a correction that folds"
    )
  }
  /// `activation_bits` (4, 6, 8 or 16), `reassembly_ratio` (0.2), `reassembly_metric` (`exact` or `code`) and
  /// `reassembly_skip` (ends of names: the output of attention).
  public static let options = ["activation_bits", "reassembly_ratio", "reassembly_metric", "reassembly_skip"]

  /// What can be chosen about it.
  public struct Configuration: Sendable {
    /// Rank, scale and dropout of the correction.
    public var lora: LoRA.Configuration
    /// To how many bits inputs are rounded; nil for not at all.
    public var bits: Int?
    /// How channels are reassembled; nil for not at all.
    var search: ReassemblySearch?
    /// The ends of the names of layers whose input keeps its channels.
    var skipped: [String]
  }

  /// What `settings` choose for the layer named `site`.
  public static func configuration(_ settings: AdapterSettings, at site: String) throws -> Configuration {
    guard !settings.hasBias else { throw GraftError("'qllm' has no bias of its own; remove lora_bias") }
    let lora = try LoRA.configuration(settings, at: site)
    guard lora.start.isBlank else {
      throw GraftError("'qllm' corrects the base as it is; init '\(settings.start)' is not known to it")
    }
    let bits = try settings.option("activation_bits", 8, expected: "4, 6, 8 or 16") { text in
      Int(text).flatMap { [4, 6, 8, 16].contains($0) ? $0 : nil }
    }
    let ratio = try settings.option("reassembly_ratio", bits == 16 ? 0 : 0.2, expected: "a number from 0 to 0.5") {
      text in Double(text).flatMap { (0...0.5).contains($0) ? $0 : nil }
    }
    guard bits < 16 || ratio == 0 else {
      throw GraftError(
        "reassembly_ratio \(ratio) makes inputs easier to round, and with activation_bits: 16 they are not rounded; remove one of the two",
        key: "reassembly_ratio")
    }
    let metric = try settings.option("reassembly_metric", .exact, expected: "exact or code") {
      ReassemblySearch.Metric(rawValue: $0)
    }
    let skipped = try settings.option(
      "reassembly_skip", ["o_proj", "attn.c_proj"], expected: "a list of ends of layers' names"
    ) { $0.split { $0 == "," || $0 == " " }.map(String.init) }
    return Configuration(
      lora: lora, bits: bits == 16 ? nil : bits,
      search: ratio > 0 ? ReassemblySearch(ratio: ratio, metric: metric) : nil, skipped: skipped)
  }

  /// Samples of the inputs, where channels are to be reassembled.
  public static func statistics(_ settings: AdapterSettings) throws -> Statistics {
    try configuration(settings, at: "").search == nil ? [] : .samples
  }

  /// The reassembly of each site, as ``ChannelReassembly`` writes it; nothing where there is to be none.
  public static func plan(
    _ sites: [Site<FrozenLinear>], _ settings: AdapterSettings, random: RandomKey
  ) throws -> [String: [Int]] {
    let configuration = try configuration(settings, at: "")
    guard let search = configuration.search, let bits = configuration.bits else { return [:] }
    var found: [String: [Int]] = [:]
    for site in sites {
      guard !configuration.skipped.contains(where: { GraftPlan.Targets.ends(site.name, $0) }) else {
        found[site.name] = []
        continue
      }
      guard let samples = site.statistics?.samples, let largest = site.statistics?.largestMagnitude else {
        throw GraftError(
          "the channels of layer '\(site.name)' are reassembled by its inputs, and these were not measured; set reassembly_ratio: 0 to leave them as they are",
          key: "reassembly_ratio")
      }
      found[site.name] =
        search.best(
          bits: bits, weight: site.base.weight, original: site.original, samples: samples, largest: largest
        ).numbers
    }
    return found
  }

  private var lora: LoRA
  /// What is done to the layer's input.
  let rounding: InputRounding

  /// A fresh correction, which changes nothing but for the rounding of the input.
  ///
  /// - Throws: a ``GraftError`` when no reassembly was found for the layer, or one that does not fit it.
  public init(on base: inout FrozenLinear, _ configuration: Configuration, _ setup: Setup) throws {
    lora = try LoRA(on: &base, configuration.lora, setup)
    var reassembly = ChannelReassembly.identity(base.inputs)
    if configuration.search != nil {
      guard let numbers = setup.channels else {
        throw GraftError(
          "no reassembly was stored for '\(setup.site)'; was the adapter made for other layers?",
          key: "reassembly_ratio")
      }
      reassembly = try ChannelReassembly(numbers: numbers, channels: base.inputs, at: setup.site)
    }
    rounding = InputRounding(bits: configuration.bits, reassembly)
  }

  /// The layer's output on the rounded input, with the correction.
  public func callAsFunction(_ x: Tensor, over base: FrozenLinear, _ context: Context) -> Tensor {
    lora(rounding(x), over: base, context)
  }

  /// The base with `s B A` added to its weight; of an adapter that rounds, the part that is a matrix.
  public func merged(into base: FrozenLinear, _ context: Context) -> FrozenLinear { lora.merged(into: base, context) }

  /// A plain LoRA where nothing is rounded.
  public var stored: any Adapter<FrozenLinear> { rounding.bits == nil ? lora : self }
  /// Plain LoRA where nothing is rounded.
  public static func stored(_ settings: AdapterSettings) -> (method: String, settings: AdapterSettings) {
    guard let configuration = try? configuration(settings, at: ""), configuration.bits == nil else {
      return (method, settings)
    }
    var plain = settings
    for key in options { plain.options[key] = nil }
    return (LoRA.method, plain)
  }

  /// Presents the factors under PEFT's names.
  public mutating func visit(_ visitor: Visitor) { lora.visit(visitor) }
}

extension QLLM: LowRankChange {
  /// The correction's, where it is all there is.
  public var lowRankFactors: LowRankFactors? { rounding.bits == nil ? lora.lowRankFactors : nil }
}
