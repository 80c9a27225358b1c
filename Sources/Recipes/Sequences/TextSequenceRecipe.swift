import Foundation

/// A recipe of a sequence of text tasks: all that a run's recipe says, but for the data, and the tasks and strategies.
///
///     output_dir: runs/sequence
///     model: {path: minilm-l6}
///     quantization: {packing: int4}
///     adapter: {type: lora, rank: 8, alpha: 16}
///     data: {format: classification}
///     train: {epochs: 2, batch_size: 16, learning_rate: 1e-3}
///     strategies: [adapter, sequential, replay, ewc, mhr, joint]    # also full; head and probe for an encoder
///     tasks:
///       - {name: tweets, train: tweets.train.jsonl, eval: tweets.test.jsonl}
///     memory: 100                                      # rows of each learned task for replay and ewc
///     ewc: {lambda: 100}
///     mhr: {skills: 4, heads: 1, router_rate: 100}     # also rank and alpha, where they differ from the adapter's
///     full: {learning_rate: 5e-5}                      # train.learning_rate unless given
///     probe: {strength: 1}                             # C of the regression: the less, the more it is held back
///
/// A task without files of its own takes the rows of `data.train` and `data.eval` whose `data.task_field` is its
/// `select`, which is its name unless given. `train` and its kin hold for each task. ``TextSequenceStrategy/mhr`` takes
/// the adapter's targets, layers, rank and alpha, and neither dropout nor init.
public struct TextSequenceRecipe: Sendable {
  /// One entry of `tasks`.
  public struct Task: Sendable, Equatable {
    /// What it is called, and what its folder is.
    public var name = ""
    /// Its files; empty where its rows are selected from the recipe's.
    public var train: [RecipePath] = [], eval: [RecipePath] = []
    /// The value of the recipe's `data.task_field` in its rows; nil for its name.
    public var select: String?
  }

  /// What all runs have in common; its data are the files that tasks select from.
  public internal(set) var recipe = Recipe()
  /// Where everything is written.
  public var output: String {
    get { recipe.outputDirectory.path }
    set { recipe.outputDirectory = RecipePath(newValue) }
  }
  /// What is learned, in order.
  public internal(set) var tasks: [Task] = []
  /// What is compared.
  public internal(set) var strategies = TextSequenceStrategy.standard
  /// Rows of each learned task that ``TextSequenceStrategy/replay`` keeps and ``TextSequenceStrategy/ewc`` measures.
  public internal(set) var memory = 100
  /// λ of ``TextSequenceStrategy/ewc``.
  public internal(set) var fisherWeight = 100.0
  /// What ``TextSequenceStrategy/mhr`` has of its own; rank and alpha are the adapter's where nil.
  public internal(set) var skills = 8, heads = 1, routerRate = 100.0, routedRank: Int?, routedAlpha: Double?
  /// The learning rate of ``TextSequenceStrategy/full``; the recipe's where nil.
  public internal(set) var fullRate: Double?
  /// C of ``TextSequenceStrategy/probe``.
  public internal(set) var probeStrength = 1.0

  /// Whether `data` itself names files; those of tasks are for these tasks alone.
  private var hasCommonFiles = false

  static let ownKeys = ["strategies", "tasks", "memory", "ewc", "mhr", "full", "probe"]

  /// Reads the recipe at `path`.
  ///
  /// - Throws: a ``RecipeError`` with every mistake found, each with its place.
  public init(_ path: String, catalogue: RecipeCatalogue) throws {
    var found = TextSequenceRecipe()
    let name = URL(fileURLWithPath: path).deletingPathExtension().lastPathComponent
    try PlainRecipe.read(path, catalogue: catalogue) { found.read($0, name: name, &$1) }
    found.recipe.file = path
    self = found
  }

  private init() {}

