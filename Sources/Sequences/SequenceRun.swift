import Adapters
import Autodiff
import Files
import Images
import Networks
import Training

/// A sequence of image tasks learned on one frozen network in one way, in a folder from which it can go on.
///
/// The folder holds, for each task, `state.safetensors` and `seconds.json` when it was learned and `unfinished/` while it
/// is; what stages that never learn make of images lies in `features/`. Everything that is drawn derives from the seed and
/// the tasks' names, so a task that shares nothing with others comes out the same in any order.
public struct SequenceRun {
  /// How it is learned.
  public let method: SequenceMethod
  /// What is learned, in order.
  public let tasks: [ImageTask]
  let network: any ImageNetwork
  let preparation: ImagePreparation
  let settings: SequenceSettings
  let layout: ClassLayout
  let folder: String, features: String
  let random: RandomKey
  /// Images that no task was cut from, by name: what ``SequenceStrategy/ear``'s gate should stop.
  public var heldOut: [(name: String, examples: ImageExamples)] = []

  var strategy: SequenceStrategy { method.strategy }

  /// A run of `tasks` on `network`, which is never changed; `features` is a folder that runs on the same network and
  /// tasks may share. How training images are augmented is said by `settings` alone.
  ///
  /// - Throws: a `GraftError` for a variant of filters that is not known, tasks of one name, tasks of unequal classes where
  ///   they share them, an adapter that does not fit the network, and a strategy that cannot do what the scenario asks.
  public init(
    _ method: SequenceMethod, on network: any ImageNetwork, _ tasks: [ImageTask], _ preparation: ImagePreparation,
    _ settings: SequenceSettings, folder: String, features: String? = nil
  ) throws {
    guard !tasks.isEmpty, Set(tasks.map(\.name)).count == tasks.count else {
      throw GraftError("a sequence needs tasks, each of a name of its own", key: "tasks")
    }
    guard CLR.Variant(rawValue: settings.variant) != nil else {
      throw GraftError("'\(settings.variant)': expected full, reduced, scalar or gated", key: "variant")
    }
    if settings.scenario == .domain,
      let other = tasks.first(where: { $0.classNames.count != tasks[0].classNames.count })
    {
      throw GraftError(
        "task '\(other.name)' has \(other.classNames.count) classes and '\(tasks[0].name)' \(tasks[0].classNames.count); in scenario 'domain' class k of every task is the same",
        key: "scenario")
    }
    if settings.scenario == .domain,
      let other = tasks.first(where: {
        $0.classNames != tasks[0].classNames && Set($0.classNames) == Set(tasks[0].classNames)
      })
    {
      throw GraftError(
        "task '\(other.name)' has the classes of '\(tasks[0].name)' in another order (\(other.classNames.joined(separator: ", "))); in scenario 'domain' class k of every task is the same: name them with 'classes' in one order",
        key: "tasks")
    }
    try method.check(in: settings.scenario)
    (self.method, self.network, self.tasks) = (method, network, tasks)
    self.preparation = try preparation.augmented(by: settings.augmentation)
    (self.settings, self.folder, self.features) = (settings, folder, features ?? folder + "/features")
    layout = ClassLayout(settings.scenario, tasks)
    random = RandomKey(seed: settings.seed)[method.strategy.drawName]
    // What does not fit is told before anything is learned.
    _ = try learner(classes: tasks[0].classNames, key: random)
    if strategy == .ear { _ = try describer() }
  }

  /// Learns all tasks and measures each on the way.
  ///
  /// - Throws: a `TrainingError` when a loss is not finite, a ``FileError`` for what cannot be read or written.
  public func run(progress: (String) -> Void) throws -> SequenceResult {
    try Folder.create(folder)
    var result: SequenceResult
    switch (settings.scenario, strategy) {
    case (.task, _) where strategy.isIsolated: result = try isolated(progress)
    case (_, .probe): result = try probedTogether(progress)
    case (_, .mos): result = try surgery(progress)
    case (_, .ear): result = try routed(progress)
    default: result = try together(progress)
    }
    result.scenario = settings.scenario
    if settings.scenario == .class { result.firstClasses = layout.own.map(\.lowerBound) }
    return result
  }

  var emptyResult: SequenceResult {
    var result = SequenceResult(strategy: strategy, tasks: tasks.map(\.name), name: method.name)
    result.firstClasses = tasks.map { _ in 0 }
    return result
  }

