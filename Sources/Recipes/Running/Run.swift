import Adapters
import Autodiff
import Files
import Networks
import Text
import Training

/// A recipe carried out: train, save, prove, merge, export.
///
/// Results go to files; what a person reads goes to `report`, a line at a time.
public final class Run {
  private let plan: RunPlan
  private let folder: RunFolder
  private let report: (RunEvent) -> Void
  private var training: TrainingRun
  private var log: MetricsLog?
  private var plot = LossPlot()
  private var best = Double.infinity
  private var evaluationsSinceBest = 0
  private var firstLoss: Double?, lastEvaluation: Evaluation?
  private var recentLosses: [Double] = []
  private var tokensSeen = 0, secondsTraining = 0.0
  private var stepSeconds: [Double] = []

  /// What a run tells as it goes.
  public enum RunEvent: Sendable {
    /// A line for people.
    case line(String)
    /// A step, with how fast and how long still.
    case step(StepReport, tokensPerSecond: Double, secondsLeft: Double, resident: Int)
  }

  /// How a run ended.
  public enum Outcome: Sendable, Equatable {
    /// All steps were made.
    case complete
    /// A signal came; a checkpoint lies in the folder.
    case interrupted(signal: Int32, checkpoint: String)
    /// All steps were made, but a merged file is not faithful.
    case unfaithful
  }

  /// How a run stands to what its folder holds already.
  public enum Start: Sendable {
    /// It begins; an unfinished run in its folder is left alone, and is an error.
    case afresh
    /// It begins, whatever is there.
    case replacing
    /// It goes on where the folder's newest checkpoint left off.
    case resuming
  }

  /// A run of `recipe`.
  ///
  /// - Throws: when the recipe or a file it names is wrong; nothing of an earlier run has been touched then.
  public init(_ recipe: Recipe, _ start: Start, report: @escaping (RunEvent) -> Void) throws {
    if let threads = recipe.train.threads { Parallel.threads = threads }
    self.report = report
    if start == .afresh { try RunFolder.refuseUnfinished(recipe) }
    plan = try RunPlan(recipe)
    folder = try RunFolder(recipe.outputDirectory.path)
    try RunResults.createFolders(for: recipe, base: plan.model.checkpoint.path)
    if start != .resuming { folder.clear() }
    training = plan.start
    if start == .resuming { try restore() }
    try AtomicFile.write(
      plan.recipe.resolvedYAML(toolVersion: graftVersion, hashes: plan.hashes), to: folder.recipe)
    // A run without a checkpoint begins again, with what it says before its first step.
    if recipe.log.jsonl {
      log = try MetricsLog(folder.metrics, keepingThrough: training.step > 0 ? training.step : -1)
    }
  }

  /// The steps of the whole run.
  public var totalSteps: Int { training.totalSteps }

  private func restore() throws {
    guard let newest = folder.checkpoints.last else {
      say("no checkpoint yet: starting from the first step")
      return
    }
    let path = folder.checkpoint(newest)
    let state = try TrainingCheckpoint.restore(&training, from: path)
    for (name, digest) in plan.hashes where state["sha256"]?[name]?.string != digest {
      throw FileError(
        path, at: name, "has changed since this checkpoint was written", remedy: "restore it, or train anew")
    }
    best = state["best"]?.double ?? .infinity
    evaluationsSinceBest = state["evaluations_since_best"]?.int ?? 0
    recentLosses = state["recent_losses"]?.array?.compactMap(\.double) ?? []
    for entry in MetricsLog.entries(folder.metrics) {
      guard let step = entry["step"]?.int, step <= training.step else { continue }
      if let loss = entry["loss"]?.double {
        plot.add(training: loss, at: step)
        firstLoss = firstLoss ?? loss
      }
      if let loss = entry["eval_loss"]?.double { plot.add(heldOut: loss, at: step) }
    }
    say("resuming after step \(training.step) of \(training.totalSteps)")
  }

