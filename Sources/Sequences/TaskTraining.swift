import Autodiff
import Files
import Images
import Networks
import Training

/// One task, or several at once, being learned: an epoch at a time, so that it can be left and gone on with.
struct TaskTraining {
  /// What learns; its head covers the classes of all tasks it is shared by.
  var network: any ImageNetwork
  /// Epochs done.
  private(set) var epoch = 0
  private var optimizer = AdamW(weightDecay: 0)
  private let settings: SequenceSettings
  private let batches: [TaskBatches]
  private let random: RandomKey
  /// Holds what earlier tasks needed.
  var anchor: Anchor?
  /// The weight with which two passes of a step are pulled together; nil for one pass.
  var consistency: Double?
  /// How far each step moves what learns towards the given numbers, by name: MOS's repair of parameters.
  var merging: (share: Double, mean: [String: Tensor])?
  /// The weight and temperature of a term that keeps features apart from each other and from these, rows of length 1.
  var apartness: (weight: Float, temperature: Float, means: Tensor)?
  /// Whether an adapter routes by task, so that each task's images pass by themselves.
  var routesByTask = false
  /// What it took before it was left, in seconds.
  private(set) var secondsBefore = 0.0

  /// A training of `network` on the images of `batches`, one batch of each every step.
  init(
    _ network: any ImageNetwork, on batches: [TaskBatches], _ settings: SequenceSettings, random: RandomKey
  ) {
    (self.network, self.batches, self.settings, self.random) = (network, batches, settings, random)
  }

  /// Steps of an epoch: every image of the first task once.
  private var steps: Int { (batches[0].count + settings.batchSize - 1) / settings.batchSize }

  /// Learns for one epoch; gives the mean loss, nats an image.
  ///
  /// - Throws: a `TrainingError` when the loss is not finite, a ``FileError`` when images cannot be read.
  mutating func run() throws -> Double {
    var total = 0.0
    let schedule = Schedule(.cosine, total: steps * settings.epochs)
    var passes = batches.map { $0.epoch(epoch, size: settings.batchSize) }
    for step in 0..<steps {
      let number = epoch * steps + step
      let parts = try passes.indices.map { try passes[$0].batch(step) }
      let recorder = MomentRecorder()
      let context = Context(random: random["step"][number], moments: recorder)
      let (loss, alone) = gradients(parts, context), parameters = network.trainableParameters
      let found = anchor?.added(to: alone, of: parameters) ?? alone
      guard loss.isFinite, found.allSatisfy(\.isFinite) else {
        throw TrainingError("epoch \(epoch + 1), step \(step + 1): the loss is not finite; lower learning_rate")
      }
      total += Double(loss)
      let rate = settings.learningRate * schedule.factor(number)
      let factors = settings.roleRates
      var updated = optimizer.step(parameters, gradients: found) { rate * (factors[$0] ?? 1) }[...]
      var student = network
      student.forEachParameter { name, parameter in
        if parameter.isTrainable, let value = updated.popFirst() { parameter.value = merged(value, name) }
      }
      network = student
      network.learnMoments(from: recorder)
    }
    epoch += 1
    return total / Double(steps)
  }

  private func gradients(_ parts: [TaskBatches.Batch], _ context: Context) -> (Float, [Tensor]) {
    func open(_ network: some ImageNetwork) -> (Float, [Tensor]) {
      valueAndGradients(of: network) { network in
        let labels = parts.flatMap(\.labels), share = 1 / Float(labels.count)
        let (features, logits) = outputs(network, parts, context)
        var loss = share * crossEntropySum(logits, labels: labels)
        if let consistency {
          var second = context
          second.random = context.random?["second pass"]
          let other = outputs(network, parts, second).logits
          let apart = divergenceSum(student: logits, teacher: other) + divergenceSum(student: other, teacher: logits)
          loss = loss + (share * Float(0.5 * consistency)) * apart
        }
        if let apartness { loss = loss + Self.apartness(apartness, features) }
        return loss
      }
    }
    return open(network)
  }

