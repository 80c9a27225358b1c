import ArgumentParser
import Recipes

/// Measures a training step of a network of images.
struct BenchCNN: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cnn",
    abstract: "Time a training step of a network of images.",
    discussion: """
      EXAMPLES
        graft bench cnn
        graft bench cnn --model mobilenet-v2 --adapter clr --batch 32 --size 112
        graft bench cnn --model resnet18 --adapter lora --packing q8_0
      """)

  @Option(help: "A folder, or one of \(ImageBenchmark.known.joined(separator: ", ")), with random weights.")
  var model = "efficientnet-lite0"
  @Option(help: "The adapter's type.") var adapter = "clr"
  @Option(help: "Images a step, and their height and width.") var batch = 32
  @Option var size = 112
  @Option(help: "Timed steps, after warm-up.") var steps = 6
  @Option(help: "Threads.") var threads: Int?
  @Option(help: "A packing to round the frozen filters to first.") var packing: String?
  @Flag(help: "Print JSON.") var json = false

  func run() throws {
    guard batch > 0, size > 0, size <= 4096, steps > 0 else {
      throw UsageError(description: "--batch, --size and --steps must be positive, and --size at most 4096")
    }
    let result = try ImageBenchmark(
      model: model, adapter: adapter, batch: batch, side: size, steps: steps, packing: packing
    ).measure(threads: threads)
    Console.result(json ? result.json.text(pretty: true) : result.text)
  }
}