  /// Carries the run to its end, or to the step after a signal.
  ///
  /// - Throws: a ``TrainingError`` when it cannot go on, a ``FileError`` when something cannot be written.
  public func callAsFunction() throws -> Outcome {
    for line in RunHeader(plan, training).lines { say(line) }
    if training.step < training.totalSteps {
      let forecast = RunForecast(training, limitGB: plan.recipe.train.memoryLimitGB)
      say(forecast.line)
      try forecast.check()
    }
    let started = secondsNow()
    if training.step == 0 {
      if plan.recipe.eval.atStart { try evaluate() }
      try evaluateOthers()
      try showSamples("before training")
    }
    if let signal = try train() {
      let path = folder.checkpoint(training.step)
      try saveCheckpoint()
      say("interrupted after step \(training.step); everything needed to go on is in \(displayed(path))")
      say("next: graft resume \(displayed(folder.path))")
      return .interrupted(signal: signal, checkpoint: path)
    }
    return try finish(started: started)
  }

  /// Makes steps until all are made, early stopping ends them, or a signal comes, which it returns.
  private func train() throws -> Int32? {
    let recipe = plan.recipe
    if let signal = Interruption.signal { return signal }
    let first = training.step
    while training.step < training.totalSteps {
      sayRound()
      let begun = secondsNow()
      guard let step = try training.next() else { break }
      let seconds = secondsNow() - begun
      tokensSeen += step.tokens
      secondsTraining += seconds
      stepSeconds.append(seconds)
      if firstLoss == nil { firstLoss = step.loss }
      plot.add(training: step.loss, at: step.step)
      let left = secondsTraining / Double(step.step - first) * Double(training.totalSteps - step.step)
      if step.step % max(1, recipe.log.everySteps) == 0 || step.step == training.totalSteps {
        report(
          .step(
            step, tokensPerSecond: Double(step.tokens) / seconds, secondsLeft: left, resident: ProcessMemory.resident))
        try record(step, seconds: seconds)
      }
      if step.wasSkipped { say("step \(step.step) skipped: its loss or gradient is not finite") }
      try checkMemory()
      let isLast = step.step == training.totalSteps
      recentLosses.append(step.loss)
      if step.step % (recipe.eval.everySteps ?? training.stepsPerEpoch) == 0, !isLast {
        if recipe.eval.everySteps != nil { try evaluate() }
        judgeTrainingLoss()
        if shouldStopEarly {
          say("stopping early: no better loss in \(evaluationsSinceBest) evaluations")
          break
        }
      }
      if step.step % plan.stepsBetweenSaves == 0 && !isLast { try saveCheckpoint() }
      if let signal = Interruption.signal { return isLast ? nil : signal }
    }
    return nil
  }

  /// Says which blocks learn from here on, where they learn in rounds and the next step is the first of one.
  private func sayRound() {
    guard let round = training.objective.round(of: training.step), round.steps.lowerBound == training.step else {
      return
    }
    say(
      "round \(round.index + 1): blocks \(round.blocks.lowerBound) to \(round.blocks.upperBound - 1), \(round.steps.count) steps"
    )
  }

  private func checkMemory() throws {
    guard let limit = plan.recipe.train.memoryLimitGB, Double(ProcessMemory.resident) > limit * 1e9 else { return }
    try saveCheckpoint()
    throw TrainingError(
      "step \(training.step) took the process to \(megabytes(ProcessMemory.resident)), above memory_limit_gb: \(limit); set activation_checkpointing: true or a smaller batch_size, then train again"
    )
  }

  private var shouldStopEarly: Bool {
    guard let rule = plan.recipe.train.earlyStopping else { return false }
    return evaluationsSinceBest >= rule.patience
  }

  /// Where early stopping watches the training loss: whether its mean since the last look is the best so far.
  private func judgeTrainingLoss() {
    defer { recentLosses = [] }
    guard let rule = plan.recipe.train.earlyStopping, rule.metric == .trainLoss, !recentLosses.isEmpty else { return }
    let mean = recentLosses.reduce(0, +) / Double(recentLosses.count)
    if mean < best - rule.minDelta { (best, evaluationsSinceBest) = (mean, 0) } else { evaluationsSinceBest += 1 }
  }

  private var watchesTraining: Bool { plan.recipe.train.earlyStopping?.metric == .trainLoss }

