import Autodiff
import Files
import Networks

// What the features of the network as it is have to give.
extension SequenceRun {
  /// A task's output layer solved to the end, or what was solved before.
  func probed(
    _ number: Int, _ learner: any ImageNetwork, _ progress: (String) -> Void
  ) throws -> any ImageNetwork {
    try learnedOnce(tasks[number].name, number, learner) {
      try solved(learner, [number], first: tasks.map { _ in 0 }, progress)
    }
  }

  /// After each task an output layer solved for the images of all tasks so far: no sequence is learned, and nothing that
  /// learns the output layer alone is expected to do better.
  func probedTogether(_ progress: (String) -> Void) throws -> SequenceResult {
    var result = emptyResult, answers: [[Int32]] = []
    for (number, task) in tasks.enumerated() {
      let choices = layout.choices(of: number, after: number) ?? layout.own[number]
      var learner = try learner(classes: Array(layout.labels[choices]), key: random["head"])
      result.seconds.append(
        try timed(place(task.name, number)) {
          learner = try learnedOnce(task.name, number, learner) {
            try solved(learner, Array(0...number), first: layout.own.map(\.lowerBound), progress)
          }
        })
      answers = []
      for (tested, other) in tasks.enumerated() {
        guard layout.choices(of: tested, after: number) != nil else { continue }
        let logits = try logits(learner, tested, choices)
        result.matrix[number, tested] = accuracy(logits, other, first: layout.own[tested].lowerBound)
        answers.append(logits.rowArgmax.map(Int32.init))
      }
      result.added = [TaskState(of: learner).count]
      result.addedBytes = [try bytesKept(task.name, number)]
    }
    (result.predictions, result.addedToBody) = (answers, [0])
    return result
  }

  /// `learner` with an output layer solved for the images of some tasks, whose first classes are the outputs `first`.
  private func solved(
    _ learner: any ImageNetwork, _ numbers: [Int], first: [Int], _ progress: (String) -> Void
  ) throws -> any ImageNetwork {
    var learner = learner
    var parts: [Tensor] = [], labels: [Int32] = []
    for number in numbers {
      let task = tasks[number]
      parts.append(try bodyFeatures(learner, task.train, task, "train"))
      labels += task.train.labels.map { $0 + Int32(first[number]) }
    }
    let solved = LogisticRegression(
      Tensor.concatenated(parts), labels: labels, classes: learner.head.base.outputs, strength: settings.probeStrength)
    solved.install(into: &learner)
    let names = numbers.map { tasks[$0].name }.joined(separator: ", ")
    progress("\(method.name): \(names), \(solved.steps) steps, largest gradient \(solved.gradient)")
    return learner
  }
}
