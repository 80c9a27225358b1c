import Adapters
import ArgumentParser
import Files
import Foundation
import Recipes

/// Carries out a recipe.
struct Train: ParsableCommand, Interruptible {
  static let configuration = CommandConfiguration(
    abstract: "Train an adapter as a recipe says.",
    discussion: """
      EXAMPLES
        graft train recipe.yaml
        graft train recipe.yaml learning_rate=1e-4 adapter.rank=16 ~eval.samples 'target_modules+=o_proj'
      """)

  @Argument(help: "The recipe, a YAML file.") var recipe: String
  @Argument(help: "Changes: key=value, ~key to remove, key+=value to append.") var changes: [String] = []
  @Flag(help: "Open and check everything, show the header and the forecast, and train nothing.") var dryRun = false
  @Flag(help: "Begin anew where the output folder holds an unfinished run.") var overwrite = false

  func run() throws {
    let recipe = try Recipe.read(recipe, overrides: changes, catalogue: .graft)
    if dryRun { return try forecast(recipe) }
    try carryOut(recipe, overwrite ? .replacing : .afresh)
  }

  private func forecast(_ recipe: Recipe) throws {
    let scratch = NSTemporaryDirectory() + "graft-\(ProcessInfo.processInfo.processIdentifier)"
    defer { Folder.remove(scratch) }
    for line in try RunPlan(recipe, scratch: scratch).headerAndForecast() { Console.result(line) }
  }
}

/// Goes on with an interrupted run.
struct Resume: ParsableCommand, Interruptible {
  static let configuration = CommandConfiguration(
    abstract: "Go on with a run from its newest checkpoint, exactly as if it had not stopped.",
    discussion: """
      EXAMPLE
        graft resume runs/support-bot
      """)

  @Argument(help: "The run's output_dir.") var folder: String
  @Option(help: "Threads; changes no result.") var threads: Int?

  func run() throws {
    let path = folder + "/resolved.yaml"
    guard Folder.exists(path) else {
      throw FileError(folder, "holds no resolved.yaml", remedy: "give the output_dir of a run that was started")
    }
    var recipe = try Recipe.read(path, catalogue: .graft)
    recipe.outputDirectory = RecipePath(folder)
    if let threads { recipe.train.threads = threads }
    try carryOut(recipe, .resuming)
  }
}

/// Runs `recipe` and ends with the code of how it ended.
private func carryOut(_ recipe: Recipe, _ start: Run.Start) throws {
  let total = TotalSteps()
  let run = try Run(recipe, start) { Console.show($0, of: total.value) }
  total.value = run.totalSteps
  switch try run() {
  case .complete: return
  case .interrupted(let signal, _): throw Ending(code: 128 + signal)
  case .unfaithful: throw Ending(code: 4)
  }
}

/// The number of steps, known once the run is made.
private final class TotalSteps { var value = 0 }

extension RecipeCatalogue {
  /// What this build knows.
  static var graft: RecipeCatalogue {
    RecipeCatalogue(
      adapterTypes: Catalogue.methods, adapterOptions: Catalogue.options, models: KnownModel.all.map(\.name))
  }
}
