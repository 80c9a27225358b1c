import Adapters
import Autodiff
import Files
import Images
import Networks

/// A sequence of image tasks learned on one frozen network by one strategy, in a folder from which it can go on.
///
/// The folder holds, for each task, `state.safetensors` when it was learned and `unfinished/` while it is; features of a
/// body that never learns lie in `features/`. Everything that is drawn derives from the seed and the tasks' names, so a
/// task that shares nothing with others comes out the same in any order.
public struct SequenceRun {
  /// How it is learned.
  public let strategy: SequenceStrategy
  /// What is learned, in order.
  public let tasks: [ImageTask]
  private let network: any ImageNetwork
  private let preparation: ImagePreparation
  private let settings: SequenceSettings
  private let folder: String
  private let random: RandomKey

  /// A run of `tasks` on `network`, which is never changed.
  ///
  /// - Throws: a `GraftError` for a variant of filters that is not known, and tasks of one name.
  public init(
    _ strategy: SequenceStrategy, on network: any ImageNetwork, _ tasks: [ImageTask], _ preparation: ImagePreparation,
    _ settings: SequenceSettings, folder: String
  ) throws {
    guard !tasks.isEmpty, Set(tasks.map(\.name)).count == tasks.count else {
      throw GraftError("a sequence needs tasks, each of a name of its own")
    }
    guard CLR.Variant(rawValue: settings.variant) != nil else {
      throw GraftError("'\(settings.variant)': expected full, reduced, scalar or gated", key: "variant")
    }
    (self.strategy, self.network, self.tasks, self.preparation) = (strategy, network, tasks, preparation)
    (self.settings, self.folder) = (settings, folder)
    random = RandomKey(seed: settings.seed)[strategy.rawValue]
  }

  /// Learns all tasks and measures each on the way.
  ///
  /// - Throws: a `TrainingError` when a loss is not finite, a ``FileError`` for what cannot be read or written.
  public func run(progress: (String) -> Void) throws -> SequenceResult {
    try Folder.create(folder)
    return strategy.isIsolated ? try isolated(progress) : try together(progress)
  }

  /// Each task by itself, on the network as it was.
  private func isolated(_ progress: (String) -> Void) throws -> SequenceResult {
    var result = SequenceResult(strategy: strategy, tasks: tasks.map(\.name))
    var answers: [[Int32]] = [], first: [Tensor] = []
    for (number, task) in tasks.enumerated() {
      let clock = ContinuousClock.now
      let started = learner(classes: task.classNames, key: random[task.name])
      let source = try source(of: task.train, task, "train")
      let batches = TaskBatches(
        task.train, classes: 0..<task.classNames.count, from: source, random: random[task.name]["data"])
      let learned = try learn(started, [batches], task.name, number, progress)
      let state = TaskState(of: learned)
      result.seconds.append(seconds(since: clock))
      result.added.append(state.count)
      result.addedToBody.append(state.count(withoutHead: network.headName))
      let logits = try logits(learned, task, 0..<task.classNames.count)
      first.append(logits)
      answers.append(logits.rowArgmax.map(Int32.init))
      let accuracy = accuracy(logits, task)
      for later in number..<tasks.count { result.matrix[later, number] = accuracy }
      progress("\(strategy.rawValue): \(task.name) learned, accuracy \(percent(accuracy))")
    }
    var same = true
    for (number, task) in tasks.enumerated() {
      var served = learner(classes: task.classNames, key: random[task.name])
      // What lies on disk is what will serve: that is what is compared.
      try TaskState(stateFile(task.name, number), like: TaskState(of: served)).install(into: &served)
      same = try same && logits(served, task, 0..<task.classNames.count) == first[number]
    }
    result.outputsUnchanged = same
    result.predictions = answers
    return result
  }

  /// All tasks through one set of filters and norms and one output layer, of which each task has its own rows.
  private func together(_ progress: (String) -> Void) throws -> SequenceResult {
    var result = SequenceResult(strategy: strategy, tasks: tasks.map(\.name))
    var start = 0
    let ranges = tasks.map { task in
      defer { start += task.classNames.count }
      return start..<start + task.classNames.count
    }
    let all = try zip(tasks, ranges).map { task, range in
      TaskBatches(
        task.train, classes: range, from: try source(of: task.train, task, "train"),
        random: random[task.name]["data"])
    }
    var learned = learner(classes: tasks.flatMap(\.classNames), key: random["head"])
    for (number, task) in tasks.enumerated() {
      result.matrix.baseline[number] = accuracy(try logits(learned, task, ranges[number]), task)
    }
    let fresh = TaskState(of: learned)
    var penalty = FisherPenalty(weight: settings.fisherWeight)
    if strategy == .joint {
      let clock = ContinuousClock.now
      learned = try learn(learned, all, "all", 0, progress)
      result.seconds.append(seconds(since: clock))
      for (number, task) in tasks.enumerated() {
        result.matrix[tasks.count - 1, number] = accuracy(try logits(learned, task, ranges[number]), task)
      }
    } else {
      for (number, task) in tasks.enumerated() {
        let clock = ContinuousClock.now
        var batches = [all[number]]
        if strategy == .replay { batches += try kept(before: number, ranges) }
        learned = try learn(
          learned, batches, task.name, number, progress, penalty: strategy == .ewc && number > 0 ? penalty : nil)
        if strategy == .ewc, number < tasks.count - 1 {
          try penalty.add(learned, on: all[number], images: settings.memory)
        }
        result.seconds.append(seconds(since: clock))
        for (tested, other) in tasks.enumerated() {
          result.matrix[number, tested] = accuracy(try logits(learned, other, ranges[tested]), other)
        }
        progress("\(strategy.rawValue): after \(task.name), accuracy \(percent(result.matrix[number, number] ?? 0))")
      }
    }
    result.added = [fresh.count]
    result.addedToBody = [fresh.count(withoutHead: network.headName)]
    result.predictions = try zip(tasks, ranges).map { task, range in
      try logits(learned, task, range).rowArgmax.map(Int32.init)
    }
    return result
  }

