import Autodiff
import Files
import Images
import Networks
import Training

// Model surgery (Sun et al. 2024, https://arxiv.org/abs/2408.13894): an adapter a task, repaired in three places.
//
// Each step of a task's training is followed by A ← (1 − α) A + α · mean of the earlier tasks' adapters: once a step, and
// never while anything is measured; the authors' code does it in every block's every pass. A similarity term keeps features
// of the task apart from the means of earlier classes. When a task is learned its classes become normal distributions, and
// the output layer of all classes is aligned to features drawn from them. At test time the task is found as
// ``TaskRetrieval`` says. The first task is learned as a plain adapter: there is nothing to merge, keep apart or align.
extension SequenceRun {
  /// All tasks one after another, none told at test time.
  func surgery(_ progress: (String) -> Void) throws -> SequenceResult {
    var result = emptyResult
    var served: [any ImageNetwork] = [], gaussians: [ClassGaussians] = []
    var sum: [String: Tensor] = [:], head: (weight: Tensor, bias: Tensor)?
    let known = KnownFeatures(self)
    for (number, task) in tasks.enumerated() {
      var own: ClassGaussians?
      let (learned, seconds) = try learnedAlone(number, progress) { training in
        guard number > 0 else { return }
        training.merging = (settings.mos.merging, sum.mapValues { (1 / Float(number)) * $0 })
        training.apartness = (
          Float(settings.mos.orthogonality), Float(settings.mos.temperature),
          Tensor.concatenated(gaussians.map(\.means)).withRowsOfLengthOne
        )
      } then: { learned in
        own = try self.gaussians(of: number, learned)
        head = try aligned(head, learned, gaussians + [own].compactMap(\.self), number)
      }
      for (name, value) in TaskState(of: learned).parameters where !name.hasPrefix(network.headName + ".") {
        sum[name] = sum[name].map { $0 + value } ?? value
      }
      let state = TaskState(of: learned)
      result.seconds.append(seconds)
      result.added.append(state.count + (own?.count ?? 0))
      result.addedToBody.append(state.count(withoutHead: network.headName))
      result.addedBytes.append(try bytesKept(task.name, number))
      served.append(learned)
      if let own { gaussians.append(own) }
      guard let head else { continue }
      let owners = (0...number).flatMap { task in tasks[task].classNames.map { _ in task } }
      let retrieval = TaskRetrieval(owners: owners, rounds: settings.mos.rounds)
      var answers: [TaskRetrieval.Answer] = []
      for tested in 0...number {
        let answer = try retrieval.answer(count: tasks[tested].test.indices.count) { adapter, rows in
          linear(try known.features(served[adapter], adapter, tested, rows), weight: head.weight, bias: head.bias)
        }
        let first = layout.own[tested].lowerBound
        let right = zip(answer.classes, tasks[tested].test.labels).count { $0 == Int($1) + first }
        result.matrix[number, tested] = Double(right) / Double(max(1, answer.classes.count))
        answers.append(answer)
      }
      result.predictions = answers.map { $0.classes.map(Int32.init) }
      result.inference = TaskInference(answers)
      let accuracies = (0...number).compactMap { result.matrix[number, $0] }
      progress(
        "\(method.name): after \(task.name), accuracy \(percent(accuracies.reduce(0, +) / Double(number + 1))) over all so far"
      )
    }
    return result
  }

  /// The distributions of a task's classes behind its own adapter.
  private func gaussians(of number: Int, _ learned: any ImageNetwork) throws -> ClassGaussians {
    let task = tasks[number], path = classFile(task.name, number)
    let (count, kind) = (task.classNames.count, settings.mos.covariance)
    if Folder.exists(path) { return try ClassGaussians(path, classes: count, width: network.featureWidth, kind) }
    let features = try bodyFeatures(learned, task.train, task, "train")
    let found = try ClassGaussians(features, labels: task.train.labels, classes: count, kind)
    try found.write(to: path)
    return found
  }

