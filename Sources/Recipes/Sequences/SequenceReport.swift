import Files
import Sequences

/// What the strategies of a sequence came to, as text, JSON, CSV, pictures and one page.
public struct SequenceReport: Sendable {
  /// What a task is judged on.
  public struct Task: Sendable, Equatable {
    /// Its name, and those of its classes; none where text is written.
    public let name: String, classNames: [String]
    /// The number of each held-out example in its set, and its class among the task's own.
    public let examples: [Int], labels: [Int32]

    /// A task of so many examples.
    public init(name: String, classNames: [String], examples: [Int], labels: [Int32]) {
      (self.name, self.classNames, self.examples, self.labels) = (name, classNames, examples, labels)
    }
  }

  /// The tasks, in the order they were learned.
  public let tasks: [Task]
  /// One a strategy.
  public var results: [SequenceResult]
  /// Numbers of the frozen network without its head, batch norms' moments counted.
  public let bodySize: Int
  /// What else is to be said, a line each.
  public var notes: [String] = []

  /// A report on tasks of any kind.
  public init(tasks: [Task], results: [SequenceResult], bodySize: Int, notes: [String] = []) {
    (self.tasks, self.results, self.bodySize, self.notes) = (tasks, results, bodySize, notes)
  }

  /// A report on tasks of images.
  public init(tasks: [ImageTask], results: [SequenceResult], bodySize: Int) {
    self.init(
      tasks: tasks.map {
        Task(name: $0.name, classNames: $0.classNames, examples: $0.test.indices, labels: $0.test.labels)
      }, results: results, bodySize: bodySize)
  }

  var measure: AccuracyMatrix.Measure { results.first?.matrix.measure ?? .accuracy }

  var head: [String] {
    [
      "strategy", "average \(measure)", "incremental", "BWT", "FWT", "forgotten since best", "forgotten since learned",
      "numbers a task", "of the body", "bytes a task", "seconds a task", "outputs of earlier tasks",
    ]
  }

  var rows: [[String]] {
    results.map { result in
      let matrix = result.matrix, tasks = Double(max(1, result.seconds.count))
      func share(_ value: Double?) -> String {
        value.map { measure == .accuracy ? percent($0) : formatted("%.3f", $0) } ?? "-"
      }
      func mean(_ values: [Int]) -> Int { values.isEmpty ? 0 : values.reduce(0, +) / values.count }
      // Where the task is inferred an image may be answered by another task's adapter as more tasks are known.
      let whose = result.inference == nil ? "" : " by the own adapter"
      let kept = result.outputsUnchanged.map { $0 ? "unchanged\(whose), bit for bit" : "CHANGED" } ?? "shared"
      return [
        result.name, share(matrix.averageAccuracy), share(matrix.averageIncrementalAccuracy),
        share(matrix.backwardTransfer), share(matrix.forwardTransfer), share(matrix.forgettingFromBest),
        share(matrix.forgettingSinceLearned), grouped(mean(result.added)),
        percent(Double(mean(result.addedToBody)) / Double(max(1, bodySize))),
        grouped(mean(result.addedBytes)), formatted("%.1f", result.seconds.reduce(0, +) / tasks), kept,
      ]
    }
  }

  /// The table as aligned text, and what its columns mean.
  public var text: String {
    let lines = alignedColumns([head] + rows).map { $0.joined(separator: "  ") }
    return (lines + [""] + inferenceLines + [definitions] + notes).joined(separator: "\n")
  }

  var definitions: String {
    let what =
      measure == .accuracy
      ? (["R(i,j) is the accuracy on task j after task i of T."] + Set(results.map(\.scenario.definition)).sorted())
        .joined(separator: "\n")
      : """
      R(i,j) is the loss on task j after task i of T, nats a token of the answers held out: less is better. Every difference
      below is turned, so that transfer is positive where it helps and forgetting where something was lost.
      """
    return what + """

      average \(measure): mean of R(T,j). incremental: mean over i of the mean of R(i,j), j ≤ i.
      BWT: mean of R(T,j) − R(j,j), j < T (Lopez-Paz 2017). FWT: mean of R(j−1,j) − b(j), b of the untrained network;
      none where nothing is carried from task to task.
      forgotten since best: mean of the best R(i,j), i < T, less R(T,j) (Chaudhry 2018); since learned: of R(j,j) − R(T,j).
      numbers a task: all that is kept for it, running moments and output layer included; of the body: without the output
      layer, as a share of the frozen network's numbers; bytes a task: of the files that keep them, of examples kept for
      replay (texts as four bytes a token) and of what ewc keeps. Where tasks share what learns it is kept once. seconds a
      task: learning it, with the features of a body that does not learn, which are made once for all strategies.
      """
  }

