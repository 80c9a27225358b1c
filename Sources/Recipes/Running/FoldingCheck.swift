import Adapters
import Networks

/// What becomes of a family's adapter in the files that a recipe asks for: refused before training rather than after.
extension RunPlan {
  /// The files `recipe` asks for that its family cannot fold into, and tasks that it lacks to route by.
  static func foldingProblems(_ recipe: Recipe) -> [RecipeError.Problem] {
    let plan = graftPlan(recipe.adapter)
    let wanted = [
      ("merge.output", writesMerged(recipe)), ("export.gguf", recipe.export?.gguf != nil),
      ("export.gguf_lora", recipe.export?.ggufLora != nil),
    ].filter(\.1).map(\.0)
    // What is wrong with the settings themselves, grafting tells better.
    switch try? Catalogue.merging(of: plan.method, plan.settings) {
    case .exact, nil: return []
    case .never:
      return wanted.map { recipe.problem($0, plan.foldingObjection ?? "", hint: "remove \($0)") }
    case .perTask:
      var problems = wanted.map {
        recipe.problem(
          $0, "'\(plan.method)' folds for one task at a time",
          hint: "remove the key; when the run is done, graft merge or graft export with --task writes a task's model")
      }
      if recipe.export?.peft != nil, recipe.adapter.bias != .none {
        problems.append(
          recipe.problem(
            "export.peft", "'\(plan.method)' is exported as PEFT's Poly, which has no place for biases that learn",
            hint: "set adapter.bias: none, or remove the key"))
      }
      if recipe.data.taskField == nil {
        problems.append(
          recipe.problem(
            "adapter.type", "'\(plan.method)' learns a mixture for each task, and no row names its task",
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

  /// Refuses ranks above what a layer's matrix can use.
  ///
  /// - Throws: a ``RecipeError`` at the key that gives the rank.
  static func checkRanks(_ recipe: Recipe, _ plan: GraftPlan, _ network: any LanguageModel) throws {
    do { try network.checkRanks(of: plan) } catch let error as GraftError {
      // What else is wrong with the plan, grafting tells.
      guard ["rank", "rank_pattern", "sequential_rank"].contains(error.key) else { return }
      let hint =
        error.key == "rank" && plan.method != INT21.method ? ", or give that layer its own in rank_pattern" : ""
      throw RecipeError(
        [recipe.problem("adapter.\(error.key)", error.description, hint: "lower it" + hint)], path: recipe.origin)
    } catch {}
  }

  private static func writesMerged(_ recipe: Recipe) -> Bool { recipe.merge.map { $0.format != .adapterOnly } ?? false }
}
