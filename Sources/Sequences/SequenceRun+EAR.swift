import Autodiff
import Files
import Images
import Networks

// A frozen encoder, adapters where images are new, and routing by what the frozen encoder sees.
//
// A task whose first images seem strange is given an adapter of its own; another uses that of the task its images seem to
// belong to and learns an output layer. Nothing that was learned changes. The authors also choose among kinds of adapters
// by a score at their start; here the recipe names one.
extension SequenceRun {
  /// What describes images by the network as it is.
  func describer() throws -> ImageDescriber {
    try ImageDescriber(network, preparation, settings.ear, random: random["description"])
  }

  /// All tasks one after another, none told at test time.
  func routed(_ progress: (String) -> Void) throws -> SequenceResult {
    var result = emptyResult, gate = OutlierGate(falseAlarms: settings.ear.falseAlarms), report = GateResult()
    let describer = try describer()
    let known = KnownFeatures(self)
    var served: [any ImageNetwork] = [], seen: [Tensor] = [], first: [Tensor] = []
    for (number, task) in tasks.enumerated() {
      var arrival = GateResult.Arrival(strange: 1, host: nil), learned = network
      let gateBefore = gate.count
      let seconds = try timed(place(task.name, number)) {
        let split = validationSplit(number)
        let descriptions = try describer.descriptions(of: task.train.set, at: task.train.indices)
        if number > 0 {
          let order = random[task.name]["window"].permutation(task.train.indices.count).prefix(settings.ear.window)
          let window = descriptions.gathered(order.map(Int32.init))
          let strange = gate.strange(window), nearest = gate.tasks(window)
          let host = (0..<number).max { a, b in nearest.count { $0 == a } < nearest.count { $0 == b } }
          // An adapter is its own task's, or that of the task which lent it.
          arrival = GateResult.Arrival(
            strange: strange, host: strange > 0.5 ? nil : host.map { report.arrivals[$0].host ?? $0 })
        }
        gate.add(
          descriptions.gathered(split.described), labels: split.described.map { task.train.labels[Int($0)] },
          classes: task.classNames.count, unseen: descriptions.gathered(split.unseen))
        if let host = arrival.host {
          learned = try hosted(number, by: served[host], progress)
        } else {
          learned = try learnedAlone(number, progress).network
        }
      }
      report.arrivals.append(arrival)
      let state = TaskState(of: learned), own = 0..<task.classNames.count
      let head = state.count - state.count(withoutHead: network.headName)
      result.seconds.append(seconds)
      result.added.append((arrival.host == nil ? state.count : head) + gate.count - gateBefore)
      // The gate is drawn up again from the images; its numbers are in single precision.
      result.addedBytes.append(try bytesKept(task.name, number) + 4 * (gate.count - gateBefore))
      result.addedToBody.append(arrival.host == nil ? state.count(withoutHead: network.headName) : 0)
      served.append(learned)
      first.append(try outputsWhenLearned(number, try logits(learned, number, own)))
      seen.append(try describer.descriptions(of: task.test.set, at: task.test.indices))
      progress(
        "\(method.name): \(task.name) "
          + (arrival.host.map { "uses the adapter of \(tasks[$0].name)" } ?? "has an adapter of its own")
          + (number > 0 ? ", \(percent(arrival.strange)) of its first images were strange" : ""))
      var hits: [Int] = []
      result.predictions = []
      for tested in settings.scenario == .domain ? 0..<tasks.count : 0..<number + 1 {
        if tested >= seen.count {
          let other = tasks[tested].test
          seen.append(try describer.descriptions(of: other.set, at: other.indices))
        }
        let routes = gate.tasks(seen[tested]), answers = try placed(routes, tested, served, known)
        let right = zip(answers, tasks[tested].test.labels).count { $0 == $1 + Int32(layout.own[tested].lowerBound) }
        result.matrix[number, tested] = Double(right) / Double(max(1, answers.count))
        result.predictions.append(answers)
        hits.append(routes.count { $0 == tested })
      }
      seen = Array(seen.prefix(number + 1))
      let total = tasks.prefix(hits.count).reduce(0) { $0 + $1.test.indices.count }
      result.inference = TaskInference(
        first: Double(hits.reduce(0, +)) / Double(max(1, total)), refined: nil,
        perTask: zip(hits, tasks).map { Double($0) / Double(max(1, $1.test.indices.count)) })
    }
    result.outputsUnchanged = try tasks.indices.allSatisfy { number in
      // What lies on disk is what will serve, with the adapter of the task that lent it.
      let network = try onDisk(number, report.arrivals[number].host)
      return try logits(network, number, 0..<tasks[number].classNames.count) == first[number]
    }
    let scores = gate.scores(Tensor.concatenated(seen))
    report.threshold = Double(gate.threshold)
    report.falseAlarms = Double(scores.count { $0 < gate.threshold }) / Double(max(1, scores.count))
    for (name, examples) in heldOut {
      let descriptions = try describer.descriptions(of: examples.set, at: examples.indices)
      report.heldOut.append(
        GateResult.HeldOut(
          name: name, area: areaUnderCurve(known: scores, strange: gate.scores(descriptions)),
          strange: gate.strange(descriptions)))
    }
    result.gate = report
    return result
  }

