import Adapters
import Training

// What the family of the adapter has to say about a run.
extension RunPlan {
  /// What the run makes small: the family's own objective, or the cross-entropy.
  var objective: Objective {
    let plan = configuration.plan
    // Grafting has read the same settings already and would have thrown.
    let weight = try? Catalogue.consistency(of: plan.method, plan.settings)
    return weight.map(Objective.consistency(weight:)) ?? .crossEntropy
  }
}
