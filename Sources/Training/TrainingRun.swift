import Autodiff
import Networks
import Text

/// How a run trains: everything but the model, the data and the files.
public struct TrainingSettings: Sendable, Equatable {
  /// Examples a micro-batch, and micro-batches a step.
  public var batchSize = 4, accumulation = 1
  /// The learning rate that ``schedule`` scales.
  public var learningRate = 2e-4
  /// By what the learning rate of a role is multiplied; 1 where nothing is said.
  public var roleRates: [Role: Double] = [:]
  /// How the rate moves; its `total` is the number of steps.
  public var schedule = Schedule(.constant, total: 1)
  /// The largest norm all gradients together may have; 0 for any.
  public var maxGradientNorm = 1.0
  /// Whether each epoch has an order of its own.
  public var shuffles = true
  /// Whether activations are computed again on the way back.
  public var recomputes = false
  /// How many steps in a row may be skipped because their loss or gradient is not finite; 0 stops at the first.
  public var skippableSteps = 0

  /// The defaults.
  public init() {}
}

/// What one step did.
public struct StepReport: Sendable, Equatable {
  /// The step's number, the first being 1, and how much of the data had been seen after it, in epochs.
  public var step: Int, epoch: Double
  /// Nats a supervised token; what objective `blocks` makes small, where that is the objective.
  public var loss: Double
  /// The learning rate, and the norm of all gradients before clipping.
  public var learningRate: Double, gradientNorm: Double
  /// Tokens read, and those that were supervised.
  public var tokens: Int, supervisedTokens: Int
  /// Whether the parameters were left as they were because something was not finite.
  public var wasSkipped: Bool
}

/// A run that cannot go on.
public struct TrainingError: Error, Sendable, Equatable, CustomStringConvertible {
  /// What happened, in which step, and what to try.
  public let description: String
  /// An error with the given sentence.
  public init(_ description: String) { self.description = description }
}

/// Training, a step at a time: the caller pulls steps, so progress, evaluation and saving are ordinary code around it.
///
///     while let report = try run.next() { print(report.loss) }
///
/// Everything random derives from the seed and the step's number, so a run needs no generator state to resume.
public struct TrainingRun: Sendable {
  /// The model as it is after the last step.
  public var model: any TextNetwork
  /// The rule and its memory.
  public var optimizer: any Optimizer
  /// How it trains.
  public let settings: TrainingSettings
  /// What it makes small.
  public var objective = Objective.crossEntropy
  /// What holds it to tasks learned before, beside its objective; nil for nothing.
  public var anchor: Anchor?
  /// What it trains on.
  public let examples: [Example]
  /// The steps made.
  public internal(set) var step = 0
  /// The tasks by which the examples' are numbered: theirs, in alphabetical order, unless given.
  public let tasks: [String]
  private let random: RandomKey
  private var skipped = 0
  /// The optimiser at its start, with which each round of blocks begins.
  private let fresh: any Optimizer
  private var order: (epoch: Int, indices: [Int])

  /// A run at its first step.
  public init(
    _ model: any TextNetwork, _ optimizer: any Optimizer, _ settings: TrainingSettings, on examples: [Example],
    seed: UInt64, tasks: [String]? = nil
  ) {
    require(!examples.isEmpty, "a run needs at least one example")
    (self.model, self.optimizer, self.settings, self.examples) = (model, optimizer, settings, examples)
    self.tasks = tasks ?? Set(examples.compactMap(\.task)).sorted()
    fresh = optimizer
    random = RandomKey(seed: seed)
    order = (-1, [])
  }

  /// Examples a step.
  private var window: Int { settings.batchSize * settings.accumulation }
  /// Steps that see every example once; the last may be smaller.
  public var stepsPerEpoch: Int { Self.stepsPerEpoch(examples.count, settings) }
  /// The steps of the whole run.
  public var totalSteps: Int { settings.schedule.total }

  /// Steps that see each of `count` examples once.
  public static func stepsPerEpoch(_ count: Int, _ settings: TrainingSettings) -> Int {
    let window = settings.batchSize * settings.accumulation
    return (count + window - 1) / window
  }

