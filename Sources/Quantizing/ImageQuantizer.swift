import Adapters
import Autodiff
import Files
import Networks
import Weights

/// A layer that packing a network left as it was, and why.
public struct KeptLayer: Sendable, Equatable {
  /// Its name.
  public let name: String
  /// How it is packed, before as now.
  public let packing: String
  /// Its bytes.
  public let bytes: Int
  /// Why it was left: one sentence without its end.
  public let reason: String
}

/// Packing the convolutions and linear layers of a network of images, by rounding alone.
///
/// A filter is a row of `inputs / groups · height · width` numbers, which a packing's blocks may not divide: the nine of a
/// depthwise filter, the 27 or 147 of a first one. Such layers stay as they are and are told, as is the output layer, which
/// every task replaces.
public struct ImageQuantizer: Sendable {
  /// What is to be done.
  public let plan: QuantizationPlan

  /// A quantiser of that plan.
  ///
  /// - Throws: a ``QuantizationError`` for choices that do not go together, or that need a text to measure layers on.
  public init(_ plan: QuantizationPlan) throws {
    try plan.check()
    let remedy = "networks of images are packed by rounding, with --clip weights at most"
    if let method = plan.measuringMethod {
      throw QuantizationError(
        "\(method) measures what layers make of a text, and a network of images reads none", remedy: remedy)
    }
    if plan.embedding != nil {
      throw QuantizationError("a network of images has no embedding table to pack", remedy: "leave --embedding out")
    }
    self.plan = plan
  }

  /// The network with its layers packed, and what was left as it was.
  ///
  /// One layer at a time is in memory in float. `report` is called with each packed layer and the number of its stage.
  ///
  /// - Throws: a ``QuantizationError`` when layers are packed already, a name to skip is none, or nothing can be packed; a
  ///   ``FileError`` naming the tensor whose numbers the packing does not take.
  public func pack(
    _ stored: StoredImageNetwork, report: (_ layer: LayerReport, _ stage: Int) throws -> Void
  ) throws -> (network: any ImageNetwork, kept: [KeptLayer]) {
    var network = stored.network, kept: [KeptLayer] = []
    let stages = stages(network)
    try check(network, stages)
    func keep(_ name: String, _ weight: FrozenWeight, _ reason: String) {
      kept.append(KeptLayer(name: name, packing: weight.packing.name, bytes: weight.byteCount, reason: reason))
    }
    func pack(_ name: String, _ weight: inout FrozenWeight) throws {
      // A head that was made of nothing is no part of the file.
      guard let tensor = stored.tensorNames[name] else { return }
      guard let stage = stages[name] else { return keep(name, weight, "it is the output layer") }
      if let reason = reason(name, weight) { return keep(name, weight, reason) }
      let original = weight.unpacked(), bytes = weight.byteCount, made: FrozenWeight
      do { made = try LayerQuantizer(plan: plan)(original, nil, name: name) } catch let error as PackingError {
        throw FileError(stored.file.path, at: "tensor '\(tensor)'", "\(error)")
      }
      weight.forgetPages()
      weight = made
      try report(LayerReport(name, made, instead: original, nil, bytesBefore: bytes), stage)
    }
    try network.forEachConvolution(throwing: { try pack($0, &$1.base.weight) })
    try network.forEachLinear(throwing: { try pack($0, &$1.base.weight) })
    return (network, kept)
  }

  /// The stage of each layer but the head.
  private func stages(_ network: any ImageNetwork) -> [String: Int] {
    var copy = network, stages: [String: Int] = [:]
    copy.forEachConvolution { name, _ in stages[name] = network.stage(of: name) }
    copy.forEachLinear { name, _ in stages[name] = network.stage(of: name) }
    return stages
  }

  /// Why a layer that is not the head is left as it is; nil where it is packed.
  private func reason(_ name: String, _ weight: FrozenWeight) -> String? {
    if plan.isSkipped(name) { return "it is to be skipped" }
    do { try plan.packing.check(rows: weight.rows, columns: weight.columns) } catch let error as PackingError {
      return error.problem
    } catch { return "\(error)" }
    return nil
  }

  /// Refuses what would give another network than was asked for, before anything is done.
  private func check(_ network: any ImageNetwork, _ stages: [String: Int]) throws {
    var copy = network, layers: [(name: String, weight: FrozenWeight)] = []
    copy.forEachConvolution { layers.append(($0, $1.base.weight)) }
    copy.forEachLinear { layers.append(($0, $1.base.weight)) }
    if let stray = plan.skip.first(where: { skip in !layers.contains { $0.name.isNamed(skip) } }) {
      throw QuantizationError(
        "no layer is to be skipped by the name '\(stray)'",
        remedy: "give a name or the end of one, as 'graft inspect --linears' lists them")
    }
    layers.removeAll { stages[$0.name] == nil || plan.isSkipped($0.name) }
    if !plan.acceptsPacked, let packed = layers.first(where: { $0.weight.packing.isRounded }) {
      throw QuantizationError(
        "layer '\(packed.name)' is packed already",
        remedy: "quantise the model it was made from, or take it as it is with --requantize")
    }
    let reasons = layers.compactMap { reason($0.name, $0.weight) }
    guard reasons.count == layers.count else { return }
    guard let first = reasons.first else {
      throw QuantizationError("every layer is to be skipped", remedy: "leave out some of --skip")
    }
    let columns = Set(layers.map(\.weight.columns)).sorted()
    let sizes = columns.prefix(8).map { "\($0)" }.joined(separator: ", ") + (columns.count > 8 ? ", …" : "")
    let fitting = columns.contains { $0 % 32 == 0 }
    throw QuantizationError(
      "packing \(plan.packing.name) fits none of the \(layers.count) layers, whose rows have \(sizes) columns (the first: \(first))",
      remedy: fitting
        ? "choose one whose block divides some of them, such as int8-g32"
        : "no packing takes rows that are no multiple of 32: leave the network as it is, or write F16 or BF16")
  }
}

extension QuantizationPlan {
  /// The first of its choices that has to measure layers; nil where rounding is all.
  fileprivate var measuringMethod: String? {
    let asked: [(Bool, String)] = [
      (rounding == .gptq, "gptq"), (scaling == .awq, "awq"), (scaling != .none, "os+"), (axis == .adaptive, "adadim"),
      (searchesFormat, "fp4"), (clip == .outputs, "a choice of ranges by outputs"),
    ]
    return asked.first(where: \.0)?.1
  }
}
