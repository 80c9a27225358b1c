import Adapters
import Networks

/// One way of learning a sequence: a strategy, what it puts into the body, and what its results are called.
public struct SequenceMethod: Sendable, Equatable {
  /// What its folder and its rows are called.
  public var name: String
  /// How tasks are learned.
  public var strategy: SequenceStrategy
  /// What learns in the body; nil for the strategy's own.
  public var adapter: GraftPlan?

  /// A way of learning, called as its strategy unless named.
  public init(_ strategy: SequenceStrategy, adapter: GraftPlan? = nil, name: String? = nil) {
    (self.strategy, self.adapter, self.name) = (strategy, adapter, name ?? strategy.rawValue)
  }

  /// What it puts into the body, the strategy's own included; nil for channel-wise filters, and where nothing is put there.
  public var plan: GraftPlan? {
    guard strategy.reprograms, strategy != .clr else { return nil }
    if let adapter { return adapter }
    switch strategy {
    case .mhr:
      var settings = AdapterSettings(rank: 8, alpha: 8)
      settings.options = ["skills": "4"]
      return GraftPlan(method: MHR.method, settings: settings)
    case .adapter: return GraftPlan(method: LoRA.method)
    case .full: return GraftPlan(method: Full.method)
    // Bottlenecks beside every feed-forward branch, as both methods' authors have them.
    case .mos, .ear: return GraftPlan(method: Bottleneck.method, settings: AdapterSettings(rank: 16, alpha: 1.6))
    default: return nil
    }
  }

  /// Whether an adapter that a recipe has for all is meant for it: one that routes by task only for who routes.
  public func takes(_ common: GraftPlan?) -> Bool {
    guard let common, strategy.takesAdapter else { return false }
    return strategy != .mhr || common.method == MHR.method
  }

  /// Whether its adapter has to be told the task.
  var routesByTask: Bool { plan?.method == MHR.method }

  /// Refuses what cannot be learned in a scenario.
  ///
  /// - Throws: a `GraftError` that says why.
  public func check(in scenario: Scenario) throws {
    func refusal(_ text: String) -> GraftError { GraftError("strategy '\(name)' \(text)", key: "strategies") }
    if let adapter, !strategy.takesAdapter {
      throw refusal(
        "puts no adapter of type '\(adapter.method)' into the body; use strategy: adapter, or remove adapter")
    }
    if strategy == .mhr, !routesByTask {
      throw refusal("routes by task and needs an adapter of type '\(MHR.method)', not '\(plan?.method ?? "")'")
    }
    switch scenario {
    case .task where strategy.infersTask:
      throw refusal("finds the task by itself, which scenario 'task' tells; set scenario: class")
    case .domain where strategy == .mos:
      throw refusal("tells tasks apart by their classes, which are the same in scenario 'domain'; use ear")
    case .class where [.clr, .adapter].contains(strategy) || routesByTask,
      .domain where [.clr, .adapter].contains(strategy) || routesByTask:
      throw refusal("has to be told the task, which scenario '\(scenario.rawValue)' does not; use mos or ear")
    default: break
    }
    if strategy == .mos, let plan, try Catalogue.consistency(of: plan.method, plan.settings) != nil {
      throw refusal("merges adapters of whole matrices; '\(plan.method)' is trained in modules: set splits: 1")
    }
  }

  /// A text that changes whenever something else would be learned.
  public var mark: String {
    guard let plan else { return strategy.rawValue }
    let s = plan.settings
    func sorted(_ pairs: [String: some Any]) -> String {
      pairs.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
    }
    return """
      \(strategy.rawValue) \(plan.method) \(s.rank) \(s.alpha) \(s.isRankStabilised) \(s.dropout) \(s.hasBias) \(s.start) \
      \(sorted(s.rankPattern)) \(sorted(s.alphaPattern)) \(sorted(s.options)) \(plan.targets) \(plan.layers) \(plan.bias) \
      \(plan.modulesToSave)
      """
  }
}
