import Files
import Networks
import Weights

/// The ways an adapter can be shipped with a packed base, compared on one text.
public struct MergeModes: Sendable {
  /// What a mode has to reach.
  public var bounds = MergeBounds()
  /// What layers are raised to that would lose their change.
  public static let raised = Packing.q8_0

  /// A comparison by the default bounds.
  public init() {}

  /// One of them.
  public struct Mode: Sendable {
    /// `beside`, `full`, `requantize` or `mixed`.
    public let name: String
    /// Bytes of all weights, the adapter's included where it stays beside.
    public let bytes: Int
    /// The comparison with base and adapter; nil where these are what is shipped.
    public let proof: MergeProof?
    /// How much of each changed layer is there.
    public let layers: [LayerSurvival]
    /// The layers in another packing than the base had.
    public let raised: [String: Packing]
    /// Whether the bounds hold.
    public let holds: Bool

    /// The job that writes it; nil where nothing is merged.
    public func job(_ bounds: MergeBounds) -> MergeJob? {
      guard proof != nil else { return nil }
      var job = MergeJob(format: name == "full" ? .full : .requantize)
      (job.bounds, job.raising) = (bounds, raised)
      return job
    }
  }

  /// Every mode of the adapter that `model` carries, on `probe`.
  ///
  /// - Throws: as folding does, and a ``FileError`` when there is nothing to compare on or `model` does not compute
  ///   finite numbers.
  public func compare(_ model: LoadedModel, probe: [[Int32]]) throws -> [Mode] {
    try ProbeText.check(probe, on: model)
    var modes = [
      Mode(
        name: "beside", bytes: Self.bytes(model.network), proof: nil, layers: [], raised: [:], holds: true),
      try mode("full", try model.folded(.full), model, probe),
    ]
    guard model.isPacked else { return modes }
    let plain = try mode("requantize", try model.folded(.requantize), model, probe)
    modes.append(plain)
    if !plain.holds, let mixed = try mixed(model, plain, probe) { modes.append(mixed) }
    return modes
  }

  /// The smallest of them that is a merged model and holds.
  public static func best(of modes: [Mode]) -> Mode? {
    modes.filter { $0.holds && $0.proof != nil }.min { $0.bytes < $1.bytes }
  }

  /// The fewest layers in eight bits with which the bounds hold: those first whose change loses most, by halving; nil
  /// where none lies in fewer. Layers that lie as floats lose nothing and stay.
  private func mixed(_ model: LoadedModel, _ plain: Mode, _ probe: [[Int32]]) throws -> Mode? {
    let raisable = model.raisable(to: Self.raised)
    let order = plain.layers.filter { raisable.contains($0.name) }.sorted { ($0.loss, $1.name) > ($1.loss, $0.name) }
      .map(\.name)
    func attempt(_ count: Int) throws -> Mode {
      let raised = Dictionary(uniqueKeysWithValues: order.prefix(count).map { ($0, Self.raised) })
      return try mode("mixed", try model.folded(.requantize, raising: raised), model, probe, raised)
    }
    guard !order.isEmpty else { return nil }
    var low = 0, high = order.count, best = try attempt(high)
    guard best.holds else { return best }
    while high - low > 1 {
      let middle = (low + high) / 2, found = try attempt(middle)
      if found.holds { (best, high) = (found, middle) } else { low = middle }
    }
    return best
  }

  private func mode(
    _ name: String, _ folded: FoldedModel, _ model: LoadedModel, _ probe: [[Int32]], _ raised: [String: Packing] = [:]
  ) throws -> Mode {
    let proof = MergeProof(reference: model.network, candidate: folded.network, on: probe)
    let report = MergeReport(path: "", format: .requantize, proof: proof, layers: folded.layers, bounds: bounds)
    return Mode(
      name: name, bytes: Self.bytes(folded.network), proof: proof, layers: folded.layers, raised: raised,
      holds: report.holds)
  }

  private static func bytes(_ network: any TextNetwork) -> Int {
    var copy = network, total = 0
    copy.forEachLinear { total += $1.base.weight.byteCount }
    copy.forEachEmbedding { total += $1.base.weight.byteCount }
    copy.forEachParameter { total += 4 * $1.value.count }
    return total
  }

  /// The comparison as lines of text.
  public static func text(_ modes: [Mode]) -> String {
    let head = ["mode", "weights", "KL", "same top token", "survived, min", "median", "holds"]
    let rows = modes.map { mode -> [String] in
      let survivals = mode.layers.map(\.survival).sorted()
      let change =
        survivals.isEmpty ? ["", ""] : [percent(survivals[0]), percent(survivals[survivals.count / 2])]
      let name = mode.raised.isEmpty ? mode.name : "\(mode.name), \(mode.raised.count) layers in \(raised.name)"
      return [
        name, megabytes(mode.bytes), mode.proof.map { number($0.divergence) } ?? "0",
        percent(mode.proof?.agreement ?? 1),
      ] + change + [mode.holds ? "yes" : "no"]
    }
    return alignedColumns([head] + rows, left: 1).map { $0.joined(separator: "   ") }.joined(separator: "\n")
  }

  /// The comparison as JSON, one object a mode.
  public static func json(_ modes: [Mode]) -> JSON {
    .array(
      modes.map { mode in
        .object([
          "mode": .string(mode.name), "bytes": .integer(mode.bytes), "holds": .bool(mode.holds),
          "kl": .finite(mode.proof?.divergence ?? 0), "top1_agreement": .finite(mode.proof?.agreement ?? 1),
          "min_survival": mode.layers.map(\.survival).min().map { .finite($0) } ?? .null,
          "raised": .array(mode.raised.keys.sorted().map { .string($0) }),
        ])
      })
  }
}

extension LayerSurvival {
  /// How much of the layer's size its lost change is.
  fileprivate var loss: Double { abs(1 - survival) * relativeChange }
}
