import Autodiff
import Networks

extension LanguageModel {
  /// Prepares the trained inventories of ``MHR`` adapters for the tasks that `wanted` names, in the mode it asks for, and
  /// returns the plan of what stands there now.
  ///
  /// Each task gets a row of logits: its own where `plan`, by which the adapters were trained, knows it by name, a fresh
  /// one drawn from `random` where it does not. Rows of tasks that `wanted` does not name are dropped. In the mode `mean`
  /// the result is plain LoRA.
  ///
  /// - Throws: a ``GraftError`` when `wanted` asks for an inventory of another size, or names no task to route.
  public mutating func reroute(
    _ plan: GraftPlan, to wanted: AdapterSettings, random: RandomKey
  ) throws -> GraftPlan {
    for key in ["skills", "heads"] {
      guard let asked = wanted.options[key], asked != plan.settings.options[key] else { continue }
      // What the file leaves out is the default.
      let (old, new) = (try MHR.configuration(plan.settings, at: ""), try MHR.configuration(wanted, at: ""))
      guard (old.skills, old.heads) == (new.skills, new.heads) else {
        throw GraftError(
          "the inventory in adapter.from has \(old.skills) skills in \(old.heads) heads; remove '\(key): \(asked)'",
          key: key)
      }
    }
    let configuration = try MHR.configuration(wanted, at: "")
    var plan = plan
    if configuration.mode == .mean {
      forEachLinear { _, layer in layer.adapter = (layer.adapter as? MHR)?.mean ?? layer.adapter }
      plan.method = LoRA.method
      (plan.settings.options, plan.settings.tasks) = ([:], [])
      return plan
    }
    guard !wanted.tasks.isEmpty else { throw GraftError("'mhr' routes by task, and no task is named", key: "type") }
    let known = plan.settings.tasks
    forEachLinear { name, layer in
      guard var adapter = layer.adapter as? MHR else { return }
      let old = adapter.logits.value, width = old.shape[1]
      let rows = wanted.tasks.map { task in
        known.firstIndex(of: task).map { old.rows($0..<$0 + 1) }
          ?? MHR.freshLogits(1, width, from: Setup(site: name, random: random).random[task])
      }
      adapter.logits.value = .concatenated(rows)
      adapter.a.isTrainable = configuration.mode == .full
      adapter.b.isTrainable = configuration.mode == .full
      adapter.isRelaxed = configuration.isRelaxed
      layer.adapter = adapter
    }
    for key in ["mode", "relaxed"] { plan.settings.options[key] = wanted.options[key] }
    plan.settings.tasks = wanted.tasks
    return plan
  }
}
