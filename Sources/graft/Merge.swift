import ArgumentParser
import Files
import Recipes
import Weights

/// Folds an adapter into its base and proves the result.
struct Merge: ParsableCommand, WritingOnce {
  static let configuration = CommandConfiguration(
    abstract: "Fold an adapter into its base, read the result back, and prove that it does what both did together.",
    discussion: """
      A path ending in .gguf gives a GGUF file, any other a Hugging Face folder; a folder that is there is replaced if all of
      it is Graft's, else refused. Nothing has its name before it has been compared. 'full' keeps the changed matrices as
      floats; 'requantize' rounds them to the packing they had; 'auto' takes the smallest of these that keeps the bounds,
      where rounding alone does not with as few layers in eight bits as do. --modes shows all of them and writes nothing.
      A folder of packed matrices is in Graft's own form. Ends with code 4 when the result is not faithful.

      EXAMPLES
        graft merge smollm2 runs/trivia/adapter --output merged --format full
        graft merge smollm2 runs/trivia/adapter --output merged.gguf --format requantize --raise q8_0
        graft merge embedded runs/topics/adapter --task humor --output humor.gguf
        graft merge smollm2 runs/trivia/adapter --modes
        graft merge smollm2 runs/trivia/adapter --output merged.gguf --format auto --max-kl 0.01
      """)

  @Argument(help: "The base model.") var model: String
  @Argument(help: "The adapter's folder.") var adapter: String
  @Option(help: "The task to serve, for an adapter that routes by task.") var task: String?
  @Option(name: .shortAndLong, help: "Where the merged model goes.") var output: String?
  @Option(help: "full, requantize or auto; full if left out.") var format: String?
  @Flag(help: "Show what each mode keeps and takes, and write nothing.") var modes = false
  @Option(help: "A packing, such as q8_0, for layers whose change their own packing would lose.") var raise: String?
  @Option(help: "Text or JSONL on which both are compared.") var probe: String?
  @Option(help: "Largest KL divergence, nats a token.") var maxKl = 0.02
  @Option(help: "Smallest share of equal top tokens, 0 to 1.") var minTop1 = 0.98
  @Option(help: "Smallest share of a layer's change that must survive, 0 to 1.") var minSurvival = 0.5
  @Flag(help: "Accept an adapter that was trained on another base.") var anyBase = false
  @Flag(help: "Print the report as JSON.") var json = false

  func run() throws {
    guard modes || output != nil else { throw UsageError(description: "--output is missing; or give --modes") }
    let bounds = try bounds()
    var job = try job(bounds)
    let base = try LoadedModel(model, adapter: adapter, task: task, anyBase: anyBase, folds: true)
    if let output {
      _ = try ModelOutput(output, of: base, sources: [adapter])
      if format != "auto" { try job.check(base, to: output) }
    }
    let probes = try probe.map { try ProbeText.sequences($0, for: base) } ?? ProbeText.standard(for: base)
    if modes || format == "auto" {
      var comparison = MergeModes()
      comparison.bounds = bounds
      let found = try comparison.compare(base, probe: probes)
      if modes { return Console.result(json ? MergeModes.json(found).text(pretty: true) : MergeModes.text(found)) }
      Console.error(MergeModes.text(found))
      guard let best = MergeModes.best(of: found), let chosen = best.job(bounds) else {
        Console.error("no merged model keeps the bounds: keep the adapter beside its base, or loosen them")
        throw Ending(code: 4)
      }
      job = chosen
      if let output { try job.check(base, to: output) }
    }
    guard let output else { return }
    let report = try job.write(base, to: output, probe: probes)
    Console.result(json ? report.json.text(pretty: true) : report.text)
    if !report.holds { throw Ending(code: 4) }
  }

  private func bounds() throws -> MergeBounds {
    guard maxKl >= 0, maxKl.isFinite else {
      throw UsageError(description: "--max-kl \(maxKl): expected nats a token, a number of at least 0")
    }
    for (name, share) in [("--min-top1", minTop1), ("--min-survival", minSurvival)] where !(share >= 0 && share <= 1) {
      throw UsageError(description: "\(name) \(share): expected a share from 0 to 1, such as 0.98")
    }
    var bounds = MergeBounds()
    (bounds.maxDivergence, bounds.minAgreement, bounds.minSurvival) = (maxKl, minTop1, minSurvival)
    return bounds
  }

  /// What the options ask for; where the format is `auto`, what is replaced by the best mode.
  private func job(_ bounds: MergeBounds) throws -> MergeJob {
    let name = format ?? "full"
    guard name == "auto" || MergeFormat(rawValue: name) != nil else {
      throw UsageError(description: "--format \(name): expected full, requantize or auto")
    }
    for (option, isGiven) in [("--output", output != nil), ("--format", format != nil), ("--raise", raise != nil)]
    where modes && isGiven {
      throw UsageError(description: "--modes shows every way and writes nothing; leave \(option) out")
    }
    guard raise == nil || name == "requantize" else {
      throw UsageError(description: "--raise belongs to --format requantize; with --format \(name) leave it out")
    }
    var job = MergeJob(format: MergeFormat(rawValue: name) ?? .full)
    job.bounds = bounds
    if let raise {
      do { job.raise = try Packing(parsing: raise) } catch {
        throw UsageError(description: "--raise \(raise): \(error)")
      }
    }
    return job
  }
}
