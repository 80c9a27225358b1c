import ArgumentParser
import Files
import Images
import Recipes

/// Shows some images of each class.
struct DataSheet: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sheet", abstract: "Write a PNG with the first images of each class, a row for each.",
    discussion: """
      EXAMPLE
        graft data sheet Data/animals/train.h5 animals.png --per-class 12
      """)

  @Argument(help: "The set.") var path: String
  @Argument(help: "The PNG file to write.") var output: String
  @Option(help: "How many images of each class.") var perClass = 10
  @Option(help: "The number of the first class shown; at most 40 are.") var from = 0

  func run() throws {
    let set = try ImageSet(try KnownImageSet.resolve(path))
    guard perClass > 0, (0..<set.classNames.count).contains(from) else {
      throw UsageError(
        description: "--per-class is at least 1, and --from names a class from 0 to \(set.classNames.count - 1)")
    }
    var sheet = ContactSheet()
    sheet.perClass = perClass
    sheet.classes = from..<min(from + 40, set.classNames.count)
    let png = try sheet.picture(of: set).png(for: output)
    try AtomicFile.write(output) { file in try png.withUnsafeBytes { try file.write($0) } }
    Console.result("wrote \(output), from the top: \(set.classNames[sheet.classes].joined(separator: ", "))")
  }
}
