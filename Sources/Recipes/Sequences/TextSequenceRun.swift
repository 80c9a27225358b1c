import Adapters
import Autodiff
import Files
import Networks
import Sequences
import Text
import Training

/// A sequence of text tasks learned by one strategy, in a folder from which it can go on.
///
/// `N-TASK/` holds `state/`, a checkpoint of the training; `adapter/`, its result as `graft train` writes it; and, once all
/// is done, `measured.json`. Everything that is drawn derives from the seed and the tasks' names, so that a task that
/// shares nothing with others comes out the same in any order.
struct TextSequenceRun {
  let strategy: TextSequenceStrategy
  let sequence: TextSequenceRecipe
  let data: TextSequenceData
  let folder: String
  /// Whether to stop after the step that is being made.
  let shouldStop: () -> Bool
  let progress: (String) -> Void

  /// The end of a command that was told to stop; everything needed to go on has been written.
  struct Stopped: Error {}

  /// A training that is over: what it gave and how long it took.
  private struct Learned {
    let model: any TextNetwork
    let seconds: Double
  }

  /// What it came to, and what the tasks were judged by.
  typealias Outcome = (result: SequenceResult, tasks: [SequenceReport.Task])

  /// Learns all tasks and measures each on the way.
  ///
  /// - Throws: ``Stopped``; a `TrainingError` when a loss is not finite; a ``FileError`` for what cannot be read or written.
  func callAsFunction() throws -> Outcome {
    try Folder.create(folder)
    return strategy.isIsolated ? try isolated() : try together()
  }

  private func result(_ plan: TextSequencePlan) -> SequenceResult {
    var result = SequenceResult(
      strategy: strategy.rawValue, tasks: data.tasks.map(\.name),
      measure: plan.plan.classes.names.isEmpty ? .loss : .accuracy)
    if data.haveTheSameClasses, !strategy.isTold { result.scenario = .domain }
    return result
  }

  /// The run's recipe as the strategy changes it.
  private var recipe: Recipe {
    var recipe = sequence.recipe
    recipe.data.taskField = nil
    switch strategy {
    case .head, .probe:
      // The output layer, which always learns, and nothing else.
      recipe.adapter = Recipe.Adapter()
      (recipe.adapter.type, recipe.adapter.targetModules) = (LoRA.method, .names([]))
    case .full:
      recipe.adapter = Recipe.Adapter()
      recipe.adapter.type = Full.method
      if let rate = sequence.fullRate { recipe.train.learningRate = rate }
    case .mhr: routeByTask(&recipe)
    case .adapter, .sequential, .replay, .ewc, .joint: break
    }
    return recipe
  }

  private func routeByTask(_ recipe: inout Recipe) {
    recipe.data.taskField = TextSequenceData.field
    recipe.adapter.type = "mhr"
    recipe.adapter.options = ["skills": .integer(sequence.skills), "heads": .integer(sequence.heads)]
    if let rank = sequence.routedRank { recipe.adapter.rank = rank }
    if let alpha = sequence.routedAlpha { (recipe.adapter.alpha, recipe.adapter.scale) = (alpha, nil) }
    (recipe.adapter.dropout, recipe.adapter.initialization) = (0, .default)
    recipe.train.roleRates["router"] = sequence.routerRate
  }

  private func isolated() throws -> Outcome {
    var plans: [TextSequencePlan] = [], first: [TextTaskMeasure] = []
    var seconds: [Double] = []
    for (number, task) in data.tasks.enumerated() {
      let plan = try TextSequencePlan(recipe, [task]), own = plan.tasks[0]
      let place = try place(task.name, number)
      let learned =
        strategy == .probe
        ? try solve(plan, own.train, place) : try learn(plan, plan.untrained, own.train, task.name, place)
      let measured = try measured(place, seconds: learned.seconds, count: 1) {
        // What is stored in another form than it was trained in computes nearly, not exactly, the same.
        let served = plan.plan.storesAnotherForm ? try plan.readBack(place + "/adapter") : learned.model
        return [plan.measure(served, on: own)]
      }
      plans.append(plan)
      first += measured.rows
      seconds.append(measured.seconds)
      progress("\(strategy): \(task.name) learned, \(said(measured.rows[0].value, plan))")
    }
    var result = result(plans[0])
    var same = true
    for (number, (plan, task)) in zip(plans, data.tasks).enumerated() {
      // What lies on disk is what will serve: that is what is compared, after all tasks were learned.
      let place = try place(task.name, number), served = try plan.readBack(place + "/adapter")
      let last = plan.measure(served, on: plan.tasks[0])
      same = same && last.digest == first[number].digest
      for later in number..<data.tasks.count { result.matrix[later, number] = first[number].value }
      result.matrix[data.tasks.count - 1, number] = last.value
      try count(plan, in: place, &result)
      if !last.predictions.isEmpty { result.predictions.append(named(last.predictions, plan, plan.tasks[0], number)) }
    }
    (result.outputsUnchanged, result.seconds) = (same, seconds)
    return (result, zip(plans, data.tasks).map { $0.reported($0.tasks[0], classes: $1.classes) })
  }

