import ArgumentParser
import Quantizing
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
        Console.result(try resolved(path) ?? "\(path): well-formed")
      } catch let error as RecipeError {
        Console.error("\(error)  (exit 2)")
        failed = true
      }
    }
    if failed { throw Ending(code: 2) }
  }

  /// Checks the recipe at `path`; with every key filled in where that was asked for.
  private func resolved(_ path: String) throws -> String? {
    switch try RecipeKind(of: path) {
    case .run:
      let recipe = try Recipe.read(path, catalogue: .graft)
      return printResolved ? recipe.resolvedYAML(toolVersion: graftVersion, hashes: [:]) : nil
    case .textSequence: _ = try TextSequenceRecipe(path, catalogue: .graft)
    case .imageSequence: _ = try SequenceRecipe(path, catalogue: .graft)
    case .quantisation:
      do { try QuantizeSettings(path, options: QuantizeSettings(), catalogue: .graft).check() } catch let error
        as QuantizationError
      { throw RecipeError([.init(line: 0, column: 0, message: "\(error)")], path: path) }
    }
    guard !printResolved else {
      throw UsageError(description: "--print-resolved is of recipes of runs, and \(path) is none; leave it out")
    }
    return nil
  }
}
