import Quantizing
import Weights

/// What a quantisation is told, by a recipe or on the command line; what is nil was not said.
public struct QuantizeSettings: Sendable, Equatable {
  /// A bundle of choices that goes by one name.
  public enum Method: String, Sendable, CaseIterable {
    /// Every number to its nearest code.
    case rtn
    /// Codes column by column.
    case gptq
    /// Channels scaled by activations, then ranges chosen by outputs.
    case awq
    /// Groups along inputs or outputs, layer by layer.
    case adadim
    /// The best 4-bit float a layer.
    case fp4
    /// Outlying channels scaled down.
    case outliers = "os+"
  }

  /// Factors on channels.
  public enum Scale: String, Sendable, CaseIterable {
    /// None.
    case nothing = "none"
    /// Channels that carry much scaled up.
    case awq
    /// Channels that stand out scaled down.
    case outliers = "os+"
  }

  /// How codes are chosen.
  public enum Round: String, Sendable, CaseIterable {
    /// Each number to the nearest.
    case nearest
    /// Column by column.
    case gptq
  }

  /// The model, and the folder or GGUF file to write.
  public var model: String?, output: String?
  /// Into what matrices are packed, and the embedding table.
  public var packing: Packing?, embedding: Packing?
  /// How; the four after `method` replace its part.
  public var method: Method?, scale: Scale?, round: Round?, axis: QuantizationPlan.Axis?, clip: QuantizationPlan.Clip?
  /// Bits of the activations that `os+` has in mind; 8 unless said.
  public var activationBits: Int?
  /// Layers left as they are.
  public var skip: [String]?
  /// Whether a packed model is taken for what it stands for.
  public var requantizes: Bool?
  /// The text that layers are measured on, how many sequences of it, 128 unless said, and their length, 256.
  public var calibration: String?, sequences: Int?, length: Int?

  /// Nothing said.
  public init() {}

  /// The same, with what `other` says in place of its own.
  public func overridden(by other: QuantizeSettings) -> QuantizeSettings {
    var settings = self
    func take<Value>(_ key: WritableKeyPath<QuantizeSettings, Value?>) {
      if let value = other[keyPath: key] { settings[keyPath: key] = value }
    }
    for key in [\QuantizeSettings.model, \.output, \.calibration] { take(key) }
    for key in [\QuantizeSettings.packing, \.embedding] { take(key) }
    for key in [\QuantizeSettings.activationBits, \.sequences, \.length] { take(key) }
    take(\.method)
    take(\.scale)
    take(\.round)
    take(\.axis)
    take(\.clip)
    take(\.skip)
    take(\.requantizes)
    return settings
  }

  /// The plan that follows.
  ///
  /// - Throws: a `QuantizationError` when no packing was named.
  public func plan() throws -> QuantizationPlan {
    guard let packing else {
      throw QuantizationError("no packing was chosen", remedy: "name one, such as int4-g64; see 'graft ls packings'")
    }
    var plan = QuantizationPlan(packing)
    let outliers = QuantizationPlan.Scaling.outliers(bits: activationBits ?? 8)
    (plan.acceptsPacked, plan.skip, plan.embedding) = (requantizes ?? false, skip ?? [], embedding)
    switch method ?? .rtn {
    case .rtn: break
    case .gptq: plan.rounding = .gptq
    case .awq:
      plan.scaling = .awq
      if packing.layout != nil { plan.clip = .outputs }
    case .adadim: plan.axis = .adaptive
    case .fp4: plan.searchesFormat = true
    case .outliers: plan.scaling = outliers
    }
    switch scale {
    case nil: break
    case .nothing: plan.scaling = .none
    case .awq: plan.scaling = .awq
    case .outliers: plan.scaling = outliers
    }
    if let round { plan.rounding = round == .gptq ? .gptq : .nearest }
    plan.axis = axis ?? plan.axis
    plan.clip = clip ?? plan.clip
    return plan
  }

  /// The text to measure on, where there is one.
  public var calibrationText: CalibrationText? {
    calibration.map { CalibrationText($0, sequences: sequences ?? 128, length: length ?? 256) }
  }
}
