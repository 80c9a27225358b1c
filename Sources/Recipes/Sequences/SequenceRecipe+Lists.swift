import Adapters
import Networks
import Sequences

// The parts of a sequence's recipe that are lists, or stand in several places.
extension SequenceRecipe {
  /// The ways of learning, each a strategy's name, or its name and what else is said of it.
  static func methods(_ node: RecipeNode, _ context: inout ReadingContext) -> [SequenceMethod] {
    guard case .sequence(let items) = node.content, !items.isEmpty else {
      context.expected("a list of strategies", node)
      return []
    }
    var names: Set<String> = []
    return items.compactMap { item in
      guard let method = method(item, &context) else { return nil }
      if !names.insert(method.name).inserted {
        context.report(
          "two strategies are called '\(method.name)'", at: item.place, hint: "give each a name: {name: …, strategy: …}"
        )
      }
      return method
    }
  }

  private static func method(_ item: RecipeNode, _ context: inout ReadingContext) -> SequenceMethod? {
    guard case .mapping = item.content else {
      guard case .scalar(let text, _) = item.content, !text.isEmpty else {
        context.expected("a list of names", item)
        return nil
      }
      return strategy(text, item, &context).map { SequenceMethod($0) }
    }
    var found: SequenceStrategy?, name: String?, plan: GraftPlan?
    let seen = PlainRecipe.forEach(item, "strategies.", ["name", "strategy", "adapter"], of: "a sequence", &context) {
      key, node, context in
      switch key {
      case "name": name = Codec.text.read(node, &context)
      case "strategy": found = Codec.text.read(node, &context).flatMap { strategy($0, node, &context) }
      default: plan = adapter(node, &context)
      }
    }
    if !seen.contains("strategy") {
      context.report("an entry of strategies has no 'strategy'", at: item.place, hint: "it needs {strategy: …}")
    }
    guard let found else { return nil }
    if let name {
      PlainRecipe.checkFolder(name, "strategy", at: item.place, &context)
      if ["features", "curves"].contains(name) {
        context.report(
          "strategy '\(name)' is called as a file of the sequence's own", at: item.place, hint: "choose another")
      }
    }
    return SequenceMethod(found, adapter: plan, name: name)
  }

  private static func strategy(
    _ text: String, _ node: RecipeNode, _ context: inout ReadingContext
  ) -> SequenceStrategy? {
    guard let strategy = SequenceStrategy(rawValue: text) else {
      let all = SequenceStrategy.allCases.map(\.rawValue), near = NearestName.of(text, among: all)
      context.report(
        "strategy '\(text)' is not known; expected some of \(all.joined(separator: ", "))", at: node.place,
        hint: near.map { "did you mean '\($0)'?" })
      return nil
    }
    return strategy
  }

  /// An adapter as recipes of training have it, without what needs more than the images of a task.
  static func adapter(_ node: RecipeNode, _ context: inout ReadingContext) -> GraftPlan? {
    let known = context.problems.count, adapter = RecipeReader.adapter(node, &context)
    guard context.problems.count == known else { return nil }
    if adapter.from != nil {
      context.report(
        "'adapter.from' means nothing in a sequence, where every adapter starts anew", at: node.place, hint: "remove it"
      )
      return nil
    }
    let plan = RunPlan.graftPlan(adapter)
    do {
      // What the family refuses about its settings is known before there is a network.
      _ = try Catalogue.merging(of: plan.method, plan.settings)
      guard try RunCalibration.wanted(plan.method, plan.settings).isEmpty else {
        context.report(
          "adapter type '\(plan.method)' so started needs calibration, which a sequence has not", at: node.place,
          hint: "choose another type or init")
        return nil
      }
    } catch {
      context.report("\(error)", at: node.place)
      return nil
    }
    return plan
  }

  static func entries(_ node: RecipeNode, _ context: inout ReadingContext) -> [Entry] {
    guard case .sequence(let items) = node.content, !items.isEmpty else {
      context.expected("a list of tasks", node)
      return []
    }
    let required = ["name", "train", "test"]
    var names: Set<String> = []
    return items.map { item in
      var entry = Entry()
      let seen = PlainRecipe.forEach(
        item, "tasks.", required + ["classes", "parts", "per_class", "test_per_class"], of: "a sequence", &context
      ) {
        key, node, context in
        switch key {
        case "name": entry.name = Codec.text.read(node, &context) ?? ""
        case "train": entry.train = set(node, &context)
        case "test": entry.test = set(node, &context)
        case "classes": entry.classes = PlainRecipe.names(node, &context).map(\.text)
        case "parts": entry.parts = Codec.integer(1...1000).read(node, &context) ?? 1
        case "per_class": entry.perClass = Codec.integer(1...1_000_000).read(node, &context)
        default: entry.testPerClass = Codec.integer(1...1_000_000).read(node, &context)
        }
      }
      for key in required where !seen.contains(key) {
        context.report("a task has no '\(key)'", at: item.place, hint: "a task needs name, train and test")
      }
      if seen.contains("name") { PlainRecipe.checkFolder(entry.name, "task", at: item.place, &context) }
      if let twice = entry.taskNames.first(where: { !names.insert($0).inserted }) {
        context.report("two tasks are called '\(twice)'", at: item.place, hint: "give each a name of its own")
      }
      return entry
    }
  }

  /// A set's path, or the name of a known one as it is.
  static func set(_ node: RecipeNode, _ context: inout ReadingContext) -> String {
    if case .scalar(let text, _) = node.content,
      KnownImageSet.all.contains(where: { text == "\($0.name)/train" || text == "\($0.name)/test" })
    {
      return text
    }
    return context.path(node)?.path ?? ""
  }
}
