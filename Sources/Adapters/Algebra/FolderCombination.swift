import Autodiff
import Files

/// What a combination of adapters came to.
public struct CombinationReport: Sendable {
  /// How it was made.
  public let method: Combination.Method
  /// Each layer's rank, and the share of the energy of what was aimed at that is missing; nil where there is none to
  /// state. In the order of names.
  public let layers: [(name: String, rank: Int, residual: Double?)]
  /// The share over all layers together.
  public let residual: Double?
}

extension Combination {
  /// The combination of whole adapters, layer by layer, and what it cost.
  ///
  /// A layer that only some of them change is combined from those; to `ties` an absent adapter neither votes nor
  /// counts. Where the adapters name different targets, the result names its layers one by one.
  ///
  /// - Throws: a ``GraftError`` for settings that contradict each other, a ``FileError`` for adapters of different
  ///   models.
  public func combined(
    _ adapters: [(adapter: LoRAFolder, weight: Double)]
  ) throws -> (adapter: LoRAFolder, report: CombinationReport) {
    try check()
    guard let first = adapters.first?.adapter else { throw GraftError("there are no adapters to combine") }
    if let odd = adapters.first(where: { !$0.weight.isFinite || !Float($0.weight).isFinite }) {
      throw GraftError("the weight \(odd.weight) of \(odd.adapter.path) is not finite")
    }
    var result = LoRAFolder(first.configuration, layers: [:])
    var costs: [(name: String, rank: Int, cost: Truncation?)] = []
    for kind in [\LoRAFolder.layers, \LoRAFolder.tables] {
      for site in Set(adapters.flatMap { $0.adapter[keyPath: kind].keys }).sorted() {
        let (change, cost) = try combined(try parts(adapters, kind, site), site: site)
        result[keyPath: kind][site] = change
        costs.append((site, change.rank, cost))
      }
    }
    result.configuration.plan = plan(of: adapters.map(\.adapter), names: costs.map(\.name).sorted())
    let known = costs.compactMap(\.cost)
    let energy = known.reduce(0) { $0 + $1.energy }, lost = known.reduce(0) { $0 + $1.lost }
    return (
      result,
      CombinationReport(
        method: method, layers: costs.map { ($0.name, $0.rank, $0.cost?.residual) },
        residual: known.isEmpty ? nil : energy > 0 ? lost / energy : 0)
    )
  }

  private func parts(
    _ adapters: [(adapter: LoRAFolder, weight: Double)], _ kind: KeyPath<LoRAFolder, [String: LowRankFactors]>,
    _ site: String
  ) throws -> [WeightedChange] {
    var size: (outputs: Int, inputs: Int)?
    return try adapters.compactMap { adapter, weight in
      guard let change = adapter[keyPath: kind][site] else { return nil }
      let own = (outputs: change.b.shape[0], inputs: change.a.shape[1])
      if let size, size != own {
        throw FileError(
          adapter.path, at: "layer '\(site)'",
          "is [\(own.outputs), \(own.inputs)], but [\(size.outputs), \(size.inputs)] in the adapters before it",
          remedy: "combine adapters of one base")
      }
      size = own
      return WeightedChange(change, weight: Float(weight))
    }
  }

  private func plan(of adapters: [LoRAFolder], names: [String]) -> GraftPlan {
    let plans = adapters.map(\.configuration.plan)
    var plan = plans[0]
    let agree = plans.allSatisfy {
      $0.targets == plan.targets && $0.excluded == plan.excluded && $0.layers == plan.layers
    }
    if !agree { (plan.targets, plan.excluded, plan.layers) = (.names(names), nil, .all) }
    return plan
  }
}
