import ArgumentParser
import Files
import Recipes
import Training

/// Measures how surprised a model is by a text.
struct Perplexity: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measure a model's perplexity on a text.",
    discussion: """
      The text is cut into windows that do not overlap; no special tokens are added. In each window the tokens from
      --skip on are scored; perplexity is exp of their mean negative log-likelihood.

      EXAMPLE
        graft perplexity smollm2 --text /usr/share/common-licenses/GPL-3 --window 512 --windows 4
      """)

  @Argument(help: "The model.") var model: String
  @Option(help: "The adapter's folder.") var adapter: String?
  @Option(help: "The task to serve, for an adapter that routes by task.") var task: String?
  @Option(help: "The text file, or rows of .jsonl, laid end to end.") var text: String
  @Option(help: "Tokens a window.") var window = 512
  @Option(help: "Windows at most; all if left out.") var windows: Int?
  @Option(help: "Tokens at a window's start that are read but not scored, at least 1.") var skip = 1
  @Flag(help: "Accept an adapter that was trained on another base.") var anyBase = false
  @Flag(help: "Print JSON.") var json = false

  func run() throws {
    guard window >= 2, skip >= 1, skip < window, windows.map({ $0 > 0 }) ?? true else {
      throw UsageError(description: "--window must be at least 2, --skip from 1 to below it, --windows at least 1")
    }
    let loaded = try LoadedModel(model, adapter: adapter, task: task, anyBase: anyBase)
    guard window <= loaded.network.contextLength else {
      throw UsageError(
        description: "--window \(window): the model reads at most \(loaded.network.contextLength) tokens")
    }
    let result = try PerplexityMeasure(window: window, skip: skip, limit: windows).measure(loaded, text: text)
    if json {
      Console.result(
        JSON.object([
          "perplexity": .number(result.perplexity), "mean_nll": .number(result.loss), "tokens": .integer(result.tokens),
          "windows": .integer(result.windows), "window": .integer(window), "skip": .integer(skip),
        ]).text(pretty: true))
    } else {
      Console.result(
        "perplexity \(number(result.perplexity))   (\(number(result.loss)) nats a token over \(result.tokens) tokens: \(result.windows) windows of \(window), positions \(skip) to \(window - 1), no overlap, no special tokens)"
      )
    }
  }
}