  private mutating func read(_ root: RecipeNode, name: String, _ context: inout ReadingContext) {
    guard case .mapping(let pairs) = root.content else { return }
    let own = pairs.filter { Self.ownKeys.contains($0.key) }
    if let node = own.first(where: { $0.key == "tasks" })?.value {
      context.key = "tasks"
      tasks = Self.tasks(node, &context)
    } else {
      context.report("'tasks' is missing", at: root.place, hint: "a sequence needs a list of tasks")
    }
    if case .mapping(let given)? = pairs.first(where: { $0.key == "data" })?.value.content {
      let names = Set(given.map(\.key))
      hasCommonFiles = names.contains("train") && !names.isDisjoint(with: ["eval", "eval_dataset"])
    }
    let rest = Self.withFiles(pairs.filter { !Self.ownKeys.contains($0.key) }, of: tasks)
    recipe = RecipeReader.recipe(RecipeNode(.mapping(rest), at: root.place), [], name: name, &context)
    for pair in own {
      context.key = pair.key
      recipe.origins[pair.key] = pair.place.origin
      switch pair.key {
      case "strategies": strategies = Self.strategies(pair.value, &context)
      case "memory": memory = Codec.integer(1...1_000_000).read(pair.value, &context) ?? memory
      case "ewc":
        PlainRecipe.forEach(pair.value, "ewc.", ["lambda"], of: "a sequence", &context) { _, node, context in
          fisherWeight = Codec.number("≥ 0") { $0 >= 0 }.read(node, &context) ?? fisherWeight
        }
      case "mhr": readRouting(pair.value, &context)
      case "full":
        PlainRecipe.forEach(pair.value, "full.", ["learning_rate"], of: "a sequence", &context) { _, node, context in
          fullRate = Codec.number("> 0") { $0 > 0 }.read(node, &context)
        }
      case "probe":
        PlainRecipe.forEach(pair.value, "probe.", ["strength"], of: "a sequence", &context) { _, node, context in
          probeStrength = Codec.number("> 0") { $0 > 0 }.read(node, &context) ?? probeStrength
        }
      default: break
      }
    }
    check(&context)
  }

  private mutating func readRouting(_ node: RecipeNode, _ context: inout ReadingContext) {
    let known = ["rank", "alpha", "skills", "heads", "router_rate"]
    PlainRecipe.forEach(node, "mhr.", known, of: "a sequence", &context) { key, node, context in
      switch key {
      case "rank": routedRank = Codec.integer(1...65_536).read(node, &context)
      case "alpha": routedAlpha = Codec.number("> 0") { $0 > 0 }.read(node, &context)
      case "skills": skills = Codec.integer(1...1024).read(node, &context) ?? skills
      case "heads": heads = Codec.integer(1...1024).read(node, &context) ?? heads
      default: routerRate = Codec.number("> 0") { $0 > 0 }.read(node, &context) ?? routerRate
      }
    }
  }

  /// The run's keys with the tasks' files as its data, where it names none of its own.
  private static func withFiles(_ pairs: [RecipeNode.Pair], of tasks: [Task]) -> [RecipeNode.Pair] {
    func files(_ key: String, _ paths: [RecipePath], _ place: Place) -> RecipeNode.Pair {
      // Already filled in and absolute.
      let nodes = paths.map { RecipeNode(.scalar($0.path.replacing("${", with: "$${"), plain: false), at: place) }
      return .init(key: key, place: place, value: RecipeNode(.sequence(nodes), at: place))
    }
    var pairs = pairs
    let index = pairs.firstIndex { $0.key == "data" }
    let place = index.map { pairs[$0].place } ?? Place(line: 1, column: 1)
    var data: [RecipeNode.Pair] = []
    if let index {
      guard case .mapping(let given) = pairs[index].value.content else { return pairs }
      data = given
    }
    let train = tasks.flatMap(\.train), eval = tasks.flatMap(\.eval), names = Set(data.map(\.key))
    if !names.contains("train"), !train.isEmpty { data.append(files("train", train, place)) }
    if names.isDisjoint(with: ["eval", "eval_dataset"]), !eval.isEmpty { data.append(files("eval", eval, place)) }
    let section = RecipeNode.Pair(key: "data", place: place, value: RecipeNode(.mapping(data), at: place))
    if let index { pairs[index] = section } else { pairs.append(section) }
    return pairs
  }