  /// The network with everything in place that the strategy trains, and an output layer for `classes`.
  private func learner(classes: [String], key: RandomKey) -> any ImageNetwork {
    var learner = network
    learner.forEachParameter { $1.isTrainable = false }
    learner.setHead(labels: classes, random: key["classifier"])
    let setup = { (site: String) in Setup(site: site, random: key["adapter"]) }
    let name = learner.headName
    var head = learner.head
    head.base.bias?.isTrainable = true
    var headSetup = setup(name)
    headSetup.isHead = true
    head.adapter = Full(on: &head.base, Full.Nothing(), headSetup)
    learner.head = head
    guard strategy.reprograms, let variant = CLR.Variant(rawValue: settings.variant) else { return learner }
    learner.forEachConvolution { name, convolution in
      convolution.adapter = CLR(on: &convolution.base, variant, setup(name))
    }
    learner.forEachBatchNorm { _, norm in
      norm.learnsMoments = true
      (norm.weight.isTrainable, norm.bias.isTrainable) = (true, true)
    }
    return learner
  }

  /// Trains to the end, or takes what was trained before.
  private func learn(
    _ network: any ImageNetwork, _ batches: [TaskBatches], _ name: String, _ number: Int, _ progress: (String) -> Void,
    penalty: FisherPenalty? = nil
  ) throws -> any ImageNetwork {
    let place = place(name, number), finished = stateFile(name, number), half = place + "/unfinished"
    try Folder.create(place)
    var network = network
    if Folder.exists(finished) {
      try TaskState(finished, like: TaskState(of: network)).install(into: &network)
      return network
    }
    var training = TaskTraining(network, on: batches, settings, penalty: penalty, random: random[name])
    if Folder.exists(half) { try training.restore(from: half) }
    while training.epoch < settings.epochs {
      let loss = try training.run()
      progress("\(strategy.rawValue): \(name), epoch \(training.epoch)/\(settings.epochs), loss \(rounded(loss))")
      if training.epoch < settings.epochs { try training.save(to: half) }
    }
    try TaskState(of: training.network).write(to: finished)
    Folder.remove(half)
    return training.network
  }

  private func place(_ name: String, _ number: Int) -> String { "\(folder)/\(number + 1)-\(name)" }
  private func stateFile(_ name: String, _ number: Int) -> String { place(name, number) + "/state.safetensors" }

  /// Images of every earlier task that are kept, the same each time.
  private func kept(before number: Int, _ ranges: [Range<Int>]) throws -> [TaskBatches] {
    try (0..<number).map { earlier in
      let task = tasks[earlier], key = random[task.name]
      let order = key["memory"].permutation(task.train.indices.count)
      return TaskBatches(
        task.train, chosen: Array(order.prefix(settings.memory)), classes: ranges[earlier],
        from: try source(of: task.train, task, "train"), random: key["replay"])
    }
  }

  private func source(of examples: ImageExamples, _ task: ImageTask, _ part: String) throws -> BatchSource {
    guard !strategy.reprograms else { return .images(preparation) }
    try Folder.create(folder + "/features")
    return .features(
      try FeatureCache(network, of: examples, preparation, at: "\(folder)/features/\(task.name)-\(part).h5"))
  }

  /// The logits of a task's test images among its own classes, `[images, classes]`.
  private func logits(_ network: any ImageNetwork, _ task: ImageTask, _ classes: Range<Int>) throws -> Tensor {
    let source = try source(of: task.test, task, "test"), count = task.test.indices.count
    var parts: [Tensor] = []
    for start in stride(from: 0, to: count, by: 64) {
      let input = try source.batch(of: task.test, Array(start..<min(count, start + 64)))
      let features =
        source.isFeatures ? input : network.output(of: 0..<network.stageNames.count, entering: input, Context())
      parts.append(network.logits(features, Context()))
    }
    return Tensor.concatenated(parts).transposed.gathered(classes.map(Int32.init)).transposed
  }

  private func accuracy(_ logits: Tensor, _ task: ImageTask) -> Double {
    let right = zip(logits.rowArgmax, task.test.labels).count { $0 == Int($1) }
    return Double(right) / Double(max(1, task.test.labels.count))
  }

  private func seconds(since start: ContinuousClock.Instant) -> Double {
    let passed = ContinuousClock.now - start
    return Double(passed.components.seconds) + Double(passed.components.attoseconds) * 1e-18
  }

  private func percent(_ value: Double) -> String { "\((value * 1000).rounded() / 10) %" }
  private func rounded(_ value: Double) -> String { "\((value * 10_000).rounded() / 10_000)" }
}
