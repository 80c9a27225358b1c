import Adapters
import Foundation
import Images
import Sequences

/// A recipe of a sequence: a network of images, tasks, and the ways of learning them that are compared.
///
///     output_dir: runs/sequence
///     model: Data/trunk                  # a folder of a network of images
///     image_size: 32
///     strategies: [head, clr, shared, ewc, replay, joint]
///     tasks:
///       - {name: animals, train: animal-mnist/train, test: animal-mnist/test, parts: 2, per_class: 100}
///     train: {epochs: 5, batch_size: 32, learning_rate: 1e-3}
///     clr: {variant: reduced}
///     ewc: {lambda: 100}
///     memory: 200
///     seed: 42
///
/// `classes` names a task's classes; `parts` cuts them, in order, into so many tasks of equal size; `per_class` and
/// `test_per_class` take the first so many images of each.
public struct SequenceRecipe: Sendable {
  /// One entry of `tasks`.
  public struct Entry: Sendable {
    /// What its tasks are called; a number is added where it makes several.
    public var name = ""
    /// Sets of images, by path or by the name of a known one.
    public var train = "", test = ""
    /// The classes; nil for all.
    public var classes: [String]?
    /// Tasks that the classes are cut into.
    public var parts = 1
    /// The first so many training images of each class, and test images; nil for all.
    public var perClass: Int?, testPerClass: Int?
  }

  /// Where everything is written.
  public var output = ""
  /// The network's folder.
  public var model = ""
  /// The side to which images are resized; nil for the network's own.
  public var imageSize: Int?
  /// What is compared.
  public var strategies: [SequenceStrategy] = SequenceStrategy.allCases
  /// What is learned, in order.
  public var entries: [Entry] = []
  /// How.
  public var settings = SequenceSettings()

  /// Reads the recipe at `path`.
  ///
  /// - Throws: a ``RecipeError`` with every mistake found, each with its place.
  public init(_ path: String, catalogue: RecipeCatalogue) throws {
    let url = URL(fileURLWithPath: path)
    var context = ReadingContext(
      catalogue: catalogue, folder: url.deletingLastPathComponent().path,
      workingFolder: FileManager.default.currentDirectoryPath, environment: RecipeText.variable)
    do {
      let root = try RecipeDocument.read(try RecipeText.read(path))
      read(root, &context)
    } catch { throw RecipeError([error.problem], path: path) }
    if !context.problems.isEmpty { throw RecipeError(context.problems.sorted(by: RecipeReader.isEarlier), path: path) }
  }

  private mutating func read(_ root: RecipeNode, _ context: inout ReadingContext) {
    let required = ["output_dir", "model", "tasks"]
    let known = required + ["image_size", "strategies", "train", "clr", "ewc", "memory", "seed"]
    let seen = Self.forEach(root, "", known, &context) { key, node, context in
      switch key {
      case "output_dir": output = context.path(node)?.path ?? ""
      case "model": model = context.path(node)?.path ?? ""
      case "image_size": imageSize = Codec.integer(8...4096).read(node, &context)
      case "memory": settings.memory = Codec.integer(1...1_000_000).read(node, &context) ?? settings.memory
      case "seed": settings.seed = UInt64(Codec.integer(0...Int.max).read(node, &context) ?? 0)
      case "strategies": strategies = Self.strategies(node, &context)
      case "tasks": entries = Self.entries(node, &context)
      case "train": readTraining(node, &context)
      case "clr":
        _ = Self.forEach(node, "clr.", ["variant"], &context) { _, node, context in
          let variant = Codec.text.read(node, &context) ?? settings.variant
          if CLR.Variant(rawValue: variant) == nil {
            context.expected(CLR.Variant.allCases.map(\.rawValue).joined(separator: ", "), node)
          }
          settings.variant = variant
        }
      default:
        _ = Self.forEach(node, "ewc.", ["lambda"], &context) {
          settings.fisherWeight = Codec.number("≥ 0") { $0 >= 0 }.read($1, &$2) ?? 0
        }
      }
    }
    for key in required where !seen.contains(key) {
      context.report("'\(key)' is missing", at: root.place, hint: "a sequence needs output_dir, model and tasks")
    }
  }

