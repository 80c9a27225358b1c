import ArgumentParser
import Recipes

/// Measures this machine and Graft on it.
struct Bench: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measure training and generation against what the machine can do.",
    subcommands: [BenchTrain.self, BenchDecode.self, BenchGEMV.self, BenchCNN.self])
}

/// Measures a training step.
struct BenchTrain: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "train",
    abstract: "Time a training step and compare it with the machine's peak, measured in the same run.",
    discussion: """
      EXAMPLES
        graft bench train
        graft bench train --model smollm2 --batch 4 --sequence 256 --steps 3
        graft bench train --adapter s2ft --adapter lora --targets o_proj down_proj
        graft bench train --model smollm2 --batch 1 --sequence 512 --packing f32 q4_0 int4-g64
      """)

  @Option(help: "A model; a random one of the sizes below if left out.") var model: String?
  @Option(help: "Sizes of the random model: channels, blocks, feed-forward channels, token ids, heads, key heads.")
  var hidden = 256
  @Option var layers = 4
  @Option var ffn = 688
  @Option var vocab = 4096
  @Option var heads = 4
  @Option var kvHeads = 4
  @Option(help: "Sequences a step, and tokens a sequence.") var batch = 4
  @Option var sequence = 128
  @Option(help: "The adapter's rank; s2ft trains about as many numbers as a LoRA of it.") var rank = 8
  @Option(help: "An adapter type; given more than once, their steps take turns. lora if left out.")
  var adapter: [String] = []
  @Option(
    parsing: .upToNextOption, help: "The layers it is put on, by the ends of their names; all linear ones if left out.")
  var targets: [String] = []
  @Option(
    parsing: .upToNextOption,
    help: "Packings of the frozen matrices, whose steps take turns, such as f32 q4_0 int4-g64; as they are if none.")
  var packing: [String] = []
  @Option(help: "Timed steps, after warm-up.") var steps = 20
  @Option(help: "Threads.") var threads: Int?
  @Flag(help: "Recompute activations.") var recompute = false
  @Flag(help: "Print JSON.") var json = false

  func run() throws {
    guard [hidden, layers, ffn, vocab, heads, kvHeads, batch, sequence, rank, steps].allSatisfy({ $0 > 0 }),
      sequence >= 2
    else { throw UsageError(description: "sizes must be positive, and --sequence at least 2") }
    let sizes = TrainingBenchmark.Sizes(
      hidden: hidden, layers: layers, ffn: ffn, vocab: vocab, heads: heads, kvHeads: kvHeads)
    let benchmark = TrainingBenchmark(
      model: model, sizes: sizes, batch: batch, sequence: sequence, rank: rank, steps: steps, recomputes: recompute,
      adapters: adapter.isEmpty ? ["lora"] : adapter, targets: targets, packings: packing)
    let results = try benchmark.measure(threads: threads)
    if json {
      let each = results.map(\.json)
      Console.result((each.count == 1 ? each[0] : .array(each)).text(pretty: true))
    } else {
      for result in results { Console.result(result.text) }
    }
  }
}

/// Measures generation.
struct BenchDecode: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "decode",
    abstract:
      "Time reading a prompt and writing tokens, and compare with the memory bandwidth measured in the same run.",
    discussion: """
      EXAMPLE
        graft bench decode smollm2
      """)

  @Argument(help: "The model.") var model: String
  @Option(help: "Tokens of the prompt.") var prompt = 256
  @Option(help: "Tokens to write.") var tokens = 64
  @Option(help: "Threads.") var threads: Int?
  @Flag(help: "Print JSON.") var json = false

  func run() throws {
    guard prompt > 0, tokens > 0 else { throw UsageError(description: "--prompt and --tokens must be at least 1") }
    let result = try DecodingBenchmark(prompt: prompt, tokens: tokens).measure(LoadedModel(model), threads: threads)
    Console.result(json ? result.json.text(pretty: true) : result.text)
  }
}