  private func together() throws -> Outcome {
    let plan = try TextSequencePlan(recipe, data.tasks), count = data.tasks.count
    var result = result(plan)
    func row(_ model: any TextNetwork) -> [TextTaskMeasure] { plan.tasks.map { plan.measure(model, on: $0) } }
    let start = folder + "/untrained"
    try Folder.create(start)
    let untrained = try measured(start, seconds: 0, count: count) { row(plan.untrained) }
    result.matrix.baseline = untrained.rows.map(\.value)
    var model = plan.untrained, last: [TextTaskMeasure] = []
    var anchor = Anchor(weight: sequence.fisherWeight)
    let stages = strategy == .joint ? ["all"] : data.tasks.map(\.name)
    for (number, name) in stages.enumerated() {
      let place = try place(name, number)
      var examples = strategy == .joint ? plan.tasks.flatMap(\.train) : plan.tasks[number].train
      if strategy == .replay { examples += plan.tasks[..<number].flatMap { plan.kept(of: $0, sequence.memory) } }
      let before = model
      let learned = try learn(
        plan, before, examples, name, place, strategy == .ewc && number > 0 ? anchor : nil
      ) { model in
        // The mixtures of other tasks are not this one's to move, by weight decay or otherwise.
        strategy == .mhr ? Self.keepingRoutes(of: before, in: model, but: plan.routes.firstIndex(of: name)) : model
      }
      model = learned.model
      let measured = try measured(place, seconds: learned.seconds, count: count) { row(model) }
      result.seconds.append(measured.seconds)
      last = measured.rows
      let index = strategy == .joint ? count - 1 : number
      let shown = strategy == .joint ? last.reduce(0) { $0 + $1.value } / Double(count) : last[index].value
      for (tested, measure) in last.enumerated() { result.matrix[index, tested] = measure.value }
      progress("\(strategy): \(name) learned, \(said(shown, plan))")
      if strategy == .ewc, number < count - 1 {
        anchor.add(model, on: plan.kept(of: plan.tasks[number], sequence.memory))
      }
    }
    try self.count(plan, in: try place(stages[stages.count - 1], stages.count - 1), &result)
    // What lies in memory for the next task: kept rows as token ids, and what the anchor holds.
    let rows = strategy == .replay ? plan.tasks.dropLast().flatMap { plan.kept(of: $0, sequence.memory) } : []
    result.addedBytes[0] += rows.reduce(4 * anchor.count) { $0 + 4 * $1.ids.count }
    result.predictions = zip(plan.tasks, last).enumerated().compactMap { number, pair in
      pair.1.predictions.isEmpty ? nil : named(pair.1.predictions, plan, pair.0, number)
    }
    return (result, zip(plan.tasks, data.tasks).map { plan.reported($0, classes: $1.classes) })
  }

  /// `model` with the rows of routing logits that are not those of task `own` as `before` has them.
  private static func keepingRoutes(
    of before: any TextNetwork, in model: any TextNetwork, but own: Int?
  ) -> any TextNetwork {
    var kept: [String: Tensor] = [:], model = model
    for parameter in before.trainableParameters where parameter.role == .router {
      kept[parameter.name] = parameter.value
    }
    model.forEachParameter { name, parameter in
      guard let old = kept[name], let own, parameter.isTrainable else { return }
      let rows = (0..<old.shape[0]).map { row in (row == own ? parameter.value : old).rows(row..<row + 1) }
      parameter.value = .concatenated(rows)
    }
    return model
  }

