import Adapters
import Autodiff
import Networks

/// Counting the numbers that runs would train which differ in their adapter alone: model and data are opened once.
struct TrainableCount {
  private let model: LoadedModel
  private let classes: RunClasses
  private let tasks: [String]

  /// Opens what `recipe` names, but for what its adapter measures.
  ///
  /// - Throws: as opening the recipe's plan does.
  init(_ recipe: Recipe) throws {
    var recipe = recipe
    var model = try LoadedModel(recipe.model.path?.path ?? "", chatTemplate: recipe.model.chatTemplate?.path)
    classes = try RunClasses(&recipe, &model, random: RandomKey(seed: 0))
    tasks =
      recipe.data.taskField == nil
      ? [] : try RunData(recipe, model, classes: classes.names, random: RandomKey(seed: 0)).tasks
    self.model = model
  }

  /// The numbers that a run with this adapter would train.
  ///
  /// - Throws: what grafting it throws.
  func callAsFunction(_ adapter: Recipe.Adapter) throws -> Int {
    var plan = classes.including(head: model.network.headName, in: RunPlan.graftPlan(adapter))
    plan.settings.tasks = tasks
    // What starts from measured inputs trains as many numbers as plain LoRA, without the measuring.
    if let family = Catalogue.linear.first(where: { $0.method == plan.method }),
      try !family.statistics(plan.settings).isEmpty
    {
      (plan.method, plan.settings.options) = (LoRA.method, [:])
    }
    plan.settings.start = "default"
    // What a correction starts from, the base before it is rounded, is not had here and changes no count.
    plan.settings.options["correction"] = nil
    var network = model.network
    try network.graft(plan, random: RandomKey(seed: 0))
    return network.trainableParameters.reduce(0) { $0 + $1.value.count }
  }
}
