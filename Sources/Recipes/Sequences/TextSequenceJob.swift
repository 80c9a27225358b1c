import Autodiff
import Files
import Networks
import Sequences

/// A sequence of text tasks learned in every way its recipe names, and the report that compares them.
public struct TextSequenceJob {
  /// What is to be done.
  public let sequence: TextSequenceRecipe

  /// The job of a recipe.
  public init(_ sequence: TextSequenceRecipe) { self.sequence = sequence }

  /// Learns, measures and writes `results.json`, `accuracies.csv` or `losses.csv`, `predictions.csv`, pictures and
  /// `report.html` into the recipe's folder. Given again it goes on where it was, inside a task as well.
  ///
  /// - Parameter shouldStop: asked after every step; a signal unless given.
  /// - Returns: the report; nil when told to stop, everything needed to go on being written.
  /// - Throws: a ``RecipeError`` for what the recipe asks in vain, a ``FileError`` for what cannot be read or written, a
  ///   `TrainingError` when a loss is not finite.
  public func run(
    shouldStop: @escaping () -> Bool = { Interruption.signal != nil }, progress: @escaping (String) -> Void
  ) throws -> SequenceReport? {
    let recipe = sequence.recipe
    if let threads = recipe.train.threads { Parallel.threads = threads }
    try RunPlan.check(recipe)
    let base = try LoadedModel(recipe.model.path?.path ?? "", chatTemplate: recipe.model.chatTemplate?.path)
    let digest = try Fingerprint.model(base.checkpoint)
    let isClassified = base.network is any Classifier
    // Before anything is written: files that are not there, rows that cannot be used, a folder of something else.
    let output = recipe.outputDirectory.path
    if !isClassified, let strategy = sequence.strategies.first(where: \.needsClasses) {
      throw RecipeError(
        [
          recipe.problem(
            "strategies", "'\(strategy)' learns an output layer that tells classes, and the model writes text",
            hint: "remove it, or give an encoder and rows of classes")
        ], path: recipe.origin)
    }
    let data = try TextSequenceData(sequence, isClassified: isClassified, in: output + "/tasks")
    let marks = try keepsItsOwn(data, base: digest)
    let lock = try RunFolder(output)
    return try withExtendedLifetime(lock) {
      try AtomicFile.write(marks.text(pretty: true) + "\n", to: output + "/sequence.json")
      try data.write(to: output + "/tasks")
      var outcomes: [TextSequenceRun.Outcome] = []
      do {
        for strategy in sequence.strategies {
          outcomes.append(
            try TextSequenceRun(
              strategy: strategy, sequence: sequence, data: data, folder: output + "/" + strategy.rawValue,
              shouldStop: shouldStop, progress: progress)())
        }
      } catch is TextSequenceRun.Stopped { return nil }
      let after = try Fingerprint.model(base.checkpoint), results = outcomes.map(\.result)
      let report = SequenceReport(
        tasks: outcomes.first?.tasks ?? [], results: results, bodySize: base.parameterCount,
        notes: notes(data, results, isClassified: isClassified, before: digest, after: after))
      try report.write(to: output)
      return report
    }
  }

  private func notes(
    _ data: TextSequenceData, _ results: [SequenceResult], isClassified: Bool, before: String, after: String
  ) -> [String] {
    var notes: [String] = []
    if isClassified {
      let all = Set(data.tasks.flatMap(\.classes))
      notes.append(
        data.haveTheSameClasses
          ? "Scenario: domain-incremental. All tasks have the classes \(all.sorted().joined(separator: ", "))."
          : "Scenario: tasks with \(all.count) classes in all. Where they share what learns they share one output layer; each text is told among its own task's classes."
      )
    } else {
      notes.append("Scenario: text is written; each task is judged by the loss on answers it has not seen.")
    }
    notes += sequence.strategies.map { $0.meaning + "." }
    for result in results {
      guard let same = result.outputsUnchanged else { continue }
      notes.append(
        "\(result.strategy): the logits of every held-out row, by the base and the adapter as they lie on disk after the last task, are \(same ? "bit for bit" : "NOT") those right after each task was learned."
      )
    }
    notes.append(
      "Base: SHA-256 \(before.prefix(16))… before the first task and \(after == before ? "the same" : after.prefix(16) + "…") after the last."
    )
    return notes
  }

  /// Refuses a folder that holds another sequence: what is found finished there would be taken for this one's. Gives what
  /// this one is known by.
  private func keepsItsOwn(_ data: TextSequenceData, base: String) throws -> JSON {
    var marks = ["model": base, "recipe": Fingerprint.text(settings)]
    marks["tasks"] = Fingerprint.text(data.tasks.map { "\($0.name) \($0.digest)" }.joined(separator: "\n"))
    let output = sequence.recipe.outputDirectory.path, path = output + "/sequence.json"
    if Folder.exists(path) {
      let known = try JSON.read(path)
      let others = marks.keys.sorted().filter { known[$0]?.string != marks[$0] }
      // Nothing is taken over from a folder where nothing was learned or measured: one may mend the recipe and go on.
      guard others.isEmpty || !Self.holdsResults(output) else {
        throw FileError(
          output, "holds another sequence, of another \(others.joined(separator: " and other "))",
          remedy: "choose another output_dir, or remove it")
      }
    }
    guard !Folder.exists(output + "/sequence.txt") else {
      throw FileError(output, "holds a sequence of images", remedy: "choose another output_dir, or remove it")
    }
    return .object(marks.mapValues(JSON.string))
  }

  private static func holdsResults(_ output: String) -> Bool {
    TextSequenceStrategy.allCases.contains { strategy in
      let folder = "\(output)/\(strategy)"
      return Folder.names(in: folder).contains { place in
        ["state", "measured.json"].contains { Folder.exists("\(folder)/\(place)/\($0)") }
      }
    }
  }

  /// All that decides what is learned, but for the files, whose contents are told apart, and the strategies, more of
  /// which may be added.
  private var settings: String {
    var recipe = sequence.recipe
    (recipe.outputDirectory, recipe.model.path, recipe.name) = (RecipePath(""), RecipePath("model"), "")
    (recipe.data.train, recipe.data.eval) = ([], [])
    (recipe.train.threads, recipe.log, recipe.save) = (nil, .init(), .init())
    recipe.origins = [:]
    var own = [
      "\(sequence.memory) \(sequence.fisherWeight)", "\(sequence.skills) \(sequence.heads) \(sequence.routerRate)",
      "\(sequence.routedRank ?? 0) \(sequence.routedAlpha ?? 0)",
    ]
    // Keys that came later count where they are given: folders made before are gone on with.
    if let rate = sequence.fullRate { own.append("full \(rate)") }
    if sequence.probeStrength != 1 { own.append("probe \(sequence.probeStrength)") }
    return ([recipe.resolvedYAML(toolVersion: "", hashes: [:])] + own).joined(separator: "\n")
  }
}