  private static func strategies(_ node: RecipeNode, _ context: inout ReadingContext) -> [TextSequenceStrategy] {
    let all = TextSequenceStrategy.allCases.map(\.rawValue)
    var found: [TextSequenceStrategy] = []
    for (text, place) in PlainRecipe.names(node, &context) {
      guard let strategy = TextSequenceStrategy(rawValue: text) else {
        let near = NearestName.of(text, among: all).map { "did you mean '\($0)'?" }
        context.report(
          "strategy '\(text)' is not known; expected some of \(all.joined(separator: ", "))", at: place, hint: near)
        continue
      }
      if found.contains(strategy) { context.report("strategy '\(text)' is given twice", at: place) }
      found.append(strategy)
    }
    return found
  }

  private static func tasks(_ node: RecipeNode, _ context: inout ReadingContext) -> [Task] {
    guard case .sequence(let items) = node.content, !items.isEmpty else {
      context.expected("a list of tasks", node)
      return []
    }
    var tasks: [Task] = []
    for item in items {
      var task = Task()
      PlainRecipe.forEach(item, "tasks.", ["name", "train", "eval", "select"], of: "a sequence", &context) {
        key, node, context in
        switch key {
        case "name": task.name = Codec.text.read(node, &context) ?? ""
        case "train": task.train = Codec<[RecipePath]>.paths.read(node, &context) ?? []
        case "eval": task.eval = Codec<[RecipePath]>.paths.read(node, &context) ?? []
        default: task.select = Codec.text.read(node, &context)
        }
      }
      PlainRecipe.checkFolder(task.name, "task", at: item.place, &context)
      if tasks.contains(where: { $0.name == task.name }) {
        context.report("task \(quoted(task.name)) is given twice", at: item.place, hint: "give each a name of its own")
      }
      if task.train.isEmpty != task.eval.isEmpty {
        context.report(
          "task \(quoted(task.name)) has only one of train and eval", at: item.place,
          hint: "give both, or neither to take its rows of data.train and data.eval")
      }
      if !task.train.isEmpty, task.select != nil {
        context.report(
          "task \(quoted(task.name)) has files and selects rows of others", at: item.place,
          hint: "remove train and eval, or select")
      }
      tasks.append(task)
    }
    return tasks
  }

  /// What must hold between the keys, and what a sequence has no use for.
  private func check(_ context: inout ReadingContext) {
    func refuse(_ key: String, _ reason: String, hint: String = "remove it") {
      let problem = recipe.problem(key, "'\(key)' \(reason)", hint: hint)
      context.report(problem)
    }
    let given = Set(recipe.origins.keys)
    let useless = [
      "merge.", "export.", "eval.samples.", "eval.also", "eval.every_steps", "train.early_stopping.", "objective.",
      "model.init.", "adapter.from", "data.eval_fraction",
      "eval.at_start", "eval.at_end", "save.keep_last", "save.keep_best", "log.", "train.memory_limit_gb",
    ]
    for prefix in useless {
      guard let key = given.filter({ $0.hasPrefix(prefix) }).min() else { continue }
      refuse(key, "has no place in a sequence")
    }
    if ["full", "mhr"].contains(recipe.adapter.type) {
      refuse(
        "adapter.type",
        recipe.adapter.type == "full"
          ? "full leaves the base no frozen network and is a strategy of its own"
          : "mhr routes by task, which is a strategy of its own",
        hint: "give a type such as lora, and '\(recipe.adapter.type)' among strategies")
    }
    let selecting = tasks.filter { $0.train.isEmpty }
    if !selecting.isEmpty, recipe.data.taskField == nil || !hasCommonFiles {
      refuse(
        "tasks", "has \(quoted(selecting[0].name)) without files",
        hint: "give the task train and eval, or data.train, data.eval and data.task_field to take its rows from")
    }
    if selecting.isEmpty, recipe.data.taskField != nil {
      refuse("data.task_field", "selects nothing where every task has files of its own")
    }
    if let source = recipe.data.train.first(where: { $0.weight != 1 }) {
      refuse("data.train", "gives \(source.path.raw) a weight, which a sequence has no use for", hint: "remove weight")
    }
  }
}
