import Adapters
import Autodiff
import Files
import Images
import Networks

// How a task is learned, and what it is learned from.
extension SequenceRun {
  /// The network with everything in place that the strategy trains, and an output layer for `classes`.
  ///
  /// - Throws: a `GraftError` for an adapter that does not fit the network.
  func learner(classes: [String], key: RandomKey, tasks: [String] = []) throws -> any ImageNetwork {
    var learner = network
    learner.forEachParameter { $1.isTrainable = false }
    learner.setHead(labels: classes, random: key["classifier"])
    if var plan = method.plan {
      plan.settings.tasks = tasks
      // Adapters of all tasks begin with the same numbers, so that what is between two of them has a meaning.
      try learner.graft(plan, random: random["adapter"])
    }
    var head = learner.head
    head.base.bias?.isTrainable = true
    var headSetup = Setup(site: learner.headName, random: key["adapter"])
    headSetup.isHead = true
    head.adapter = Full(on: &head.base, Full.Nothing(), headSetup)
    learner.head = head
    guard method.plan == nil, strategy.reprograms, let variant = CLR.Variant(rawValue: settings.variant) else {
      return learner
    }
    learner.forEachConvolution { name, convolution in
      convolution.adapter = CLR(on: &convolution.base, variant, Setup(site: name, random: key["adapter"]))
    }
    learner.forEachBatchNorm { _, norm in
      norm.learnsMoments = settings.learnsMoments
      (norm.weight.isTrainable, norm.bias.isTrainable) = (true, true)
    }
    return learner
  }

  /// What a task that shares nothing begins with.
  func learner(of number: Int) throws -> any ImageNetwork {
    try learner(classes: tasks[number].classNames, key: random[tasks[number].name])
  }

  /// What serves a task that shares nothing, as it lies on disk.
  func served(_ number: Int) throws -> any ImageNetwork {
    try restored(tasks[number].name, number, try learner(of: number).settled)
  }

  /// `network` with what was learned as `name`.
  func restored(_ name: String, _ number: Int, _ network: any ImageNetwork) throws -> any ImageNetwork {
    var network = network
    try TaskState(stateFile(name, number), like: TaskState(of: network)).install(into: &network)
    return network
  }

  /// `network` with what was learned as `name` before; else what `make` learns, which is then kept.
  func learnedOnce(
    _ name: String, _ number: Int, _ network: any ImageNetwork, make: () throws -> any ImageNetwork
  ) throws -> any ImageNetwork {
    try Folder.create(place(name, number))
    if Folder.exists(stateFile(name, number)) { return try restored(name, number, network) }
    let learned = try make()
    try TaskState(of: learned).write(to: stateFile(name, number))
    return learned
  }

  /// Learns a task by itself, and does what belongs to it then; gives what serves it and the seconds all took.
  func learnedAlone(
    _ number: Int, _ progress: (String) -> Void, prepare: (inout TaskTraining) throws -> Void = { _ in },
    then: (any ImageNetwork) throws -> Void = { _ in }
  ) throws -> (network: any ImageNetwork, seconds: Double) {
    let task = tasks[number]
    var learned = try learner(of: number)
    let seconds = try timed(place(task.name, number)) {
      if strategy == .probe {
        learned = try probed(number, learned, progress)
        return
      }
      let source = try trainingSource(of: task, before: learned.firstLearningStage)
      let batches = TaskBatches(
        task.train, classes: 0..<task.classNames.count, from: source, random: random[task.name]["data"])
      learned = try learn(learned, [batches], task.name, number, settling: true, progress, prepare: prepare)
      try then(learned)
    }
    return (learned, seconds)
  }

  /// Trains to the end, or takes what was trained before; `settling` merges what was trained in modules.
  func learn(
    _ network: any ImageNetwork, _ batches: [TaskBatches], _ name: String, _ number: Int, settling: Bool = false,
    _ progress: (String) -> Void, prepare: (inout TaskTraining) throws -> Void = { _ in }
  ) throws -> any ImageNetwork {
    let half = place(name, number) + "/unfinished"
    return try learnedOnce(name, number, settling ? network.settled : network) {
      let clock = ContinuousClock.now
      var training = TaskTraining(network, on: batches, settings, random: random[name])
      training.routesByTask = method.routesByTask
      training.consistency = try method.plan.flatMap { try Catalogue.consistency(of: $0.method, $0.settings) }
      try prepare(&training)
      if Folder.exists(half) { try training.restore(from: half) }
      while training.epoch < settings.epochs {
        let loss = try training.run()
        progress("\(method.name): \(name), epoch \(training.epoch)/\(settings.epochs), loss \(rounded(loss))")
        if training.epoch < settings.epochs {
          try training.save(to: half, seconds: training.secondsBefore + seconds(since: clock))
        }
      }
      return settling ? training.network.settled : training.network
    }
  }

