import Adapters
import Autodiff
import Files
import Networks
import Sequences
import Text
import Training

/// What one training of a text sequence starts from: the base with a fresh adapter, and its tasks' rows as examples.
struct TextSequencePlan: Sendable {
  /// A task as examples.
  struct Task: Sendable {
    let name: String
    let train: [Example], heldOut: [Example]
    /// The model's outputs among which the task chooses; empty where text is written.
    let classes: [Int]
  }

  let plan: RunPlan
  let tasks: [Task]
  private let random: RandomKey

  /// A plan of `recipe` for `tasks` together, by one adapter.
  ///
  /// - Throws: as ``RunPlan/init(_:scratch:)`` does.
  init(_ recipe: Recipe, _ tasks: [TextSequenceData.Task]) throws {
    var recipe = recipe
    recipe.data.train = tasks.map { Recipe.Source(RecipePath($0.train)) }
    recipe.data.eval = tasks.map { RecipePath($0.eval) }
    let plan = try RunPlan(recipe, isKept: true)
    var options = try RunData.options(plan.recipe, plan.model)
    options.classes.labels = plan.classes.names
    let reader = try ExampleReader(
      tokenizer: try plan.model.requireTokenizer(), template: plan.model.template, options: options)
    self.plan = plan
    self.tasks = try tasks.map { task in
      let heldOut = try reader.read(task.eval).examples
      return Task(
        name: task.name, train: try reader.read(task.train).examples,
        heldOut: Array(heldOut.prefix(recipe.eval.maxRows ?? .max)),
        classes: plan.classes.names.indices.filter { task.classes.contains(plan.classes.names[$0]) })
    }
    random = RandomKey(seed: UInt64(bitPattern: Int64(recipe.seed)))["sequence"]
  }

  /// The names by which a routed adapter numbers the tasks; empty for others.
  var routes: [String] { plan.data.tasks }

  /// The base with the adapter as it starts.
  var untrained: any TextNetwork { plan.model.network }

  /// A training of `model` on `examples`, at its first step; what it draws derives from the seed and `name`.
  func training(
    _ model: any TextNetwork, on examples: [Example], as name: String, _ anchor: Anchor?
  ) throws
    -> TrainingRun
  {
    let settings = try RunPlan.settings(plan.recipe, examples: examples.count)
    var run = TrainingRun(
      model, plan.optimizer, settings, on: examples, seed: random[name].bits, tasks: routes)
    (run.objective, run.anchor) = (plan.objective, anchor)
    return run
  }

  /// Up to `count` training rows of a task, the same each time.
  func kept(of task: Task, _ count: Int) -> [Example] {
    random[task.name]["memory"].permutation(task.train.count).prefix(count).map { task.train[$0] }
  }

  /// How `model` does on the rows of `task` that are held out.
  func measure(_ model: any TextNetwork, on task: Task) -> TextTaskMeasure {
    TextTaskMeasure(
      model, on: task.heldOut, classes: task.classes, batchSize: plan.recipe.eval.batchSize, tasks: routes)
  }

  /// What the report says of a task whose classes are `classes`; rows are numbered as lines of its file.
  func reported(_ task: Task, classes: [String]) -> SequenceReport.Task {
    SequenceReport.Task(
      name: task.name, classNames: classes,
      examples: task.heldOut.map { $0.source.split(separator: ":").last.flatMap { Int($0) } ?? 0 },
      labels: classes.isEmpty
        ? [] : task.heldOut.map { Int32(classes.firstIndex(of: plan.classes.names[Int($0.labels[0])]) ?? -1) })
  }

  /// The base with an output layer solved to the end for `examples`, `strength` being C.
  func solved(for examples: [Example], strength: Double) -> any TextNetwork {
    guard let classifier = untrained as? any Classifier else { return untrained }
    let size = plan.recipe.eval.batchSize
    let parts = stride(from: 0, to: examples.count, by: size).map {
      classifier.pooled(of: Array(examples[$0..<min(examples.count, $0 + size)]))
    }
    let solved = LogisticRegression(
      .concatenated(parts.map(\.values)), labels: parts.flatMap(\.targets), classes: classifier.labels.count,
      strength: strength)
    var model = untrained
    solved.install(into: &model)
    return model
  }

  /// Writes the adapter of `model` as `graft train` does.
  func save(_ model: any TextNetwork, to path: String) throws {
    try Folder.replace(path) { temporary in
      try AdapterFolder.save(model, plan.configuration, to: temporary)
      try plan.binding.write(to: temporary)
    }
  }

  /// The base as it lies on disk with the adapter in `folder`.
  func readBack(_ folder: String) throws -> any TextNetwork {
    var model = try LoadedModel(plan.model.checkpoint.path)
    try model.attach(folder)
    return model.network
  }
}
