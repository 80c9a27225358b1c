import Files
import Sequences

/// What the strategies of a sequence came to, as text, JSON, CSV, pictures and one page.
public struct SequenceReport: Sendable {
  /// The tasks, with their test images' labels.
  public let tasks: [ImageTask]
  /// One a strategy.
  public let results: [SequenceResult]
  /// Numbers of the frozen network without its head, batch norms' moments counted.
  public let bodySize: Int

  private static let head = [
    "strategy", "average accuracy", "incremental", "BWT", "FWT", "forgotten since best", "forgotten since learned",
    "numbers a task", "of the body", "seconds a task", "outputs of earlier tasks",
  ]

  private var rows: [[String]] {
    results.map { result in
      let matrix = result.matrix, tasks = Double(max(1, result.seconds.count))
      func share(_ value: Double?) -> String { value.map { percent($0) } ?? "-" }
      let added = result.added.isEmpty ? 0 : result.added.reduce(0, +) / result.added.count
      let body = result.addedToBody.isEmpty ? 0 : result.addedToBody.reduce(0, +) / result.addedToBody.count
      let kept = result.outputsUnchanged.map { $0 ? "unchanged, bit for bit" : "CHANGED" } ?? "shared"
      return [
        result.strategy.rawValue, share(matrix.averageAccuracy), share(matrix.averageIncrementalAccuracy),
        share(matrix.backwardTransfer), share(matrix.forwardTransfer), share(matrix.forgettingFromBest),
        share(matrix.forgettingSinceLearned), "\(added)", percent(Double(body) / Double(max(1, bodySize))),
        formatted("%.1f", result.seconds.reduce(0, +) / tasks), kept,
      ]
    }
  }

  /// The table as aligned text, and what its columns mean.
  public var text: String {
    let all = [Self.head] + rows
    let widths = Self.head.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
    let lines = all.map { row in
      row.enumerated().map { $1 + String(repeating: " ", count: widths[$0] - $1.count) }.joined(separator: "  ")
    }
    return lines.joined(separator: "\n") + "\n\n" + Self.definitions
  }

  private static let definitions = """
    R(i,j) is the accuracy on task j after task i of T, each test image among its own task's classes.
    average accuracy: mean of R(T,j). incremental: mean over i of the mean of R(i,j), j ≤ i.
    BWT: mean of R(T,j) − R(j,j), j < T (Lopez-Paz 2017). FWT: mean of R(j−1,j) − b(j), b of the untrained network.
    forgotten since best: mean of max R(i,j), i < T, less R(T,j) (Chaudhry 2018); since learned: of R(j,j) − R(T,j).
    numbers a task: all that is kept for it, running moments and output layer included; of the body: without the output
    layer, as a share of the frozen network's numbers. Where tasks share what learns it is kept once.
    """

  /// Everything as JSON.
  public var json: JSON {
    .object([
      "tasks": .array(
        tasks.map { task in
          .object(["name": .string(task.name), "classes": .array(task.classNames.map { .string($0) })])
        }),
      "body_numbers": .integer(bodySize),
      "results": .array(results.map(Self.json)),
    ])
  }

  private static func json(_ result: SequenceResult) -> JSON {
    func value(_ value: Double?) -> JSON { value.map { .number($0) } ?? .null }
    let matrix = result.matrix
    return .object([
      "strategy": .string(result.strategy.rawValue),
      "accuracy": .array(matrix.values.map { .array($0.map(value)) }),
      "baseline": .array(matrix.baseline.map(value)),
      "average_accuracy": value(matrix.averageAccuracy),
      "average_incremental_accuracy": value(matrix.averageIncrementalAccuracy),
      "backward_transfer": value(matrix.backwardTransfer), "forward_transfer": value(matrix.forwardTransfer),
      "forgetting_from_best": value(matrix.forgettingFromBest),
      "forgetting_since_learned": value(matrix.forgettingSinceLearned),
      "numbers_added": .array(result.added.map { .integer($0) }),
      "numbers_added_without_head": .array(result.addedToBody.map { .integer($0) }),
      "seconds": .array(result.seconds.map { .number($0) }),
      "outputs_unchanged": result.outputsUnchanged.map { .bool($0) } ?? .null,
    ])
  }

  /// Writes all forms into `folder`.
  func write(to folder: String) throws {
    try AtomicFile.write(json.text(pretty: true) + "\n", to: folder + "/results.json")
    var accuracies = "strategy,learned,tested,accuracy\n", predictions = "strategy,task,image,label,predicted\n"
    for result in results {
      for (learned, row) in result.matrix.values.enumerated() {
        for (tested, value) in row.enumerated() {
          guard let value else { continue }
          accuracies += "\(result.strategy.rawValue),\(tasks[learned].name),\(tasks[tested].name),\(value)\n"
        }
      }
      for (task, chosen) in zip(tasks, result.predictions) {
        for (number, predicted) in chosen.enumerated() {
          predictions +=
            "\(result.strategy.rawValue),\(task.name),\(task.test.indices[number]),\(task.test.labels[number]),\(predicted)\n"
        }
      }
      try AtomicFile.write(
        HeatMap(result.matrix, title: result.strategy.rawValue).svg, to: folder + "/\(result.strategy.rawValue).svg")
    }
    try AtomicFile.write(accuracies, to: folder + "/accuracies.csv")
    try AtomicFile.write(predictions, to: folder + "/predictions.csv")
    try AtomicFile.write(html, to: folder + "/report.html")
  }

  /// One page that needs nothing else.
  private var html: String {
    func row(_ cells: [String], _ tag: String) -> String {
      "<tr>" + cells.map { "<\(tag)>\(LossPlot.escaped($0))</\(tag)>" }.joined() + "</tr>"
    }
    let table = row(Self.head, "th") + rows.map { row($0, "td") }.joined(separator: "\n")
    let maps = results.map { "<figure>\(HeatMap($0.matrix, title: $0.strategy.rawValue).svg)</figure>" }
    return """
      <!DOCTYPE html>
      <html lang="en"><head><meta charset="utf-8"><title>Sequence of \(tasks.count) tasks</title><style>
      body {font: 15px/1.45 sans-serif; margin: 2em auto; max-width: 1100px; padding: 0 1em}
      table {border-collapse: collapse; font-size: 13px} th, td {padding: .3em .6em; border-bottom: 1px solid #ddd; text-align: right}
      th:first-child, td:first-child {text-align: left} figure {display: inline-block; margin: 1em 1em 0 0; width: 340px}
      pre {background: #f6f6f6; padding: 1em; white-space: pre-wrap}
      </style></head><body>
      <h1>Sequence of \(tasks.count) tasks</h1>
      <table>\(table)</table>
      <h2>Accuracy on each task (column) after each learned task (row)</h2>
      \(maps.joined(separator: "\n"))
      <pre>\(LossPlot.escaped(Self.definitions))</pre>
      </body></html>

      """
  }
}