  /// Judges the model on the held-out examples and keeps it if it is the best so far.
  @discardableResult
  private func evaluate() throws -> Double? {
    guard !plan.data.heldOut.isEmpty else { return nil }
    let evaluation = Evaluation(
      training.model, on: plan.data.heldOut, batchSize: plan.recipe.eval.batchSize, tasks: plan.data.tasks)
    let loss = evaluation.loss
    // Later on it is the rate that is to blame, and what was learned is worth keeping.
    guard loss.isFinite || training.step > 0 else { throw plan.model.notFinite("its losses on held-out rows") }
    lastEvaluation = evaluation
    plot.add(heldOut: loss, at: training.step)
    say("held out after step \(training.step): \(evaluation.line)")
    try log?.append(evaluation.json.merging(["step": .integer(training.step)]) { $1 })
    guard !watchesTraining else { return loss }
    if loss < best - (plan.recipe.train.earlyStopping?.minDelta ?? 0) {
      (best, evaluationsSinceBest) = (loss, 0)
      if plan.recipe.save.keepBest && training.step > 0 && hasAdapter { try saveAdapter(folder.best) }
    } else {
      evaluationsSinceBest += 1
    }
    return loss
  }

  /// Measures the model on the recipe's other rows; after training, beside what was measured before.
  @discardableResult
  private func evaluateOthers() throws -> [String: JSON] {
    let before = training.step > 0 ? Self.firstLosses(in: folder.path) : [:]
    var found: [String: JSON] = [:]
    for (name, examples) in plan.data.also {
      let evaluation = Evaluation(
        training.model, on: examples, batchSize: plan.recipe.eval.batchSize, tasks: plan.data.tasks)
      let first = before[name]
      let change = first.map { "; \(number(evaluation.loss - $0)) more than before training" } ?? ""
      say("also \(name) after step \(training.step): \(evaluation.line)\(change)")
      var entry = evaluation.json
      if let first { entry["eval_loss_before"] = .number(first) }
      found[name] = .object(entry)
    }
    if !found.isEmpty { try log?.append(["step": .integer(training.step), "also": .object(found)]) }
    return found
  }

  /// The losses on other rows before the first step of the run in `folder`, by name.
  static func firstLosses(in folder: String) -> [String: Double] {
    let entry = MetricsLog.entries(folder + "/metrics.jsonl").first { $0["also"] != nil && $0["step"]?.int == 0 }
    return (entry?["also"]?.object ?? [:]).compactMapValues { $0["eval_loss"]?.double }
  }

  private func record(_ step: StepReport, seconds: Double) throws {
    func finite(_ value: Double) -> JSON { value.isFinite ? .number(value) : .null }
    try log?.append([
      "step": .integer(step.step), "epoch": .number(step.epoch), "loss": finite(step.loss),
      "lr": .number(step.learningRate),
      "grad_norm": finite(step.gradientNorm), "tokens": .integer(step.tokens),
      "supervised_tokens": .integer(step.supervisedTokens), "tokens_per_s": .number(Double(step.tokens) / seconds),
      "rss_mb": .number(Double(ProcessMemory.resident) / 1e6),
    ])
  }

  private func saveCheckpoint() throws {
    let extra: [String: JSON] = [
      "sha256": .object(plan.hashes.mapValues(JSON.string)), "best": best.isFinite ? .number(best) : .null,
      "evaluations_since_best": .integer(evaluationsSinceBest), "graft_version": .string(graftVersion),
      "recent_losses": .array(watchesTraining ? recentLosses.map(JSON.number) : []),
    ]
    try TrainingCheckpoint.save(training, extra: extra, to: folder.checkpoint(training.step))
    folder.keepLast(plan.recipe.save.keepLast)
  }

  /// The first of the tasks, where the model computes something else for each.
  private var routedTask: String? { training.model.routesByTask ? plan.data.tasks.first : nil }

  private var hasAdapter: Bool { plan.recipe.adapter.type != Full.method }

  private func saveAdapter(_ path: String) throws {
    try Folder.replace(path) { temporary in
      try AdapterFolder.save(training.model, plan.configuration, to: temporary)
      try plan.binding.write(to: temporary)
    }
  }