  /// The seconds that `body` took, and those before it was interrupted; once it has ended, what it took then.
  func timed(_ place: String, _ body: () throws -> Void) throws -> Double {
    let path = place + "/seconds.json", half = place + "/unfinished"
    func read(_ path: String) throws -> Double {
      guard let seconds = try JSON.read(path)["seconds"]?.double, seconds >= 0 else {
        throw FileError(path, "holds no seconds", remedy: "remove the folder to learn the task anew")
      }
      return seconds
    }
    // What a killed process left.
    defer { Folder.removeAbandoned(half) }
    if Folder.exists(path) {
      try body()
      Folder.remove(half)
      return try read(path)
    }
    let before = Folder.exists(half + "/epoch.json") ? try read(half + "/epoch.json") : 0
    let clock = ContinuousClock.now
    try body()
    let total = before + seconds(since: clock)
    try AtomicFile.write(JSON.object(["seconds": .number(total)]).text(pretty: true) + "\n", to: path)
    Folder.remove(half)
    return total
  }

  func place(_ name: String, _ number: Int) -> String { "\(folder)/\(number + 1)-\(name)" }
  func stateFile(_ name: String, _ number: Int) -> String { place(name, number) + "/state.safetensors" }

  /// The outputs of a task as they were when it was learned: kept beside its state, so that every later run compares with
  /// them and not with what lies on disk by then.
  func outputsWhenLearned(_ number: Int, _ logits: Tensor) throws -> Tensor {
    let path = place(tasks[number].name, number) + "/outputs.safetensors", shape = logits.shape
    if Folder.exists(path) {
      return Tensor(try Safetensors(path).floats("logits", shape: shape.dimensions), shape: shape)
    }
    try Safetensors.write(
      [TensorToWrite(name: "logits", floats: logits.values, shape: shape.dimensions)], to: path)
    return logits
  }

  /// Bytes of the files that serve a task once it is learned: its state, and its classes where these are described.
  func bytesKept(_ name: String, _ number: Int) throws -> Int {
    let classes = classFile(name, number)
    return try MappedFile(stateFile(name, number)).count + (Folder.exists(classes) ? MappedFile(classes).count : 0)
  }

  func classFile(_ name: String, _ number: Int) -> String { place(name, number) + "/classes.safetensors" }

  /// What a body whose first `stage` stages do not learn reads of `examples`.
  func source(of examples: ImageExamples, _ task: ImageTask, _ part: String, before stage: Int) throws -> BatchSource {
    guard stage > 0, settings.keepsFeatures else { return .images(preparation) }
    try Folder.create(features)
    return .kept(
      try FeatureCache(
        network, before: stage, of: examples, preparation, at: "\(features)/\(task.name)-\(part)-\(stage).h5"))
  }

  /// The logits of a task's test images among `choices`, `[images, choices]`.
  func logits(_ network: any ImageNetwork, _ number: Int, _ choices: Range<Int>) throws -> Tensor {
    let context = Context(task: strategy.isIsolated ? 0 : number)
    let features = try bodyFeatures(network, tasks[number].test, tasks[number], "test", context)
    return network.logits(features, context).transposed.gathered(choices.map(Int32.init)).transposed
  }

  /// What a body makes of some examples of a task, of all unless `rows` are named, `[images, featureWidth]`.
  func bodyFeatures(
    _ network: any ImageNetwork, _ examples: ImageExamples, _ task: ImageTask, _ part: String, rows: [Int]? = nil,
    _ context: Context = Context(task: 0)
  ) throws -> Tensor {
    let source = try source(of: examples, task, part, before: network.firstLearningStage)
    let rows = rows ?? Array(examples.indices.indices)
    return Tensor.concatenated(
      try stride(from: 0, to: rows.count, by: 64).map { start in
        let input = try source.batch(of: examples, Array(rows[start..<min(rows.count, start + 64)]))
        return network.output(of: source.stage..<network.stageNames.count, entering: input, context).detached
      })
  }

  /// The share of a task's test images placed in their class; the column of the task's first class is `first`.
  func accuracy(_ logits: Tensor, _ task: ImageTask, first: Int = 0) -> Double {
    let right = zip(logits.rowArgmax, task.test.labels).count { $0 == Int($1) + first }
    return Double(right) / Double(max(1, task.test.labels.count))
  }

  func seconds(since start: ContinuousClock.Instant) -> Double {
    let passed = ContinuousClock.now - start
    return Double(passed.components.seconds) + Double(passed.components.attoseconds) * 1e-18
  }

  func percent(_ value: Double) -> String { "\((value * 1000).rounded() / 10) %" }
  func rounded(_ value: Double) -> String { "\((value * 10_000).rounded() / 10_000)" }
}
