import Files
import Foundation

/// Reading of recipes that are no runs of training and have few keys of their own.
enum PlainRecipe {
  /// Has `body` read the recipe at `path`; `needs` says what must be in it.
  ///
  /// - Throws: a ``RecipeError`` with every mistake it told of, each with its place.
  static func read(
    _ path: String, catalogue: RecipeCatalogue, needs: String? = nil,
    _ body: (RecipeNode, inout ReadingContext) -> Void
  ) throws {
    let url = URL(fileURLWithPath: path)
    var context = ReadingContext(
      catalogue: catalogue, folder: url.deletingLastPathComponent().path,
      workingFolder: FileManager.default.currentDirectoryPath, environment: RecipeText.variable)
    do throws(RecipeDocument.Stop) {
      let text = try RecipeText.read(path)
      let root: RecipeNode
      if let needs { root = try RecipeDocument.read(text, needs: needs) } else { root = try RecipeDocument.read(text) }
      body(root, &context)
    } catch {
      throw RecipeError([error.problem], path: path)
    }
    if !context.problems.isEmpty { throw RecipeError(context.problems.sorted(by: RecipeReader.isEarlier), path: path) }
  }

  /// Calls `body` for each key of a mapping that is among `known`, tells of the others, and gives those seen.
  @discardableResult
  static func forEach(
    _ node: RecipeNode, _ prefix: String, _ known: [String], of kind: String, _ context: inout ReadingContext,
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
          "'\(prefix)\(pair.key)' is no key of \(kind)", at: pair.place,
          hint: near ?? "expected \(known.joined(separator: ", "))")
        continue
      }
      context.key = prefix + pair.key
      seen.insert(pair.key)
      body(pair.key, pair.value, &context)
    }
    return seen
  }

  /// Tells of a name that cannot be a folder's, or stand in a table of comma-separated values.
  static func checkFolder(_ name: String, _ kind: String, at place: Place, _ context: inout ReadingContext) {
    guard name.isEmpty || name.hasPrefix(".") || name.contains(where: { "/,\"\n".contains($0) }) else { return }
    context.report(
      "\(kind) \(quoted(name)) cannot name a folder", at: place, hint: "give it a name without '/', ',' and quotes")
  }

  /// The names in a list that is not empty, with their places.
  static func names(_ node: RecipeNode, _ context: inout ReadingContext) -> [(text: String, place: Place)] {
    guard case .sequence(let items) = node.content, !items.isEmpty else {
      context.expected("a list of names", node)
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
}
