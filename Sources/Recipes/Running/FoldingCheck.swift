import Adapters
import Networks

/// What becomes of a family's adapter in the files that a recipe asks for: refused before training rather than after.
extension RunPlan {
  /// The files `recipe` asks for that its family cannot fold into, and tasks that it lacks to route by.
  static func foldingProblems(_ recipe: Recipe) -> [RecipeError.Problem] {
    let type = recipe.adapter.type
    let folds = [
      ("merge.output", writesMerged(recipe)), ("export.gguf", recipe.export?.gguf != nil),
    ].filter(\.1).map(\.0)
    switch merging(recipe.adapter) {
    case .exact, nil: return []
    case .never(let reason):
      return folds.map {
        recipe.problem($0, "'\(type)' cannot be folded: \(reason)", hint: "remove the key and keep the adapter")
      }
    case .perTask:
      var problems = (folds + (recipe.export?.ggufLora != nil ? ["export.gguf_lora"] : [])).map {
        recipe.problem(
          $0, "'\(type)' folds for one task at a time",
          hint: "remove the key; when the run is done, graft merge or graft export with --task writes a task's model")
      }
      if recipe.data.taskField == nil {
        problems.append(
          recipe.problem(
            "adapter.type", "'\(type)' learns a mixture for each task, and no row names its task",
            hint: "set data.task_field to the key under which rows name their task"))
      }
      return problems
    }
  }

  /// Refuses files that have no place for a bias which the grafted adapters would bring.
  ///
  /// - Throws: a ``RecipeError`` naming the first layer that would gain one.
  static func checkForms(_ recipe: Recipe, _ network: any LanguageModel) throws {
    var copy = network
    var bare: (name: String, layer: AdaptedLinear)?, unlike: String?
    copy.forEachLinear { name, layer in
      guard layer.adapter != nil else { return }
      if bare == nil && layer.base.bias == nil { bare = (name, layer) }
    }
    var problems: [RecipeError.Problem] = []
    let biasHint = "train without biases of the adapter's own (branch_bias: false, lora_bias: false)"
    if writesMerged(recipe) || recipe.export?.gguf != nil, let (name, layer) = bare,
      layer.merged(Context()).base.bias != nil
    {
      problems.append(
        recipe.problem(
          writesMerged(recipe) ? "merge.output" : "export.gguf",
          "folding '\(recipe.adapter.type)' would give '\(name)' a bias, and the model's files have no place for it",
          hint: biasHint))
    }
    if recipe.export?.ggufLora != nil {
      copy.forEachLinear { name, layer in
        if unlike == nil && layer.adapter != nil && layer.lowRankFactors == nil { unlike = name }
      }
      if let unlike {
        problems.append(
          recipe.problem(
            "export.gguf_lora", "the adapter on '\(unlike)' does not amount to plain LoRA without biases",
            hint: "remove the key; export.gguf writes the merged model"))
      }
    }
    if !problems.isEmpty { throw RecipeError(problems, path: recipe.origin) }
  }

  private static func writesMerged(_ recipe: Recipe) -> Bool { recipe.merge.map { $0.format != .adapterOnly } ?? false }

  /// How the family folds, as configured; nil where the configuration is wrong, which grafting tells better.
  private static func merging(_ adapter: Recipe.Adapter) -> Merging? {
    let settings = graftPlan(adapter).settings
    func linear<A: Adapter>(_ family: A.Type) -> Merging? {
      (try? A.configuration(settings, at: "")).map(A.merging)
    }
    func block<A: BlockAdapter>(_ family: A.Type) -> Merging? {
      (try? A.configuration(settings, at: "")).map(A.merging)
    }
    if let family = Catalogue.linear.first(where: { $0.method == adapter.type }) { return linear(family) }
    if let family = Catalogue.convolution.first(where: { $0.method == adapter.type }) { return linear(family) }
    return Catalogue.block.first { $0.method == adapter.type }.flatMap { block($0) }
  }
}
