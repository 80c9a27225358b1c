import ArgumentParser
import Recipes

/// Brings a known model.
struct Fetch: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Download a model that Graft knows by name, and check it.",
    discussion: """
      The model goes to $GRAFT_CACHE, or ~/.cache/graft. 'graft ls' lists the names.

      EXAMPLE
        graft fetch smollm2
      """)

  @Argument(help: "The model's name.") var name: String

  func run() throws {
    guard let model = KnownModel.all.first(where: { $0.name == name }) else {
      let names = KnownModel.all.map(\.name).joined(separator: ", ")
      throw UsageError(description: "no model is called '\(name)'; known are \(names)")
    }
    Console.result(try Fetching(say: Console.error)(model))
  }
}
