import Adapters
import ArgumentParser
import Recipes
import Weights

/// Lists what there is.
struct List: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ls", abstract: "List known models, sets of images, adapter types, packings and recipe keys.",
    discussion: """
      EXAMPLES
        graft ls
        graft ls packings
        graft ls --keys
      """)

  @Argument(help: "models, images, adapters or packings; all if left out, packings by name alone.") var what: What?
  @Flag(help: "List every recipe key with its type, default and meaning.") var keys = false

  /// What can be listed by itself.
  enum What: String, ExpressibleByArgument, CaseIterable { case models, images, adapters, packings }

  func run() throws {
    guard !keys || what == nil else {
      throw UsageError(description: "--keys lists keys; leave \(what?.rawValue ?? "") out")
    }
    if keys {
      for key in Recipe.keys {
        let value = key.isRequired ? "required" : "default \(key.defaultValue ?? "none")"
        Console.result("\(key.path)   \(key.type)   \(value)\n    \(key.documentation)")
      }
      return
    }
    switch what {
    case .models: listModels()
    case .images: listImages()
    case .adapters: listAdapters()
    case .packings: Console.result(PackingTable.text)
    case nil:
      listModels()
      listImages()
      listAdapters()
      Console.result("packings\n  \(Packing.fixed.map(\.name).joined(separator: ", "))")
      Console.result("  and groups, such as int4-g64: graft ls packings")
      Console.result("recipe keys: graft ls --keys")
    }
  }

  private func listModels() {
    Console.result("models")
    for model in KnownModel.all {
      Console.result(
        "  \(model.name)   \(model.summary)\n      \(model.path ?? "not fetched: graft fetch \(model.name)")")
    }
  }

  private func listImages() {
    Console.result("sets of images")
    for set in KnownImageSet.all {
      Console.result("  \(set.name)   \(set.summary)\n      \(set.path ?? "not fetched: graft fetch \(set.name)")")
    }
  }

  private func listAdapters() { Console.result("adapter types\n  \(Catalogue.methods.joined(separator: ", "))") }
}