  /// Each task by itself, on the network as it was.
  private func isolated(_ progress: (String) -> Void) throws -> SequenceResult {
    var result = emptyResult
    var first: [Tensor] = []
    for (number, task) in tasks.enumerated() {
      let (learned, seconds) = try learnedAlone(number, progress)
      let state = TaskState(of: learned), own = 0..<task.classNames.count
      result.seconds.append(seconds)
      result.added.append(state.count)
      result.addedToBody.append(state.count(withoutHead: network.headName))
      result.addedBytes.append(try bytesKept(task.name, number))
      let logits = try logits(learned, number, own)
      first.append(try outputsWhenLearned(number, logits))
      let accuracy = accuracy(logits, task)
      for later in number..<tasks.count { result.matrix[later, number] = accuracy }
      progress("\(method.name): \(task.name) learned, accuracy \(percent(accuracy))")
    }
    var same = true
    for (number, task) in tasks.enumerated() {
      // What lies on disk is what will serve: that is what is compared, and what the last row tells of.
      let last = try logits(served(number), number, 0..<task.classNames.count)
      same = same && last == first[number]
      result.matrix[tasks.count - 1, number] = accuracy(last, task)
      result.predictions.append(last.rowArgmax.map(Int32.init))
    }
    result.outputsUnchanged = same
    return result
  }

  /// All tasks through one body and one output layer.
  private func together(_ progress: (String) -> Void) throws -> SequenceResult {
    var result = emptyResult
    let last = tasks.count - 1
    var learned = try learner(classes: layout.labels, key: random["head"], tasks: tasks.map(\.name))
    let stage = learned.firstLearningStage
    func batches(_ number: Int, while learning: Int, keeping count: Int? = nil) throws -> TaskBatches {
      let task = tasks[number], key = random[task.name]
      // Images of earlier tasks that are kept are the same each time.
      let kept = count.map { Array(key["memory"].permutation(task.train.indices.count).prefix($0)) }
      return TaskBatches(
        task.train, chosen: kept, classes: layout.own[number], among: layout.choices(of: number, after: learning),
        task: number, from: try trainingSource(of: task, before: stage),
        random: key[count == nil ? "data" : "replay"])
    }
    if settings.scenario != .class {
      for (number, task) in tasks.enumerated() {
        result.matrix.baseline[number] = accuracy(try logits(learned, number, layout.own[number]), task)
      }
    }
    let fresh = TaskState(of: learned)
    var anchor = Anchor(weight: settings.fisherWeight)
    for number in strategy == .joint ? last..<tasks.count : 0..<tasks.count {
      let name = strategy == .joint ? "all" : tasks[number].name
      result.seconds.append(
        try timed(place(name, strategy == .joint ? 0 : number)) {
          var all = [try batches(number, while: number)]
          if strategy == .replay {
            all += try (0..<number).map { try batches($0, while: number, keeping: settings.memory) }
          }
          if strategy == .joint { all = try tasks.indices.map { try batches($0, while: last) } }
          learned = try learn(learned, all, name, strategy == .joint ? 0 : number, progress) { training in
            if strategy == .ewc, number > 0 { training.anchor = anchor }
          }
          if strategy == .ewc, number < last {
            // An output layer that all tasks' classes share is held like the rest.
            try anchor.add(
              learned, on: all[0], images: settings.memory, withHead: layout.own[number] == layout.own[number + 1])
          }
        })
      for (tested, other) in tasks.enumerated() {
        guard let choices = layout.choices(of: tested, after: number) else { continue }
        result.matrix[number, tested] = accuracy(
          try logits(learned, tested, choices), other, first: layout.own[tested].lowerBound - choices.lowerBound)
      }
      let shown = strategy == .joint ? result.matrix.averageAccuracy : result.matrix[number, number]
      progress("\(method.name): after \(name), accuracy \(percent(shown ?? 0))")
    }
    result.added = [fresh.count]
    result.addedToBody = [fresh.count(withoutHead: network.headName)]
    // Images that are kept for later count as they lie in their sets.
    let images = strategy == .replay ? tasks.dropLast().map(\.train) : []
    let imageBytes = images.reduce(0) { $0 + min(settings.memory, $1.indices.count) * $1.set.imageBytes }
    let state = strategy == .joint ? try bytesKept("all", 0) : try bytesKept(tasks[last].name, last)
    result.addedBytes = [state + imageBytes + 4 * anchor.count]
    result.predictions = try tasks.indices.map { number in
      try logits(learned, number, layout.choices(of: number, after: last) ?? layout.own[number]).rowArgmax
        .map(Int32.init)
    }
    return result
  }
}
