import ArgumentParser
import Recipes

/// Checks recipes.
struct Validate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Check recipes: every key, type and value, all mistakes at once.",
    discussion: """
      Reads the recipe alone. 'graft train --dry-run' opens its model and data too.

      EXAMPLES
        graft validate recipe.yaml
        graft validate recipe.yaml --print-resolved
      """)

  @Argument(help: "Recipes.") var recipes: [String]
  @Flag(help: "Print each with every key filled in.") var printResolved = false

  func run() throws {
    var failed = false
    for path in recipes {
      do {
        let kind = try TextSequenceRecipe.kind(of: path)
        if kind.isSequence {
          if kind.isText {
            _ = try TextSequenceRecipe(path, catalogue: .graft)
          } else {
            _ = try SequenceRecipe(path, catalogue: .graft)
          }
          Console.result("\(path): well-formed")
          continue
        }
        let recipe = try Recipe.read(path, catalogue: .graft)
        Console.result(
          printResolved ? recipe.resolvedYAML(toolVersion: graftVersion, hashes: [:]) : "\(path): well-formed")
      } catch let error as RecipeError {
        Console.error("\(error)  (exit 2)")
        failed = true
      }
    }
    if failed { throw Ending(code: 2) }
  }
}
