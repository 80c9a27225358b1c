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

  /// The files a recipe asks for that need the adapter folded, or plain, where its family is neither.
  static func foldingProblems(_ recipe: Recipe) -> [RecipeError.Problem] {
    guard let objection = graftPlan(recipe.adapter).foldingObjection else { return [] }
    let wanted: [(key: String, isAsked: Bool)] = [
      ("merge.output", recipe.merge.map { $0.format != .adapterOnly } ?? false),
      ("export.gguf", recipe.export?.gguf != nil), ("export.gguf_lora", recipe.export?.ggufLora != nil),
    ]
    return wanted.filter(\.isAsked).map { recipe.problem($0.key, objection, hint: "remove \($0.key)") }
  }
}
