import ArgumentParser
import Files
import Recipes
import Training

/// Measures how far one model's predictions lie from another's.
struct Divergence: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "kl",
    abstract: "Measure how far a model's predictions lie from another's on a text.",
    discussion: """
      Any two of one tokenizer: floats, packed, merged, or with an adapter beside. The text, or the rows of a .jsonl file laid
      end to end, is cut into windows that do not overlap; tokens from --skip on are scored in each. KL is that of MODEL
      from OTHER, Σ p log (p / q) with p the first one's, in nats a token.

      EXAMPLES
        graft kl smollm2 smollm2-3bit --text /usr/share/common-licenses/GPL-3
        graft kl smollm2 smollm2-2bit --adapter-b runs/correction/adapter --text held-out.jsonl --windows 8
      """)

  @Argument(help: "The model that is taken for right.") var model: String
  @Argument(help: "The model that is compared with it.") var other: String
  @Option(help: "An adapter's folder, for the first.") var adapter: String?
  @Option(help: "An adapter's folder, for the second.") var adapterB: String?
  @Option(help: "The task to serve, for adapters that route by task.") var task: String?
  @Option(help: "The text file, or rows of .jsonl.") var text: String
  @Option(help: "Tokens a window.") var window = 512
  @Option(help: "Windows at most; all if left out.") var windows: Int?
  @Option(help: "Tokens at a window's start that are read but not scored, at least 1.") var skip = 1
  @Flag(help: "Accept adapters that were trained on another base.") var anyBase = false
  @Flag(help: "Print JSON.") var json = false

  func run() throws {
    guard window >= 2, skip >= 1, skip < window, windows.map({ $0 > 0 }) ?? true else {
      throw UsageError(description: "--window must be at least 2, --skip from 1 to below it, --windows at least 1")
    }
    guard task == nil || adapter != nil || adapterB != nil else {
      throw UsageError(description: "--task belongs to --adapter or --adapter-b")
    }
    func load(_ path: String, _ adapter: String?) throws -> LoadedModel {
      let loaded = try LoadedModel(path, adapter: adapter, task: adapter == nil ? nil : task, anyBase: anyBase)
      guard window <= loaded.network.contextLength else {
        throw UsageError(
          description: "--window \(window): '\(path)' reads at most \(loaded.network.contextLength) tokens")
      }
      return loaded
    }
    let result = try DivergenceMeasure(window: window, skip: skip, limit: windows)
      .measure(try load(model, adapter), try load(other, adapterB), text: text)
    let (first, second) = result.perplexities
    guard !json else {
      return Console.result(
        JSON.object([
          "kl": .number(result.mean), "kl_median": .number(result.quantile(0.5)),
          "kl_95": .number(result.quantile(0.95)),
          "kl_99": .number(result.quantile(0.99)), "kl_max": .number(result.divergences.last ?? 0),
          "agreement": .number(result.agreement), "perplexity_a": .number(first),
          "perplexity_b": .number(second), "tokens": .integer(result.divergences.count),
          "windows": .integer(result.windows), "window": .integer(window), "skip": .integer(skip),
        ]).text(pretty: true))
    }
    Console.result(
      """
      KL \(number(result.mean)) nats a token   median \(number(result.quantile(0.5)))   95 % \(number(result.quantile(0.95)))   99 % \(number(result.quantile(0.99)))   most \(number(result.divergences.last ?? 0))
      same top token \(percent(result.agreement))
      perplexity \(number(first)) → \(number(second))   (× \(number(second / first)))
      over \(result.divergences.count) tokens: \(result.windows) windows of \(window), positions \(skip) to \(window - 1), no overlap, no special tokens
      """)
  }
}