  /// The features of all parts, one after another, and their logits where they may be placed.
  private func outputs(
    _ network: some ImageNetwork, _ parts: [TaskBatches.Batch], _ context: Context
  ) -> (features: Tensor, logits: Tensor) {
    let stages = parts[0].stage..<network.stageNames.count
    let groups = routesByTask ? parts.map { [$0] } : [parts]
    var features: [Tensor] = [], logits: [Tensor] = []
    for group in groups {
      var own = context
      own.task = group[0].task
      features.append(network.output(of: stages, entering: Tensor.concatenated(group.map(\.input)), own))
      logits.append(network.logits(features[features.count - 1], own))
    }
    return (
      Tensor.concatenated(features), Tensor.concatenated(logits) + parts.mask(classes: network.head.base.outputs)
    )
  }

  /// The cross-entropy of the similarities of means and features among each other against each one's own, times the weight.
  private static func apartness(
    _ term: (weight: Float, temperature: Float, means: Tensor), _ features: Tensor
  ) -> Tensor {
    let all = Tensor.concatenated([term.means, features.withRowsOfLengthOne]), count = all.shape[0]
    let similarities = (1 / term.temperature) * matmul(all, all, transposingB: true)
    return (term.weight / Float(count)) * crossEntropySum(similarities, labels: (0..<count).map(Int32.init))
  }

  private func merged(_ value: Tensor, _ name: String) -> Tensor {
    guard let merging, let mean = merging.mean[name] else { return value }
    return Float(1 - merging.share) * value + Float(merging.share) * mean
  }

  /// Writes all that going on needs, whole or not at all; `seconds` is what it took so far.
  func save(to folder: String, seconds: Double = 0) throws {
    try Folder.replace(folder) { temporary in
      try TaskState(of: network).write(to: temporary + "/state.safetensors")
      try Safetensors.write(
        optimizer.memory.map {
          TensorToWrite(name: $0.name, floats: $0.value.values, shape: $0.value.shape.dimensions)
        },
        to: temporary + "/optimizer.safetensors")
      let numbers: [String: JSON] = [
        "epoch": .integer(epoch), "optimizer_steps": .integer(optimizer.steps), "seconds": .number(seconds),
      ]
      try AtomicFile.write(JSON.object(numbers).text(pretty: true) + "\n", to: temporary + "/epoch.json")
    }
  }

  /// Goes on where ``save(to:)`` left off.
  ///
  /// - Throws: a ``FileError`` when the folder holds something else.
  mutating func restore(from folder: String) throws {
    let path = folder + "/epoch.json", numbers = try JSON.read(path)
    guard let epoch = numbers["epoch"]?.int, let steps = numbers["optimizer_steps"]?.int,
      let seconds = numbers["seconds"]?.double, seconds >= 0, (0...settings.epochs).contains(epoch),
      steps == epoch * self.steps
    else { throw FileError(path, "is no state of this run", remedy: "remove the folder to learn the task anew") }
    try TaskState(folder + "/state.safetensors", like: TaskState(of: network)).install(into: &network)
    let file = try Safetensors(folder + "/optimizer.safetensors")
    let shapes = Dictionary(uniqueKeysWithValues: network.trainableParameters.map { ($0.name, $0.value.shape) })
    var memory: [String: Tensor] = [:]
    for name in file.names {
      let entry = try file.entry(name)
      guard let shape = shapes[String(name.drop { $0 != "." }.dropFirst())], shape.dimensions == entry.shape else {
        throw FileError(file.path, at: "tensor \(quoted(name))", "belongs to no parameter of this run")
      }
      memory[name] = Tensor(try entry.floats(), shape: shape)
    }
    optimizer.restore(memory, steps: steps)
    (self.epoch, secondsBefore) = (epoch, seconds)
  }
}
