import Files
import Sequences

// What strategies that are not told the task came to besides their accuracies.
extension SequenceReport {
  /// A paragraph for each such strategy, with its definitions; none where there is none.
  var inferenceLines: [String] {
    let lines = results.flatMap { result -> [String] in
      guard let inference = result.inference else { return [] }
      var lines: [String] = []
      if let refined = inference.refined {
        lines.append(
          "\(result.name): task found at first sight for \(percent(inference.first)) of the test images, after refining for \(percent(refined)); at most \(inference.mostRounds) rounds"
        )
      } else {
        lines.append("\(result.name): task found for \(percent(inference.first)) of the test images")
      }
      let each = zip(tasks, inference.perTask).map { "\($0.name) \(percent($1))" }.joined(separator: ", ")
      lines.append("  a task: \(each)")
      guard let gate = result.gate else { return lines }
      for (task, arrival) in zip(tasks, gate.arrivals).dropFirst() {
        let outcome = arrival.host.map { "uses the adapter of \(tasks[$0].name)" } ?? "given an adapter of its own"
        lines.append("  \(task.name): \(percent(arrival.strange)) of its first images strange, \(outcome)")
      }
      lines.append(
        "  gate: strange below a cosine of \(formatted("%.4f", gate.threshold)), \(percent(gate.falseAlarms)) of the tasks' own test images"
      )
      for set in gate.heldOut {
        lines.append(
          "  held out \(set.name): AUROC \(formatted("%.3f", set.area)), \(percent(set.strange)) taken for strange")
      }
      return lines
    }
    guard !lines.isEmpty else { return [] }
    return lines + [
      "A task is found when the adapter used last is its own. AUROC: the chance that a held-out image scores below a test image",
      "of the tasks, a score being the largest cosine to a class's description by the frozen network.", "",
    ]
  }

  func inferenceJSON(_ result: SequenceResult) -> JSON {
    guard let inference = result.inference else { return .null }
    return .object([
      "found_first": .number(inference.first), "found_refined": inference.refined.map { .number($0) } ?? .null,
      "found_per_task": .array(inference.perTask.map { .number($0) }), "most_rounds": .integer(inference.mostRounds),
    ])
  }

  func gateJSON(_ result: SequenceResult, _ tasks: [Task]) -> JSON {
    guard let gate = result.gate else { return .null }
    return .object([
      "threshold": .number(gate.threshold), "false_alarms": .number(gate.falseAlarms),
      "arrivals": .array(
        gate.arrivals.map { arrival in
          .object([
            "strange": .number(arrival.strange), "host": arrival.host.map { .string(tasks[$0].name) } ?? .null,
          ])
        }),
      "held_out": .array(
        gate.heldOut.map { set in
          .object(["name": .string(set.name), "auroc": .number(set.area), "strange": .number(set.strange)])
        }),
    ])
  }
}