  /// The output layer of all classes so far: that of the tasks before, with the new task's own rows, aligned by stochastic
  /// gradient descent (momentum 0.9, half a cosine) to features drawn from every class.
  private func aligned(
    _ before: (weight: Tensor, bias: Tensor)?, _ learned: any ImageNetwork, _ gaussians: [ClassGaussians], _ number: Int
  ) throws -> (weight: Tensor, bias: Tensor) {
    let own = TaskState(of: learned), width = network.featureWidth
    let weight = try own.parameter(network.headName + ".weight"), bias = try own.parameter(network.headName + ".bias")
    guard let before else { return (weight, bias) }
    let classes = gaussians.reduce(0) { $0 + $1.means.shape[0] }
    let path = place(tasks[number].name, number) + "/aligned.safetensors"
    if Folder.exists(path) {
      let file = try Safetensors(path)
      return (
        Tensor(try file.floats("weight", shape: [classes, width]), shape: [classes, width]),
        Tensor(try file.floats("bias", shape: [classes]), shape: [classes])
      )
    }
    var point = [Tensor.concatenated([before.weight, weight]), Tensor.concatenated([before.bias, bias])]
    let size = settings.batchSize, each = settings.mos.samples * size, key = random[tasks[number].name]["alignment"]
    let perEpoch = (classes * each + size - 1) / size
    let schedule = Schedule(.cosine, total: max(1, settings.mos.alignmentEpochs * perEpoch))
    var optimizer = SGD(momentum: 0.9)
    for epoch in 0..<settings.mos.alignmentEpochs {
      var drawn: [Tensor] = []
      for (task, kept) in gaussians.enumerated() {
        for own in 0..<kept.means.shape[0] {
          drawn.append(kept.sample(own, each, from: key["task"][task]["class"][own][epoch]))
        }
      }
      let all = Tensor.concatenated(drawn), order = key["order"][epoch].permutation(classes * each)
      for step in 0..<perEpoch {
        let rows = order[step * size..<min(order.count, (step + 1) * size)].map(Int32.init)
        let watched = point.map(\.watched)
        let logits = linear(all.gathered(rows), weight: watched[0], bias: watched[1])
        let loss = (1 / Float(rows.count)) * crossEntropySum(logits, labels: rows.map { $0 / Int32(each) })
        let found = gradients(of: loss, at: watched)
        let rate = settings.mos.alignmentRate * schedule.factor(epoch * perEpoch + step)
        let parameters = zip(["weight", "bias"], point).map { TrainableParameter(name: $0, role: .head, value: $1) }
        point = optimizer.step(parameters, gradients: found) { _ in rate }
      }
    }
    try Safetensors.write(
      zip(["bias", "weight"], [point[1], point[0]]).map {
        TensorToWrite(name: $0, floats: $1.values, shape: $1.shape.dimensions)
      }, to: path)
    return (point[0], point[1])
  }
}

extension TaskInference {
  /// What was found of every task's images, task after task.
  init(_ answers: [TaskRetrieval.Answer]) {
    func share(_ tasks: (TaskRetrieval.Answer) -> [Int]) -> (all: Double, each: [Double]) {
      let hits = answers.enumerated().map { number, answer in tasks(answer).count { $0 == number } }
      let total = answers.reduce(0) { $0 + $1.first.count }
      return (
        Double(hits.reduce(0, +)) / Double(max(1, total)),
        zip(hits, answers).map { Double($0) / Double(max(1, $1.first.count)) }
      )
    }
    let last = share(\.refined)
    (first, refined, perTask) = (share(\.first).all, last.all, last.each)
    mostRounds = answers.flatMap(\.rounds).max() ?? 0
  }
}

extension Tensor {
  /// Each row divided by its length.
  var withRowsOfLengthOne: Tensor {
    self / ((self * self).rowSums.reshaped([shape[0], 1]) + 1e-12).squareRoot
  }
}

/// What served adapters make of test images, each computed once: an adapter that was learned never changes.
final class KnownFeatures {
  private let run: SequenceRun
  private var known: [[Int]: Tensor] = [:]

  init(_ run: SequenceRun) { self.run = run }

  /// The features of some test images of task `tested` by the network that serves task `adapter`.
  func features(_ network: any ImageNetwork, _ adapter: Int, _ tested: Int, _ rows: [Int]) throws -> Tensor {
    let missing = rows.filter { known[[adapter, tested, $0]] == nil }
    if !missing.isEmpty {
      let task = run.tasks[tested]
      let found = try run.bodyFeatures(network, task.test, task, "test", rows: missing)
      for (place, row) in missing.enumerated() { known[[adapter, tested, row]] = found.rows(place..<place + 1) }
    }
    return Tensor.concatenated(rows.compactMap { known[[adapter, tested, $0]] })
  }
}
