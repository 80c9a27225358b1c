import ArgumentParser
import Recipes

/// Learns a sequence of tasks.
struct Sequence: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract:
      "Learn image tasks one after another on a frozen network, in several ways, and compare what is forgotten.",
    discussion: """
      head     an output layer a task
      clr      channel-wise filters, batch norms and an output layer a task: forgets nothing, and proves it bit for bit
      shared   one set of filters and norms for all tasks, each learned after the other
      ewc      the same, held to what earlier tasks needed
      replay   the same, with images of earlier tasks in every batch
      joint    the same on all tasks at once: what there is to reach
      The output folder holds results.json, accuracies.csv, predictions.csv, a heat map for each and report.html. Given
      again, the command goes on where it stopped.

      EXAMPLES
        graft sequence Recipes/sequence-small.yaml
      """)

  @Argument(help: "The recipe, a YAML file.") var recipe: String
  @Flag(help: "Print the results as JSON.") var json = false

  func run() throws {
    let report = try SequenceJob(try SequenceRecipe(recipe, catalogue: .graft)).run { Console.error($0) }
    Console.result(json ? report.json.text(pretty: true) : report.text)
  }
}