  /// Makes the next step; nil when the run is complete.
  ///
  /// - Throws: a ``TrainingError`` when the loss or a gradient is not finite and no more steps may be skipped.
  public mutating func next() throws -> StepReport? {
    guard step < totalSteps else { return nil }
    let batches = takeBatches(of: step), round = objective.round(of: step)
    if let round, round.steps.lowerBound == step { optimizer = fresh }
    // All micro-batches together are normalised by their supervised tokens, as one large batch would be.
    let supervised = batches.reduce(0) { $0 + $1.supervised }
    let tokens = batches.reduce(0) { $0 + $1.batch.ids.count }
    let counted = objective.countsAllTokens ? tokens : supervised
    var loss = 0.0
    var gradients: [Tensor] = []
    for (index, piece) in batches.enumerated() {
      var context = Context(random: random["step"][step][index], recomputes: settings.recomputes)
      context.taskRows = piece.taskRows
      let (value, shares) = gradientsOfMean(piece, over: counted, at: step, context)
      loss += Double(value)
      gradients = gradients.isEmpty ? shares : zip(gradients, shares).map { $0 + $1 }
    }
    if let anchor { gradients = anchor.added(to: gradients, of: model.trainableParameters) }
    let norm = globalNorm(gradients)
    let factor =
      round.map { settings.schedule.restarted(in: $0.steps).factor(step - $0.steps.lowerBound) }
      ?? settings.schedule.factor(step)
    let rate = settings.learningRate * factor
    let isFinite = loss.isFinite && norm.isFinite
    if isFinite {
      skipped = 0
      try update(gradients, norm: norm, rate: rate, round)
    } else {
      skipped += 1
      guard skipped <= settings.skippableSteps else {
        throw TrainingError(
          "step \(step + 1): the \(loss.isFinite ? "gradient" : "loss") is not finite (loss \(loss), gradient norm \(norm)); lower learning_rate, or allow train.on_nonfinite: skip_step:N"
        )
      }
    }
    step += 1
    let perEpoch = stepsPerEpoch
    let seen = Double(step / perEpoch) + Double(step % perEpoch * window) / Double(examples.count)
    return StepReport(
      step: step, epoch: seen, loss: loss, learningRate: rate, gradientNorm: norm, tokens: tokens,
      supervisedTokens: supervised, wasSkipped: !isFinite)
  }

  /// Goes forward and back over `examples` as a step would, and throws the result away: to see what it takes.
  public func rehearse(_ examples: [Example]) {
    let piece = MicroBatch(examples, tasks: tasks)
    var context = Context(random: random["rehearsal"], recomputes: settings.recomputes)
    context.taskRows = piece.taskRows
    var step = step
    if case .blocks(let tuning) = objective { step = tuning.typicalStep }
    _ = gradientsOfMean(piece, over: max(1, piece.supervised), at: step, context)
  }

  private mutating func update(
    _ gradients: [Tensor], norm: Double, rate: Double, _ round: BlockTuning.Round?
  ) throws {
    var gradients = gradients
    if settings.maxGradientNorm > 0, norm > settings.maxGradientNorm {
      let factor = Float(settings.maxGradientNorm / (norm + 1e-6))
      gradients = gradients.map { factor * $0 }
    }
    let rates = settings.roleRates
    let learning = model.trainableParameters.filter { round?.moves($0.name) ?? true }
    var updated = optimizer.step(learning, gradients: gradients) { rate * (rates[$0] ?? 1) }[...]
    guard updated.allSatisfy(\.isFinite) else {
      throw TrainingError(
        "step \(step + 1): the update made parameters that are not finite; lower learning_rate or weight_decay, or raise epsilon"
      )
    }
    model.forEachParameter { name, parameter in
      guard parameter.isTrainable, round?.moves(name) ?? true, let value = updated.popFirst() else { return }
      parameter.value = value
    }
  }

  private func gradientsOfMean(
    _ piece: MicroBatch, over count: Int, at step: Int, _ context: Context
  ) -> (Float, [Tensor]) {
    func open(_ model: some TextNetwork) -> (Float, [Tensor]) {
      let (value, gradients) = valueAndGradients(of: model.limited(to: objective.round(of: step))) { model in
        (1 / Float(count)) * objective.lossSum(model, piece.batch, labels: piece.labels, at: step, context)
      }
      return (value, gradients)
    }
    return open(model)
  }

  /// The examples of step `step`, cut into micro-batches.
  private mutating func takeBatches(of step: Int) -> [MicroBatch] {
    let epoch = step / stepsPerEpoch, start = step % stepsPerEpoch * window
    if order.epoch != epoch {
      let indices = settings.shuffles ? random["data"][epoch].permutation(examples.count) : Array(examples.indices)
      order = (epoch, indices)
    }
    let chosen = order.indices[start..<min(examples.count, start + window)]
    return stride(from: chosen.startIndex, to: chosen.endIndex, by: settings.batchSize).map { first in
      MicroBatch(chosen[first..<min(chosen.endIndex, first + settings.batchSize)].map { examples[$0] }, tasks: tasks)
    }
  }
}

/// Examples laid end to end.
struct MicroBatch {
  let batch: TokenBatch
  let labels: [Int32]
  /// The number of positions, or sequences, that are scored.
  let supervised: Int
  /// The task of each run of rows; empty where the data name none.
  let taskRows: [(task: Int, rows: Range<Int>)]

  /// The examples as a batch; `tasks` are the names by which theirs are numbered.
  init(_ examples: [Example], tasks: [String]) {
    batch = TokenBatch(examples)
    var start = 0
    taskRows = examples.compactMap { example in
      defer { start += example.ids.count }
      guard let task = example.task.flatMap(tasks.firstIndex) else { return nil }
      return (task, start..<start + example.ids.count)
    }
    labels = examples.flatMap(\.labels)
    supervised = examples.reduce(0) { $0 + $1.targets }
  }
}
