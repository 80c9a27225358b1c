import Adapters
import Networks
import Training

// What a run makes small.
extension RunPlan {
  /// What the recipe's `objective` section asks for, else what the family needs, else the cross-entropy; and the digest
  /// of the teacher the recipe names.
  static func objective(
    _ recipe: Recipe, _ plan: GraftPlan, _ model: LoadedModel, base: any TextNetwork, steps: Int
  ) throws -> (Objective, teacherDigest: String?) {
    let wanted = recipe.objective
    // Grafting has read the same settings already and would have thrown.
    let consistency = (try? Catalogue.consistency(of: plan.method, plan.settings)) ?? nil
    guard wanted.type != .crossEntropy else {
      return (consistency.map(Objective.consistency(weight:)) ?? .crossEntropy, nil)
    }
    guard consistency == nil else {
      throw RecipeError(
        [
          recipe.problem(
            "objective.type", "'\(plan.method)' makes two passes a step, which \(wanted.type.rawValue) does not",
            hint: "set adapter.consistency: 0, or remove the section")
        ], path: recipe.origin)
    }
    let named = try wanted.teacher.map { try LoadedModel($0.path) }
    let teacher = named?.network ?? base
    guard teacher.vocabularySize == model.network.vocabularySize else {
      throw RecipeError(
        [
          recipe.problem(
            "objective.teacher",
            "the teacher has \(teacher.vocabularySize) token ids and the model \(model.network.vocabularySize)",
            hint: "give a teacher with the model's tokenizer")
        ], path: recipe.origin)
    }
    let digest = try named.map { try Fingerprint.model($0.checkpoint) }
    guard wanted.type == .blocks else {
      return (
        .distillation(teacher: teacher, divergence: wanted.divergence, crossEntropy: wanted.crossEntropy), digest
      )
    }
    do {
      let tuning = try BlockTuning(model.network, following: teacher, size: wanted.blocks, steps: steps)
      return (.blocks(tuning), digest)
    } catch let error as TrainingError {
      throw RecipeError([recipe.problem("objective.type", error.description)], path: recipe.origin)
    }
  }
}
