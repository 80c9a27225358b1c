import Adapters
import Autodiff
import Files
import Networks
import Text

/// The classes of a run's data, and the head that tells them apart.
struct RunClasses: Sendable, Equatable {
  /// The classes as the rows name them, in the order of the logits; empty for a model of language.
  let names: [String]
  /// Whether the base's own head was replaced by a fresh one.
  let isFresh: Bool

  /// Checks that model and data are of one kind, and gives a classifier the head its data need: its own where it tells
  /// the same classes, by name or by number, a fresh one otherwise.
  ///
  /// - Throws: a ``RecipeError`` when the one has classes and the other has none, a ``FileError`` for a row without.
  init(_ recipe: inout Recipe, _ model: inout LoadedModel, random: RandomKey) throws {
    let asksForClasses = recipe.data.format == .classification
    guard var classifier = model.network as? any Classifier else {
      (names, isFresh) = ([], false)
      guard !asksForClasses else {
        throw RecipeError(
          [
            recipe.problem(
              "data.format", "'classification' needs an encoder with a head, and the model is a decoder",
              hint: "give an encoder such as BERT, or write the class as a completion")
          ], path: recipe.origin)
      }
      return
    }
    guard asksForClasses || recipe.data.format == .auto else {
      throw RecipeError(
        [
          recipe.problem(
            "data.format", "'\(recipe.data.format.rawValue)' is text to be written, and the model is an encoder",
            hint: "set format: classification, with rows of a text and its class")
        ], path: recipe.origin)
    }
    guard recipe.eval.samples == nil else {
      throw RecipeError(
        [recipe.problem("eval.samples", "an encoder writes no text", hint: "remove the section")],
        path: recipe.origin)
    }
    if recipe.data.pairField != nil { try model.requirePairs() }
    recipe.data.format = .classification
    var options = ExampleOptions()
    options.classes = Self.fields(recipe)
    let reader = try ExampleReader(tokenizer: try model.requireTokenizer(), options: options)
    var found: Set<String> = []
    for source in recipe.data.train { found.formUnion(try reader.classes(in: source.path.path)) }
    guard found.count > 1 else {
      throw FileError(
        recipe.data.train[0].path.path,
        "names \(found.first.map { "one class, \(quoted($0))" } ?? "no class"); there is nothing to tell apart")
    }
    let own = classifier.labels
    if found.isSubset(of: own) {
      (names, isFresh) = (own, false)
    } else if case let numbers = found.compactMap({ Int($0) }), numbers.count == found.count, !own.isEmpty,
      numbers.allSatisfy(own.indices.contains)
    {
      (names, isFresh) = (own.indices.map(String.init), false)
    } else {
      let numbers = found.compactMap { Int($0) }
      names = numbers.count == found.count ? numbers.sorted().map(String.init) : found.sorted()
      isFresh = true
      classifier.setHead(labels: names, random: random)
      model.network = classifier
    }
  }

  /// Which keys of a row hold what, by the recipe.
  static func fields(_ recipe: Recipe) -> ClassFields {
    var fields = ClassFields()
    (fields.text, fields.pair, fields.label) = (recipe.data.textField, recipe.data.pairField, recipe.data.labelField)
    return fields
  }

  /// The plan with the head among the modules that learn whole, as PEFT does for classifiers.
  func including(head: String, in plan: GraftPlan) -> GraftPlan {
    guard !names.isEmpty, plan.method != Full.method, !plan.modulesToSave.contains(head) else { return plan }
    var plan = plan
    plan.modulesToSave.append(head)
    return plan
  }

  /// The line of the header.
  var line: String? {
    guard !names.isEmpty else { return nil }
    let shown = names.prefix(8).joined(separator: ", ") + (names.count > 8 ? ", …" : "")
    let head = isFresh ? "a fresh head" : "the model's own head"
    return "classes   \(names.count): \(shown); \(head) learns with the adapter"
  }
}
