import Autodiff
import Training

/// What a person should see before the machine starts to work.
struct RunHeader {
  let lines: [String]

  init(_ plan: RunPlan, _ training: TrainingRun) {
    let recipe = plan.recipe, settings = plan.settings
    let packings = plan.model.packings.map { "\($0.matrices) \($0.name)" }.joined(separator: ", ")
    let total = plan.weightCount
    let trainable = training.model.trainableParameters.reduce(0) { $0 + $1.value.count }
    let matches = plan.report.matches.map { "\($0.entry) (\($0.count))" }.joined(separator: ", ")
    let adapter = plan.configuration.plan
    var lines = [
      "graft \(graftVersion)   \(recipe.name)   seed \(recipe.seed)   \(Parallel.threads) threads",
      "model     \(displayed(plan.model.checkpoint.path)) (\(plan.model.checkpoint.architecture)), \(grouped(total)) weights: \(packings)",
      "adapter   \(adapter.method) on \(plan.report.sites.count) layers: \(matches)",
    ]
    if adapter.method != "full" {
      lines.append(
        "          rank \(adapter.settings.rank), effective scale \(number(Double(adapter.settings.scale(at: "")))), dropout \(number(adapter.settings.dropout))"
      )
    }
    lines.append(
      "          \(grouped(trainable)) trainable numbers, \(percent(Double(trainable) / Double(max(1, total)))) of the model"
    )
    lines.append("data      \(plan.data.report.description), at most \(recipe.data.maxSequenceLength) a row")
    if let classes = plan.classes.line { lines.append(classes) }
    if let calibration = plan.calibration.line { lines.append(calibration) }
    if let heldOut = plan.data.heldOutReport { lines.append("held out  \(heldOut.description)") }
    let window = settings.batchSize * settings.accumulation
    lines.append(
      "training  \(settings.schedule.total) steps of \(window) examples (\(settings.batchSize) × \(settings.accumulation)), \(number(Double(settings.schedule.total) / Double(training.stepsPerEpoch))) epochs, \(recipe.train.optimizer.rawValue), learning rate \(number(settings.learningRate)) \(settings.schedule.shape.rawValue), warm-up \(settings.schedule.warmup) steps"
    )
    let teacher = recipe.objective.teacher.map { displayed($0.path) } ?? "the base as it lies on disk"
    if case .distillation(_, let divergence, let crossEntropy) = plan.objective {
      lines.append(
        "objective \(number(divergence)) · KL(teacher ‖ model) + \(number(crossEntropy)) · cross-entropy, nats a token; teacher \(teacher)"
      )
    }
    if case .blocks(let tuning) = plan.objective {
      let largest = tuning.rounds.map(\.count).max() ?? 0
      lines.append(
        "objective squared distance of hidden states from the teacher's, in \(tuning.rounds.count) rounds of up to \(largest) blocks; teacher \(teacher)"
      )
    }
    lines.append(
      "output    \(displayed(recipe.outputDirectory.path))   (after an interruption: graft resume \(displayed(recipe.outputDirectory.path)))"
    )
    self.lines = lines
  }
}
