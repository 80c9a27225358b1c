import Autodiff
import Files
import Networks
import Weights

/// What turning an adapter into plain LoRA came to.
public struct ConversionReport: Sendable {
  /// One layer's part in it.
  public struct Layer: Sendable {
    /// The layer's name, and the rank of its factors now.
    public let name: String, rank: Int
    /// Whether the factors are the adapter's own, not an approximation.
    public let isExact: Bool
    /// ‖Δ‖² of the change, and ‖Δ − s B A‖² of what is left out.
    public let energy: Double, lost: Double
    /// ‖Δ − s B A‖ / ‖Δ‖.
    public var error: Double { energy > 0 ? (lost / energy).squareRoot() : 0 }
  }

  /// In the order of names.
  public var layers: [Layer] = []

  /// ‖Δ − s B A‖ / ‖Δ‖ over all layers together.
  public var error: Double {
    let energy = layers.reduce(0) { $0 + $1.energy }, lost = layers.reduce(0) { $0 + $1.lost }
    return energy > 0 ? (lost / energy).squareRoot() : 0
  }

  /// Notes a change and gives what is kept of it: all, or the closest of at most `rank`.
  mutating func keep(_ change: LowRankFactors, atMost rank: Int?, _ name: String) throws -> LowRankFactors {
    guard let rank, rank < change.rank else {
      layers.append(Layer(name: name, rank: change.rank, isExact: true, energy: try change.energy(), lost: 0))
      return change
    }
    return try keep(try change.truncated(to: rank), name)
  }

  /// Notes an approximation and gives it.
  mutating func keep(_ cut: Truncation, _ name: String) throws -> LowRankFactors {
    layers.append(
      Layer(name: name, rank: cut.change.rank, isExact: false, energy: cut.energy, lost: cut.lost))
    return cut.change
  }
}

extension LoRAFolder {
  /// The same with α / rank as its scale, and no layer of a rank above `rank`.
  ///
  /// - Throws: a ``GraftError`` for a rank below 1.
  public func converted(atMost rank: Int?) throws -> (adapter: LoRAFolder, report: ConversionReport) {
    try checkRank(rank)
    var result = self
    var report = ConversionReport()
    for (name, change) in layers.sorted(by: { $0.key < $1.key }) {
      result.layers[name] = try report.keep(change, atMost: rank, name)
    }
    for (name, change) in tables.sorted(by: { $0.key < $1.key }) {
      result.tables[name] = try report.keep(change, atMost: rank, name)
    }
    return (result, report)
  }
}

extension TextNetwork {
  /// The adapters this model carries as plain LoRA over the same base, and how far that is from them.
  ///
  /// Where an adapter offers low-rank factors they are taken as they are, unless `rank` is lower. Any other becomes the
  /// change of rank `rank`, or the settings' rank, that is closest to what folding it would do:
  ///
  ///     s B A ≈ W' − W        W' the folded matrix
  ///
  /// - Throws: a ``GraftError`` for what plain LoRA cannot hold: an adapter that never folds, norms or biases that
  ///   learned, a table that is also the head; and for a task that is missing.
  public func convertedToLoRA(
    _ configuration: PEFTConfiguration, atMost rank: Int? = nil, _ context: Context = Context()
  ) throws -> (adapter: LoRAFolder, report: ConversionReport) {
    try checkRank(rank)
    let settings = configuration.plan.settings
    var copy = self
    var report = ConversionReport()
    var layers: [String: LowRankFactors] = [:], tables: [String: LowRankFactors] = [:]
    try copy.forEachLinear(throwing: { name, layer in
      guard let adapter = layer.adapter else { return }
      layers[name] = try change(of: adapter, on: layer.base, name, settings, rank, context, &report)
    })
    try copy.forEachEmbedding(throwing: { name, table in
      guard let adapter = table.adapter else { return }
      guard !tiesHead else {
        throw GraftError("'\(name)' is also the model's output head, which a LoRA of the table would not change")
      }
      tables[name] = try change(of: adapter, on: table.base, name, settings, rank, context, &report)
    })
    try checkNothingElseLearns(Set(layers.keys).union(tables.keys))
    var plan = configuration.plan
    if !plan.modulesToSave.isEmpty || plan.method == Full.method {
      (plan.targets, plan.excluded, plan.layers) = (.names((Array(layers.keys) + tables.keys).sorted()), nil, .all)
    }
    (plan.method, plan.modulesToSave) = (LoRA.method, [])
    (plan.settings.options, plan.settings.tasks, plan.settings.channels) = ([:], [], [:])
    var plain = configuration
    plain.plan = plan
    report.layers.sort { $0.name < $1.name }
    return (LoRAFolder(plain, layers: layers, tables: tables), report)
  }

  private func change<A: Adapter<FrozenLinear>>(
    of adapter: A, on base: FrozenLinear, _ name: String, _ settings: AdapterSettings, _ rank: Int?,
    _ context: Context, _ report: inout ConversionReport
  ) throws -> LowRankFactors {
    try checkFolds(A.merging(try A.configuration(settings, at: name)), A.method, name, context)
    if let offering = adapter.stored as? any LowRankChange,
      let factors = offering.lowRankFactors(over: base, context)
    {
      return try report.keep(factors, atMost: rank, name)
    }
    let folded = adapter.merged(into: base, context)
    var bias = folded.bias?.value.detached
    if let new = bias, let old = base.bias?.value.detached { bias = new == old ? nil : new - old }
    return try report.keep(
      try closest(folded.weight.unpacked() - base.weight.unpacked(), rank ?? settings.rank(at: name), bias, name),
      name)
  }

  private func change<A: EmbeddingAdapter>(
    of adapter: A, on base: FrozenEmbedding, _ name: String, _ settings: AdapterSettings, _ rank: Int?,
    _ context: Context, _ report: inout ConversionReport
  ) throws -> LowRankFactors {
    if let lora = adapter as? LoRAEmbedding {
      let factors = LowRankFactors(a: lora.a.value.detached, b: lora.b.value.detached, scale: lora.scale)
      return try report.keep(factors, atMost: rank, name)
    }
    try checkFolds(A.merging(try A.configuration(settings, at: name)), A.method, name, context)
    let delta = adapter.merged(into: base, context).weight.unpacked() - base.weight.unpacked()
    return try report.keep(try closest(delta.transposed, rank ?? settings.rank(at: name), nil, name), name)
  }

  private func closest(_ delta: Tensor, _ rank: Int, _ bias: Tensor?, _ name: String) throws -> Truncation {
    do { return try LowRankFactors.closest(to: delta, rank: rank, bias: bias) } catch {
      throw GraftError("layer '\(name)': \(error)")
    }
  }

  private func checkFolds(_ merging: Merging, _ method: String, _ name: String, _ context: Context) throws {
    switch merging {
    case .exact: return
    case .perTask:
      guard context.task == nil else { return }
      throw GraftError("'\(method)' on '\(name)' is another change for each task; say which")
    case .never(let reason): throw GraftError("'\(method)' on '\(name)' is no change of a matrix: \(reason)")
    }
  }

  /// Whatever learns besides the given layers' adapters has no place in a plain LoRA.
  private func checkNothingElseLearns(_ converted: Set<String>) throws {
    let stray = trainableParameters.map(\.name).first { name in
      !converted.contains { name.hasPrefix($0 + ".") && name != $0 + ".bias" }
    }
    if let stray { throw GraftError("the adapter also learned '\(stray)', which a plain LoRA has no place for") }
  }
}

private func checkRank(_ rank: Int?) throws {
  if let rank, rank < 1 { throw GraftError("rank \(rank): expected at least 1") }
}
