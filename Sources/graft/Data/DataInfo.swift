import ArgumentParser
import Images
import Recipes

/// Shows what a set of images holds.
struct DataInfo: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "info", abstract: "Show a set's shape, origin, classes with their numbers, mean and deviation.",
    discussion: """
      Every image is read and its checksum checked.

      EXAMPLE
        graft data info Data/animals/train.h5
      """)

  @Argument(help: "The set.") var path: String

  func run() throws { Console.result(try ImageReport(try ImageSet(try KnownImageSet.resolve(path))).text) }
}