  /// Saves the result, reads it back, merges and exports what the recipe asks for, and says where all of it is.
  private func finish(started: Double) throws -> Outcome {
    let trainingPeak = ProcessMemory.peak, proof = RunProof(plan: plan, trained: training.model)
    // What steps reused is not needed again; the model that is read back would stand beside it.
    Memory.releaseCache()
    if plan.recipe.eval.atEnd { try evaluate() }
    let others = try evaluateOthers()
    try showSamples("after training")
    try saveCheckpoint()
    var trained = plan.model
    trained.network = training.model
    if hasAdapter {
      try saveAdapter(folder.adapter)
      let again = try proof.readBack(from: folder.adapter, say)
      // Merging and exporting start from the base as it lies on disk.
      if plan.storesAnotherForm { trained = again }
    }
    if plan.recipe.log.plot { try AtomicFile.write(plot.svg(title: plan.recipe.name), to: folder.path + "/loss.svg") }
    let results = try RunResults(plan, trained, adapter: hasAdapter ? folder.adapter : nil).write(say)
    let fold = try plan.recipe.merge?.format == .adapterOnly ? proof.fold(say) : nil
    var summary: [String: JSON] = [
      "trainable": .integer(training.model.trainableParameters.reduce(0) { $0 + $1.value.count }),
      "adapter_bytes": .integer(hasAdapter ? Self.size(of: folder.adapter + "/adapter_model.safetensors") : 0),
      "step_seconds": .number(stepSeconds.isEmpty ? 0 : stepSeconds.sorted()[stepSeconds.count / 2]),
      "training_peak_rss_mb": .number(Double(trainingPeak) / 1e6),
      "fold_error": fold?.error.map(JSON.number) ?? .null, "cannot_fold": fold?.reason.map(JSON.string) ?? .null,
      "steps": .integer(training.step), "first_loss": firstLoss.map(JSON.number) ?? .null,
      "eval_loss": .null, "best_eval_loss": best.isFinite ? .number(best) : .null,
      "seconds": .number(secondsNow() - started), "peak_rss_mb": .number(Double(ProcessMemory.peak) / 1e6),
      "merge": results.merge?.json ?? .null,
    ]
    if !others.isEmpty { summary["also"] = .object(others) }
    if let lastEvaluation { summary.merge(lastEvaluation.json) { $1 } }
    try AtomicFile.write(JSON.object(summary).text(pretty: true) + "\n", to: folder.report)
    let speed = secondsTraining > 0 ? Double(tokensSeen) / secondsTraining : 0
    say(
      "done: \(training.step) steps in \(duration(secondsNow() - started)), \(number(speed)) tokens/s, peak memory \(megabytes(ProcessMemory.peak))"
    )
    if best.isFinite && !watchesTraining {
      let perplexity = plan.classes.names.isEmpty ? " (perplexity \(number(exponential(best))))" : ""
      say("best held-out loss \(number(best))\(perplexity)")
    }
    let written = (hasAdapter ? [folder.adapter] : []) + results.paths + [folder.recipe, folder.report]
    for path in written { say("wrote \(displayed(path))") }
    if hasAdapter, let base = plan.recipe.model.path?.raw {
      let task = routedTask.map { " --task \($0)" } ?? ""
      let (verb, text) = plan.classes.names.isEmpty ? ("generate", "prompt") : ("classify", "text")
      say("next: graft \(verb) \(base) --adapter \(displayed(folder.adapter))\(task) --\(text) \"…\"")
    }
    return results.merge.map(\.holds) ?? true ? .complete : .unfaithful
  }

  private static func size(of path: String) -> Int { (try? MappedFile(path).bytes.count) ?? 0 }

  /// The held-out loss before the first step of the run in `folder`, where it was measured and logged.
  public static func firstEvaluation(in folder: String) -> Double? {
    MetricsLog.entries(folder + "/metrics.jsonl").first { $0["step"]?.int == 0 }?["eval_loss"]?.double
  }

  private func showSamples(_ when: String) throws {
    guard let samples = plan.recipe.eval.samples, !samples.prompts.isEmpty else { return }
    let tokenizer = try plan.model.requireTokenizer()
    var view = plan.model
    view.network = training.model.routesByTask ? training.model.specialised(to: 0) : training.model
    let model = try view.requireLanguageModel()
    say("answers \(when)\(routedTask.map { ", for the task '\($0)'" } ?? ""):")
    for prompt in samples.prompts {
      let text = try plan.model.render([Message(role: "user", content: prompt)])
      let ids = tokenizer.encode(text, addingSpecialTokens: plan.model.template == nil).map(Int32.init)
      let answer = model.generate(after: ids, limit: samples.maxNewTokens, stop: plan.model.stopTokens)
      say("  > \(prompt)")
      say("    \(tokenizer.decode(answer.map(Int.init)).replacing("\n", with: "\n    "))")
    }
  }

  private func say(_ line: String) { report(.line(line)) }
}
