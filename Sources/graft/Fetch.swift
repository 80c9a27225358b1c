import ArgumentParser
import Recipes

/// Brings a known model, or a known set of images.
struct Fetch: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Download a model or a set of images that Graft knows by name, and check it.",
    discussion: """
      It goes to $GRAFT_CACHE, or ~/.cache/graft. 'graft ls' lists the names. A set of images becomes two, NAME/train and
      NAME/test, which the commands of 'graft data' take in place of a path.

      EXAMPLES
        graft fetch smollm2
        graft fetch mnist
      """)

  @Argument(help: "The name of a model or of a set of images.") var name: String

  func run() throws {
    if let set = KnownImageSet.all.first(where: { $0.name == name }) {
      return Console.result(try ImageSetFetching(say: Console.error)(set))
    }
    guard let model = KnownModel.all.first(where: { $0.name == name }) else {
      let names = (KnownModel.all.map(\.name) + KnownImageSet.all.map(\.name)).joined(separator: ", ")
      throw UsageError(description: "no model and no set of images is called '\(name)'; known are \(names)")
    }
    Console.result(try Fetching(say: Console.error)(model))
  }
}