  /// Everything as JSON.
  public var json: JSON {
    .object([
      "tasks": .array(
        tasks.map { task in
          .object(["name": .string(task.name), "classes": .array(task.classNames.map { .string($0) })])
        }),
      "body_numbers": .integer(bodySize), "notes": .array(notes.map { .string($0) }),
      "results": .array(results.map { json($0, tasks) }),
    ])
  }

  private func json(_ result: SequenceResult, _ tasks: [Task]) -> JSON {
    func value(_ value: Double?) -> JSON { value.map { .number($0) } ?? .null }
    let matrix = result.matrix
    return .object([
      "name": .string(result.name), "strategy": .string(result.strategy), "scenario": .string(result.scenario.rawValue),
      "\(measure)": .array(matrix.values.map { .array($0.map(value)) }),
      "baseline": .array(matrix.baseline.map(value)),
      "average_\(measure)": value(matrix.averageAccuracy),
      "average_incremental_\(measure)": value(matrix.averageIncrementalAccuracy),
      "backward_transfer": value(matrix.backwardTransfer), "forward_transfer": value(matrix.forwardTransfer),
      "forgetting_from_best": value(matrix.forgettingFromBest),
      "forgetting_since_learned": value(matrix.forgettingSinceLearned),
      "numbers_added": .array(result.added.map { .integer($0) }),
      "numbers_added_without_head": .array(result.addedToBody.map { .integer($0) }),
      "bytes_added": .array(result.addedBytes.map { .integer($0) }),
      "seconds": .array(result.seconds.map { .number($0) }),
      "outputs_unchanged": result.outputsUnchanged.map { .bool($0) } ?? .null,
      "inference": inferenceJSON(result), "gate": gateJSON(result, tasks),
    ])
  }

  /// Writes all forms into `folder`.
  func write(to folder: String) throws {
    try AtomicFile.write(json.text(pretty: true) + "\n", to: folder + "/results.json")
    var values = "strategy,learned,tested,\(measure)\n", predictions = "strategy,task,example,label,predicted\n"
    for result in results {
      for (learned, row) in result.matrix.values.enumerated() {
        for (tested, value) in row.enumerated() {
          guard let value else { continue }
          values += "\(result.name),\(tasks[learned].name),\(tasks[tested].name),\(value)\n"
        }
      }
      for (index, (task, chosen)) in zip(tasks, result.predictions).enumerated() {
        let first = result.firstClasses.indices.contains(index) ? result.firstClasses[index] : 0
        for (number, predicted) in chosen.prefix(task.examples.count).enumerated() {
          predictions +=
            "\(result.name),\(task.name),\(task.examples[number]),\(Int(task.labels[number]) + first),\(predicted)\n"
        }
      }
    }
    for (result, map) in zip(results, heatMaps) { try AtomicFile.write(map, to: folder + "/\(result.name).svg") }
    try AtomicFile.write(SequenceCurves(results: results).svg, to: folder + "/curves.svg")
    try AtomicFile.write(values, to: folder + (measure == .accuracy ? "/accuracies.csv" : "/losses.csv"))
    if results.contains(where: { !$0.predictions.isEmpty }) {
      try AtomicFile.write(predictions, to: folder + "/predictions.csv")
    }
    try AtomicFile.write(html, to: folder + "/report.html")
  }

  /// A picture of each strategy's matrix, in colours that can be compared.
  var heatMaps: [String] {
    let scale = HeatMap.scale(of: results.map(\.matrix))
    return results.map { HeatMap($0.matrix, title: $0.name, scale: scale).svg }
  }
}
