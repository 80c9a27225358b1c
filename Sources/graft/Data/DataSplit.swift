import ArgumentParser
import Images
import Recipes

/// Cuts a set of images in two.
struct DataSplit: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "split", abstract: "Cut a set in two that share no image, every class with its share in both.",
    discussion: """
      Writes train.h5 and test.h5 into the folder. The same numbers and seed always choose the same images, and which are
      for testing does not depend on how many are for training. Images that equal one for testing are not trained on.

      EXAMPLE
        graft data split animals.h5 animals --train 2000 --test 1000 --seed 1
      """)

  @Argument(help: "The set.") var path: String
  @Argument(help: "The folder to write into.") var folder: String
  @Option(help: "How many images to train on; all that are left if left out.") var train: Int?
  @Option(help: "How many images to test with.") var test: Int
  @Option(help: "What decides which.") var seed: UInt64 = 0

  func run() throws {
    guard train ?? 1 > 0, test > 0 else { throw UsageError(description: "--train and --test are at least 1") }
    let made = try SplitJob(train: train, test: test, seed: seed).write(try KnownImageSet.resolve(path), to: folder)
    for part in [made.train, made.test] { Console.result("wrote \(part): \(grouped(try ImageSet(part).count)) images") }
    if made.leftOut > 0 { Console.result("left out \(made.leftOut) images that equal one for testing") }
  }
}
