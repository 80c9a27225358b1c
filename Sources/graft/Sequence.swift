import ArgumentParser
import Recipes

/// Learns a sequence of tasks.
struct Sequence: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract:
      "Learn tasks one after another on a frozen network, in several ways, and compare what is forgotten.",
    discussion: """
      Of images:
        head        an output layer a task; nothing else learns
        probe       the same solved to the end as a logistic regression: what the frozen features have to give
        clr         channel-wise filters, batch norms and an output layer a task: forgets nothing, proven bit for bit
        adapter     an adapter of any family and an output layer a task: the same
        shared      one set of filters and norms, or one adapter, for all tasks, each learned after the other
        full        all weights of one network, taught task after task
        ewc         as shared, held to what earlier tasks needed
        replay      the same, with images of earlier tasks in every batch
        mhr         the same with an inventory of skills that each task mixes in its own way
        joint       the same on all tasks at once: what there is to reach
        mos         an adapter a task, merged while it learns and found again by its classes
        ear         an adapter a task where its images are new, found again by what the frozen network sees
      In scenarios class and domain the task is not told: clr, adapter and mhr have no place there, mos and ear
      no other (mos only in class).
      Of texts, where the recipe has the sections of a run:
        head, probe as above, on an encoder
        adapter     an adapter a task: forgets nothing, proven bit for bit
        full        all weights of one model, taught task after task
        sequential  one adapter for all tasks, each learned after the other
        replay, ewc, joint   as above, for one adapter
        mhr         one inventory of skills, mixed anew for each task
      The output folder holds results.json, the matrix as CSV, predictions.csv, a heat map for each, curves.svg and
      report.html. Given again, the command goes on where it stopped.

      EXAMPLES
        graft sequence Recipes/sequence-small.yaml
        graft sequence Recipes/sequence-small.yaml --output runs/again
        graft sequence Recipes/sequence-text-topics.yaml
      """)

  @Argument(help: "The recipe, a YAML file.") var recipe: String
  @Option(name: .shortAndLong, help: "Where everything is written, in place of the recipe's output_dir.")
  var output: String?
  @Flag(help: "Print the results as JSON.") var json = false

  func run() throws {
    let report: SequenceReport
    if try RecipeKind(of: recipe) == .textSequence {
      // Images lose no more than an epoch, texts no step.
      Interruption.watch()
      var sequence = try TextSequenceRecipe(recipe, catalogue: .graft)
      if let output { sequence.output = output }
      guard let whole = try TextSequenceJob(sequence).run(progress: { Console.error($0) }) else {
        let place = output.map { " --output \($0)" } ?? ""
        Console.error("interrupted; everything needed to go on is kept: graft sequence \(recipe)\(place)")
        throw Ending(code: 128 + (Interruption.signal ?? 0))
      }
      report = whole
    } else {
      var sequence = try SequenceRecipe(recipe, catalogue: .graft)
      if let output { sequence.output = output }
      report = try SequenceJob(sequence).run { Console.error($0) }
    }
    Console.result(json ? report.json.text(pretty: true) : report.text)
  }
}
