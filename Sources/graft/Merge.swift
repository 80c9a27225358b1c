import ArgumentParser
import Files
import Recipes
import Weights

/// Folds an adapter into its base and proves the result.
struct Merge: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Fold an adapter into its base, read the result back, and prove that it does what both did together.",
    discussion: """
      A path ending in .gguf gives a GGUF file, any other a Hugging Face folder. 'full' keeps the changed matrices as
      floats; 'requantize' rounds them to the packing they had. Ends with code 4 when the result is not faithful.

      EXAMPLES
        graft merge smollm2 runs/trivia/adapter --output merged --format full
        graft merge smollm2 runs/trivia/adapter --output merged.gguf --format requantize --raise q8_0
        graft merge embedded runs/topics/adapter --task humor --output humor.gguf
      """)

  @Argument(help: "The base model.") var model: String
  @Argument(help: "The adapter's folder.") var adapter: String
  @Option(help: "The task to serve, for an adapter that routes by task.") var task: String?
  @Option(name: .shortAndLong, help: "Where the merged model goes.") var output: String
  @Option(help: "full or requantize.") var format = "full"
  @Option(help: "A packing, such as q8_0, for layers whose change their own packing would lose.") var raise: String?
  @Option(help: "Text or JSONL on which both are compared.") var probe: String?
  @Option(help: "Largest KL divergence, nats a token.") var maxKl = 0.02
  @Option(help: "Smallest share of equal top tokens.") var minTop1 = 0.98
  @Option(help: "Smallest share of a layer's change that must survive.") var minSurvival = 0.5
  @Flag(help: "Accept an adapter that was trained on another base.") var anyBase = false
  @Flag(help: "Print the report as JSON.") var json = false

  func run() throws {
    guard let format = MergeFormat(rawValue: format) else {
      throw UsageError(description: "--format \(format): expected full or requantize")
    }
    var job = MergeJob(format: format)
    job.bounds.maxDivergence = maxKl
    job.bounds.minAgreement = minTop1
    job.bounds.minSurvival = minSurvival
    if let raise {
      do { job.raise = try Packing(parsing: raise) } catch {
        throw UsageError(description: "--raise \(raise): \(error)")
      }
    }
    let base = try LoadedModel(model, adapter: adapter, task: task, anyBase: anyBase, folds: true)
    let probes = try probe.map { try ProbeText.sequences($0, for: base) } ?? ProbeText.standard(for: base)
    let report = try job.write(base, to: output, probe: probes)
    Console.result(json ? report.json.text(pretty: true) : report.text)
    if !report.holds { throw Ending(code: 4) }
  }
}
