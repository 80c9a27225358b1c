import Adapters
import Networks
import Training
import Weights

// What a run makes small.
extension RunPlan {
  /// What the recipe's `objective` section asks for, else what the family needs, else the cross-entropy; and the digest
  /// of the teacher the recipe names.
  static func objective(
    _ recipe: Recipe, _ plan: GraftPlan, _ model: LoadedModel, teacher named: LoadedModel?, base: any TextNetwork,
    classes: RunClasses, steps: Int
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
    let teacher = named?.network ?? base
    try checkTeacher(teacher, isNamed: named != nil, of: model.network, recipe, classes)
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

  /// The matrices as they were before they were rounded: by this run, or beforehand where the teacher is the original.
  ///
  /// - Throws: a ``RecipeError`` when the base's channels were scaled before it was packed, so that its matrices are not
  ///   the teacher's rounded.
  static func originals(
    _ recipe: Recipe, _ model: LoadedModel, _ unrounded: any TextNetwork, _ teacher: LoadedModel?
  ) throws -> [String: FrozenWeight] {
    if try packing(recipe) != nil { return unrounded.linearWeights }
    guard let teacher, model.isPacked, recipe.adapter.type == INT21.method else { return [:] }
    let (own, told) = (model.network.linearWeights, teacher.network.linearWeights)
    func shapes(_ weights: [String: FrozenWeight]) -> [String: [Int]] { weights.mapValues { [$0.rows, $0.columns] } }
    guard shapes(own) == shapes(told) else { return [:] }
    guard model.network.plainParameters == teacher.network.plainParameters else {
      throw RecipeError(
        [
          recipe.problem(
            "objective.teacher",
            "the base's channels were scaled before it was packed: its matrices are not the teacher's",
            hint: "set adapter.correction: none, or pack the teacher by a method that scales nothing, such as gptq")
        ], path: recipe.origin)
    }
    return told
  }

  /// Refuses a teacher that cannot be followed: of other tokens, rows or classes, or with a head that has learned nothing.
  private static func checkTeacher(
    _ teacher: any TextNetwork, isNamed: Bool, of model: any TextNetwork, _ recipe: Recipe, _ classes: RunClasses
  ) throws {
    func refusal(_ problem: String, hint: String, at key: String = "objective.teacher") -> RecipeError {
      RecipeError([recipe.problem(key, problem, hint: hint)], path: recipe.origin)
    }
    guard teacher.vocabularySize == model.vocabularySize else {
      throw refusal(
        "the teacher has \(teacher.vocabularySize) token ids and the model \(model.vocabularySize)",
        hint: "give a teacher with the model's tokenizer")
    }
    guard teacher.contextLength >= recipe.data.maxSequenceLength else {
      throw refusal(
        "the teacher reads at most \(teacher.contextLength) tokens, and rows may have \(recipe.data.maxSequenceLength)",
        hint: "set data.max_seq_len: \(teacher.contextLength), or give another teacher")
    }
    let (own, told) = (model as? any Classifier, teacher as? any Classifier)
    guard (own == nil) == (told == nil) else {
      throw refusal(
        "one of teacher and model tells classes and the other writes text", hint: "give a teacher of the model's kind")
    }
    guard let own, let told, recipe.objective.type == .distillation else { return }
    guard own.labels.count == told.labels.count else {
      throw refusal(
        "the teacher tells \(told.labels.count) classes and the model \(own.labels.count)",
        hint: "give a classifier of the same classes")
    }
    guard isNamed || !classes.isFresh else {
      throw refusal(
        "the base has no head for these classes that could be followed",
        hint: "name a trained classifier as objective.teacher, or remove the section", at: "objective.type")
    }
  }
}

extension TextNetwork {
  /// Norms and biases, by name.
  fileprivate var plainParameters: [String: [Float]] {
    var copy = self, found: [String: [Float]] = [:]
    copy.forEachParameter { if !$1.isTrainable { found[$0] = $1.value.values } }
    return found
  }
}
