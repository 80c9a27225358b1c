import Adapters
import ArgumentParser
import Recipes

/// Lists what there is.
struct List: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ls", abstract: "List known models, sets of images, adapter types and recipe keys.",
    discussion: """
      EXAMPLES
        graft ls
        graft ls --keys
      """)

  @Flag(help: "List every recipe key with its type, default and meaning.") var keys = false

  func run() throws {
    if keys {
      for key in Recipe.keys {
        let value = key.isRequired ? "required" : "default \(key.defaultValue ?? "none")"
        Console.result("\(key.path)   \(key.type)   \(value)\n    \(key.documentation)")
      }
      return
    }
    Console.result("models")
    for model in KnownModel.all {
      Console.result(
        "  \(model.name)   \(model.summary)\n      \(model.path ?? "not fetched: graft fetch \(model.name)")")
    }
    Console.result("sets of images")
    for set in KnownImageSet.all {
      Console.result("  \(set.name)   \(set.summary)\n      \(set.path ?? "not fetched: graft fetch \(set.name)")")
    }
    Console.result("adapter types\n  \(Catalogue.methods.joined(separator: ", "))")
    Console.result("recipe keys: graft ls --keys")
  }
}