  /// Trains to the end, or takes what was trained before, and leaves the adapter in `place`.
  private func learn(
    _ plan: TextSequencePlan, _ model: any TextNetwork, _ examples: [Example], _ name: String, _ place: String,
    _ anchor: Anchor? = nil, settle: (any TextNetwork) -> any TextNetwork = { $0 }
  ) throws -> Learned {
    var run = try plan.training(model, on: examples, as: name, anchor)
    let state = place + "/state"
    var seconds = 0.0
    if Folder.exists(state) {
      seconds = try TrainingCheckpoint.restore(&run, from: state)["seconds"]?.double ?? 0
    }
    func save() throws { try TrainingCheckpoint.save(run, extra: ["seconds": .number(seconds)], to: state) }
    let epoch = run.stepsPerEpoch, between = plan.plan.recipe.save.everySteps ?? epoch
    var losses: [Double] = []
    let isFresh = run.step < run.totalSteps
    if isFresh && shouldStop() { throw Stopped() }
    while run.step < run.totalSteps {
      let begun = secondsNow()
      guard let report = try run.next() else { break }
      seconds += secondsNow() - begun
      losses.append(report.loss)
      if report.step % epoch == 0 || report.step == run.totalSteps {
        let mean = losses.reduce(0, +) / Double(losses.count)
        progress("\(strategy): \(name), step \(report.step)/\(run.totalSteps), loss \(number(mean))")
        losses = []
      }
      if report.step == run.totalSteps { run.model = settle(run.model) }
      let stops = shouldStop()
      if stops || report.step % between == 0 || report.step == run.totalSteps { try save() }
      if stops { throw Stopped() }
    }
    if isFresh || !Folder.exists(place + "/adapter") { try plan.save(run.model, to: place + "/adapter") }
    return Learned(model: run.model, seconds: seconds)
  }

  /// Solves a task's output layer, or takes what was solved before, and leaves it in `place`.
  private func solve(_ plan: TextSequencePlan, _ examples: [Example], _ place: String) throws -> Learned {
    if Folder.exists(place + "/measured.json") {
      return Learned(model: try plan.readBack(place + "/adapter"), seconds: 0)
    }
    if shouldStop() { throw Stopped() }
    let begun = secondsNow(), model = plan.solved(for: examples, strength: sequence.probeStrength)
    try plan.save(model, to: place + "/adapter")
    return Learned(model: model, seconds: secondsNow() - begun)
  }

  /// What `place` holds of measures made before; else what `make` measures, which is then kept there.
  private func measured(
    _ place: String, seconds: Double, count: Int, _ make: () throws -> [TextTaskMeasure]
  ) throws -> (rows: [TextTaskMeasure], seconds: Double) {
    let path = place + "/measured.json"
    if Folder.exists(path) {
      let json = try JSON.read(path), rows = (json["rows"]?.array ?? []).compactMap(TextTaskMeasure.init)
      guard rows.count == count, let seconds = json["seconds"]?.double else {
        throw FileError(path, "is not what this run wrote", remedy: "remove it, and it is measured anew")
      }
      return (rows, seconds)
    }
    let rows = try make()
    guard rows.allSatisfy(\.value.isFinite) else {
      throw TrainingError("\(strategy): what was learned in \(place) gives no finite loss; lower train.learning_rate")
    }
    let json = JSON.object(["rows": .array(rows.map(\.json)), "seconds": .number(seconds)])
    try AtomicFile.write(json.text(pretty: true) + "\n", to: path)
    return (rows, seconds)
  }

  private func place(_ name: String, _ number: Int) throws -> String {
    let path = "\(folder)/\(number + 1)-\(name)"
    try Folder.create(path)
    return path
  }

  /// Adds what `place` keeps to the counts.
  private func count(_ plan: TextSequencePlan, in place: String, _ result: inout SequenceResult) throws {
    let parameters = plan.untrained.trainableParameters, head = plan.untrained.headName + "."
    func size(_ parameters: [TrainableParameter]) -> Int { parameters.reduce(0) { $0 + $1.value.count } }
    result.added.append(size(parameters))
    result.addedToBody.append(size(parameters.filter { plan.tasks[0].classes.isEmpty || !$0.name.hasPrefix(head) }))
    result.addedBytes.append(try MappedFile(place + "/adapter/adapter_model.safetensors").count)
  }

  /// Predictions among the task's classes in the order of the report.
  private func named(
    _ predictions: [Int32], _ plan: TextSequencePlan, _ task: TextSequencePlan.Task, _ number: Int
  ) -> [Int32] {
    predictions.map { told in
      guard task.classes.indices.contains(Int(told)) else { return -1 }
      let name = plan.plan.classes.names[task.classes[Int(told)]]
      return Int32(data.tasks[number].classes.firstIndex(of: name) ?? -1)
    }
  }

  private func said(_ value: Double, _ plan: TextSequencePlan) -> String {
    plan.plan.classes.names.isEmpty ? "held-out loss \(number(value))" : "accuracy \(percent(value))"
  }
}