  /// The class of each test image of task `tested` by the network that serves the task it was routed to.
  private func placed(
    _ routes: [Int], _ tested: Int, _ served: [any ImageNetwork], _ known: KnownFeatures
  ) throws -> [Int32] {
    var answers = [Int32](repeating: 0, count: routes.count)
    for route in Set(routes).sorted() {
      let rows = routes.indices.filter { routes[$0] == route }
      let logits = served[route].logits(try known.features(served[route], route, tested, rows), Context(task: 0))
      for (row, best) in zip(rows, logits.rowArgmax) { answers[row] = Int32(layout.own[route].lowerBound + best) }
    }
    return answers
  }

  /// The images of a task that describe its classes, and those kept from it, each class's last ones.
  private func validationSplit(_ number: Int) -> (described: [Int32], unseen: [Int32]) {
    var described: [Int32] = [], unseen: [Int32] = []
    let labels = tasks[number].train.labels
    for own in 0..<tasks[number].classNames.count {
      let rows = labels.indices.filter { labels[$0] == Int32(own) }.map(Int32.init)
      let count = rows.count < 2 ? 0 : max(1, Int((settings.ear.validation * Double(rows.count)).rounded()))
      described += rows.dropLast(min(count, rows.count - 1))
      unseen += rows.suffix(min(count, rows.count - 1))
    }
    // A class of one image is described by it, and judged by it too.
    return (described, unseen.isEmpty ? described : unseen)
  }

  /// A network that has the adapter of `host` and an output layer of its own that learns.
  private func lent(_ number: Int, by host: any ImageNetwork) throws -> any ImageNetwork {
    var network = try learner(of: number).settled
    let adapter = TaskState(of: host).parameters
    network.forEachParameter { name, parameter in
      guard parameter.isTrainable, !name.hasPrefix(self.network.headName + ".") else { return }
      if let value = adapter[name] { parameter.value = value }
      parameter.isTrainable = false
    }
    return network
  }

  /// Learns a task's output layer behind the adapter of another.
  private func hosted(
    _ number: Int, by host: any ImageNetwork, _ progress: (String) -> Void
  ) throws -> any ImageNetwork {
    let task = tasks[number], stage = host.firstLearningStage
    let batches = TaskBatches(
      task.train, classes: 0..<task.classNames.count, from: try trainingSource(of: task, before: stage),
      random: random[task.name]["data"])
    // Nothing is left in modules, whose two passes would be pulled together.
    let learned = try learn(try lent(number, by: host), [batches], task.name, number, progress) { $0.consistency = nil }
    return opened(learned, like: host)
  }

  /// The same, its adapter marked as what learns again: that is how stages which differ from the frozen network are known.
  private func opened(_ network: any ImageNetwork, like host: any ImageNetwork) -> any ImageNetwork {
    var opened = network
    let names = Set(host.trainableParameters.map(\.name))
    opened.forEachParameter { if names.contains($0) { $1.isTrainable = true } }
    return opened
  }

  /// What serves a task, as it lies on disk.
  private func onDisk(_ number: Int, _ host: Int?) throws -> any ImageNetwork {
    guard let host else { return try served(number) }
    let lender = try served(host)
    return opened(try restored(tasks[number].name, number, try lent(number, by: lender)), like: lender)
  }
}