  private mutating func readTraining(_ node: RecipeNode, _ context: inout ReadingContext) {
    let known = ["epochs", "batch_size", "learning_rate"]
    _ = Self.forEach(node, "train.", known, &context) { key, node, context in
      switch key {
      case "epochs": settings.epochs = Codec.integer(1...10_000).read(node, &context) ?? 1
      case "batch_size": settings.batchSize = Codec.integer(2...65_536).read(node, &context) ?? 2
      default: settings.learningRate = Codec.number("> 0") { $0 > 0 }.read(node, &context) ?? 1e-3
      }
    }
  }

  private static func strategies(_ node: RecipeNode, _ context: inout ReadingContext) -> [SequenceStrategy] {
    let all = SequenceStrategy.allCases.map(\.rawValue).joined(separator: ", ")
    return texts(node, &context).compactMap { text, place in
      guard let strategy = SequenceStrategy(rawValue: text) else {
        context.report("strategy '\(text)' is not known; expected some of \(all)", at: place)
        return nil
      }
      return strategy
    }
  }

  private static func entries(_ node: RecipeNode, _ context: inout ReadingContext) -> [Entry] {
    guard case .sequence(let items) = node.content, !items.isEmpty else {
      context.expected("a list of tasks", node)
      return []
    }
    let required = ["name", "train", "test"]
    return items.map { item in
      var entry = Entry()
      let seen = forEach(item, "tasks.", required + ["classes", "parts", "per_class", "test_per_class"], &context) {
        key, node, context in
        switch key {
        case "name": entry.name = Codec.text.read(node, &context) ?? ""
        case "train": entry.train = set(node, &context)
        case "test": entry.test = set(node, &context)
        case "classes": entry.classes = texts(node, &context).map(\.text)
        case "parts": entry.parts = Codec.integer(1...1000).read(node, &context) ?? 1
        case "per_class": entry.perClass = Codec.integer(1...1_000_000).read(node, &context)
        default: entry.testPerClass = Codec.integer(1...1_000_000).read(node, &context)
        }
      }
      for key in required where !seen.contains(key) {
        context.report("a task has no '\(key)'", at: item.place, hint: "a task needs name, train and test")
      }
      if entry.name.contains("/") || entry.name.hasPrefix(".") {
        context.report("task '\(entry.name)' cannot name a folder", at: item.place)
      }
      return entry
    }
  }

  /// A set's path, or the name of a known one as it is.
  private static func set(_ node: RecipeNode, _ context: inout ReadingContext) -> String {
    if case .scalar(let text, _) = node.content,
      KnownImageSet.all.contains(where: { text == "\($0.name)/train" || text == "\($0.name)/test" })
    {
      return text
    }
    return context.path(node)?.path ?? ""
  }

  private static func texts(_ node: RecipeNode, _ context: inout ReadingContext) -> [(text: String, place: Place)] {
    guard case .sequence(let items) = node.content else {
      context.expected("a list", node)
      return []
    }
    return items.compactMap { item in
      guard case .scalar(let text, _) = item.content, !text.isEmpty else {
        context.expected("a list of names", item)
        return nil
      }
      return (text, item.place)
    }
  }

  /// Calls `body` for each key of a mapping that is among `known`, tells of the others, and gives those seen.
  private static func forEach(
    _ node: RecipeNode, _ prefix: String, _ known: [String], _ context: inout ReadingContext,
    _ body: (String, RecipeNode, inout ReadingContext) -> Void
  ) -> Set<String> {
    guard case .mapping(let pairs) = node.content else {
      context.expected("a mapping", node)
      return []
    }
    var seen: Set<String> = []
    for pair in pairs {
      guard known.contains(pair.key) else {
        let near = NearestName.of(pair.key, among: known).map { "did you mean '\($0)'?" }
        context.report(
          "'\(prefix)\(pair.key)' is no key of a sequence", at: pair.place,
          hint: near ?? "expected \(known.joined(separator: ", "))")
        continue
      }
      context.key = prefix + pair.key
      seen.insert(pair.key)
      body(pair.key, pair.value, &context)
    }
    return seen
  }
}
