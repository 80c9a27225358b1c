import ArgumentParser
import Images
import Recipes

/// Makes a set of images that lie in other files.
struct DataImport: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "import",
    abstract: "Make a set of images from IDX, NumPy or CSV files, folders of PNG and JPEG, or another set.",
    discussion: """
      SOURCE is one of:
        a folder with a folder for each class, of PNG and JPEG files
        an IDX or NumPy file of images, with another of labels (--labels), which may also be text with one a line
        a NumPy archive (.npz) with images and labels
        a table (.csv) with a label and the pixels of an image in each line
        a set made before, or NAME/train or NAME/test of one that was fetched, to take a part of it or resize it
        any other file whose layout you know (--raw)
      Each but the folder may be packed by gzip. The images keep their order.

      EXAMPLES
        graft data import train-images-idx3-ubyte.gz train.h5 --labels train-labels-idx1-ubyte.gz
        graft data import digits.csv.gz digits.h5 --label-column last --scale 15.9375
        graft data import photos photos.h5 --size 96x96 --channels 3 --classes cat,dog
        graft data import mnist/train ones-and-sevens.h5 --classes 1,7 --limit 1000 --seed 1
        graft data import arrays.pickle.gz set.h5 --raw 10000x28x28 --offset 150 \\
          --labels labels.pickle.gz --label-type i64 --label-offset 146
      """)

  @Argument(help: "The file or folder with the images.") var source: String
  @Argument(help: "The set to write (.h5).") var output: String
  @Option(help: "The file with the labels.") var labels: String?
  @Option(help: "Resize to HEIGHTxWIDTH, averaging over the pixels that are put together.") var size: String?
  @Option(help: "Make grey (1) or colours (3) of all images.") var channels: Int?
  @Option(help: "Take at most so many images, of every class its share.") var limit: Int?
  @Option(help: "Draw the images that --limit takes; without it the first of each class are taken.") var seed: UInt64?
  @Option(help: "Take only these classes, by name, numbered in this order: cat,dog.") var classes: String?
  @Option(help: "The names of classes 0, 1, …: ankle,bag,coat.") var names: String?
  @Option(help: "What numbers are multiplied by before they are rounded to 0 to 255.") var scale: Double?
  @Option(help: "HEIGHTxWIDTH or HEIGHTxWIDTHx3 of the images in a table; else they are grey and square.")
  var shape: String?
  @Option(help: "Where the label stands in a table's lines: first or last.") var labelColumn = "first"
  @Option(help: "COUNTxHEIGHTxWIDTH[x3] of images of one byte a value, in a file that does not say so itself.")
  var raw: String?
  @Option(help: "With --raw, the bytes before the first image.") var offset = 0
  @Option(help: "With --raw, the bytes before the first label.") var labelOffset = 0
  @Option(help: "With --raw, the type of the labels: u8, i32 or i64.") var labelType = "u8"
  @Option(help: "The array of images in a NumPy archive, where there are several.") var array: String?
  @Option(help: "The array of labels in a NumPy archive, where there are several.") var labelArray: String?
  @Option(help: "What the set is called.") var name = ""
  @Option(help: "Where the images come from.") var origin = ""
  @Option(help: "The terms under which they may be used.") var licence = ""

  func run() throws {
    var job = ImageImport()
    (job.labels, job.scale, job.seed) = (labels, scale, seed)
    (job.imageArray, job.labelArray) = (array, labelArray)
    job.origin = ImageSet.Origin(name: name, source: origin, licence: licence)
    job.classes = classes.map(Self.list) ?? []
    job.names = names.map(Self.list) ?? []
    job.size = try size.map { try Self.sizes($0, 2...2, "--size") }.map { ($0[0], $0[1]) }
    job.shape = try shape.map { try Self.sizes($0, 2...3, "--shape") } ?? []
    guard channels == nil || channels == 1 || channels == 3 else {
      throw UsageError(description: "--channels \(channels ?? 0): expected 1 or 3")
    }
    job.channels = channels
    guard limit ?? 1 > 0 else { throw UsageError(description: "--limit \(limit ?? 0): expected at least 1") }
    guard limit != nil || seed == nil else { throw UsageError(description: "--seed draws what --limit takes") }
    job.limit = limit
    guard scale?.isFinite != false, scale != 0 else {
      throw UsageError(description: "--scale \(scale ?? 0): expected a number other than 0")
    }
    guard labelColumn == "first" || labelColumn == "last" else {
      throw UsageError(description: "--label-column \(labelColumn): expected first or last")
    }
    job.hasLabelLast = labelColumn == "last"
    if let raw {
      var layout = RawLayout(shape: try Self.sizes(raw, 3...4, "--raw"))
      guard let type = RawLayout.LabelType(rawValue: labelType) else {
        throw UsageError(description: "--label-type \(labelType): expected u8, i32 or i64")
      }
      guard offset >= 0, labelOffset >= 0 else { throw UsageError(description: "an offset is not negative") }
      (layout.offset, layout.labelOffset, layout.labelType) = (offset, labelOffset, type)
      job.raw = layout
    } else if offset != 0 || labelOffset != 0 || labelType != "u8" {
      throw UsageError(description: "--offset, --label-offset and --label-type belong to --raw")
    }
    try job(try KnownImageSet.resolve(source), to: output)
    let set = try ImageSet(output)
    Console.result(
      "wrote \(output): \(grouped(set.count)) images of \(set.height) × \(set.width) × \(set.channels), \(set.classNames.count) classes"
    )
  }

  private static func list(_ text: String) -> [String] {
    text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
  }

  /// The numbers in `28x28`.
  private static func sizes(_ text: String, _ count: ClosedRange<Int>, _ option: String) throws -> [Int] {
    let parts = text.split(separator: "x", omittingEmptySubsequences: false)
    let sizes = parts.compactMap { Int($0) }
    guard sizes.count == parts.count, count.contains(sizes.count), sizes.allSatisfy({ $0 > 0 && $0 <= Int32.max }),
      sizes.suffix(sizes.count == count.upperBound && count.upperBound == 4 ? 3 : 2)
        .allSatisfy({ $0 <= ImageSet.largestSide })
    else {
      throw UsageError(
        description: "\(option) \(text): expected \(count.lowerBound) to \(count.upperBound) sizes such as 28x28")
    }
    return sizes
  }
}
