import Autodiff
import Images

/// The images of one task in the order an epoch sees them.
struct TaskBatches: Sendable {
  /// Images or features, with labels within the head that is trained.
  struct Batch: Sendable {
    let input: Tensor
    let labels: [Int32]
    /// The outputs among which its images are placed.
    let choices: Range<Int>
    /// The stage that the input enters.
    let stage: Int
    /// Which task it is, for adapters that route by it.
    let task: Int
  }

  private let examples: ImageExamples
  private let chosen: [Int]
  private let classes: Range<Int>, choices: Range<Int>
  private let source: BatchSource
  private let random: RandomKey
  private let task: Int

  /// The examples numbered `chosen`, whose task's classes are `classes` of the head, placed among `choices`: among its
  /// own unless others are named.
  init(
    _ examples: ImageExamples, chosen: [Int]? = nil, classes: Range<Int>, among choices: Range<Int>? = nil,
    task: Int = 0, from source: BatchSource, random: RandomKey
  ) {
    (self.examples, self.classes, self.source, self.random) = (examples, classes, source, random)
    self.chosen = chosen ?? Array(examples.indices.indices)
    (self.choices, self.task) = (choices ?? classes, task)
  }

  var count: Int { chosen.count }

  /// Batch `step` of an epoch; a task of fewer images than another begins again.
  func batch(_ step: Int, of epoch: Int, size: Int) throws -> Batch {
    let perEpoch = (count + size - 1) / size, round = epoch &* 1_000_003 &+ step / perEpoch
    let order = random["order"][round].permutation(count)
    let start = step % perEpoch * size
    let rows = order[start..<min(count, start + size)].map { chosen[$0] }
    return Batch(
      input: try source.batch(of: examples, rows), labels: rows.map { examples.labels[$0] + Int32(classes.lowerBound) },
      choices: choices, stage: source.stage, task: task)
  }
}

/// What a network reads of a task: its images, prepared, or what its first stages, which do not learn, make of them.
enum BatchSource: Sendable {
  case images(ImagePreparation)
  case kept(FeatureCache)

  /// The stage that a batch enters.
  var stage: Int {
    switch self {
    case .images: 0
    case .kept(let cache): cache.stage
    }
  }

  func batch(of examples: ImageExamples, _ rows: [Int]) throws -> Tensor {
    switch self {
    case .images(let preparation): try preparation.batch(of: examples.set, at: rows.map { examples.indices[$0] })
    case .kept(let cache): try cache.rows(rows)
    }
  }
}

extension [TaskBatches.Batch] {
  /// 0 where a row may be placed in the class and −10⁹ where it may not, `[rows, classes]`.
  func mask(classes: Int) -> Tensor {
    var values: [Float] = []
    for batch in self {
      for _ in batch.labels { values += (0..<classes).map { batch.choices.contains($0) ? 0 : -1e9 } }
    }
    return Tensor(values, shape: [values.count / classes, classes])
  }
}
