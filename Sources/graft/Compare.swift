import Adapters
import ArgumentParser
import Files
import Foundation
import Recipes

/// Trains families under one budget and says what each reached.
struct Compare: ParsableCommand, Interruptible {
  static let configuration = CommandConfiguration(
    abstract: "Train several families on one recipe under one budget, and write one table.",
    discussion: """
      Each run is a process of its own, so that its memory is its own. By default every family trains about as many
      numbers as the recipe's adapter does, by its rank, and as many steps. The output folder holds table.md, table.csv,
      table.json and pareto.svg beside the runs; given again, the command goes on where it stopped.

      EXAMPLES
        graft compare Recipes/lora-embedded-chatterbot.yaml --families lora,dora --seeds 3 --output runs/compare
        graft compare recipe.yaml --families lora,mhr --budget steps --set mhr:data.task_field=topic max_steps=200
      """)

  @Argument(help: "The recipe, a YAML file; its adapter's size is the budget.") var recipe: String
  @Argument(help: "Changes for every run: key=value, ~key to remove.") var changes: [String] = []
  @Option(help: "Families, separated by commas; all that the recipe can train if left out.") var families: String?
  @Option(help: "What is held equal: params; steps, or seconds of training (each family at the recipe's rank).")
  var budget = "params"
  @Option(help: "Seconds of training a run, for --budget seconds.") var seconds: Double?
  @Option(help: "How many seeds: 1, 2, 3, …") var seeds = 1
  @Option(name: .shortAndLong, help: "The folder for runs and results.") var output: String
  @Option(help: "A change for one family alone: FAMILY:key=value; may be repeated.") var set: [String] = []
  @Flag(help: "Print the table as JSON.") var json = false

  func run() throws {
    guard let budget = Comparison.Budget(rawValue: budget) else {
      throw UsageError(description: "--budget \(budget): expected params, steps or seconds")
    }
    guard (seconds != nil) == (budget == .seconds), seconds ?? 1 > 0 else {
      throw UsageError(description: "--budget seconds needs --seconds, a number above 0, and no other budget does")
    }
    guard seeds > 0 else { throw UsageError(description: "--seeds must be at least 1") }
    var own: [String: [String]] = [:]
    for text in set {
      let parts = text.split(separator: ":", maxSplits: 1).map(String.init)
      guard parts.count == 2 else { throw UsageError(description: "--set \(text): expected FAMILY:key=value") }
      own[parts[0], default: []].append(parts[1])
    }
    let comparison = try Comparison(
      recipe: recipe, families: families?.split(separator: ",").map(String.init),
      budget: budget, seconds: seconds, seeds: Array(1...seeds), folder: absolute(output), changes: changes,
      familyChanges: own)
    try Folder.create(comparison.folder)
    let (members, leftOut) = try comparison.members(catalogue: .graft)
    for (family, reason) in leftOut { Console.error("left out: \(family): \(reason)") }
    for (index, member) in members.enumerated() {
      Console.error("run \(index + 1) of \(members.count): \(member.family), seed \(member.seed)")
      try make(member)
      if let signal = Interruption.signal { throw Ending(code: 128 + signal) }
    }
    let rows = try comparison.families.compactMap { family in
      let folders = members.filter { $0.family == family }.map(\.folder)
      return folders.isEmpty ? nil : try ComparisonRow(family: family, folders: folders)
    }
    let table = ComparisonTable(rows, before: members.first.flatMap { Run.firstEvaluation(in: $0.folder) })
    let title = "\(recipe), equal \(budget.rawValue)"
    let files = try table.write(to: comparison.folder, title: title)
    Console.result(json ? table.json.text(pretty: true) : table.markdown)
    for path in files { Console.error("wrote \(displayed(path))") }
  }

  private func absolute(_ path: String) -> String {
    path.hasPrefix("/") ? path : FileManager.default.currentDirectoryPath + "/" + path
  }

  /// Makes one run in a process of its own, unless it is done.
  private func make(_ member: Comparison.Member) throws {
    if Folder.exists(member.folder + "/report.json") { return }
    let hasBegun = !Folder.names(in: member.folder + "/checkpoints").isEmpty
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    process.arguments =
      hasBegun ? ["resume", member.folder] : ["train", recipe, "--overwrite"] + member.changes
    process.standardOutput = FileHandle.standardError
    let log = Pipe()
    process.standardError = log
    try process.run()
    let text = String(decoding: log.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    try Folder.create(member.folder)
    try AtomicFile.write(text, to: member.folder + "/log.txt")
    guard process.terminationStatus == 0 else {
      Console.error(text.split(separator: "\n").suffix(3).joined(separator: "\n"))
      Console.error(
        "the run of '\(member.family)' ended with code \(process.terminationStatus); given again, this command goes on there"
      )
      throw Ending(code: process.terminationStatus)
    }
    for line in text.split(separator: "\n") where line.hasPrefix("held out after") { Console.error("  " + line) }
  }
}
