import Autodiff
import Images

/// The images of one task in the order an epoch sees them, each pass over them in another.
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

  /// The batches of one epoch, each of up to `size` images; `augmenting` says whether they are changed where the task's
  /// images are augmented.
  func epoch(_ number: Int, size: Int, augmenting: Bool = true) -> Epoch {
    Epoch(self, number, size: size, augmenting: augmenting)
  }

  /// One pass over the images, or several where a longer task is learned beside.
  ///
  /// The order of a pass is drawn when its first batch is asked for, and kept until one of another pass is.
  struct Epoch {
    private let batches: TaskBatches
    private let number: Int, size: Int, isAugmenting: Bool
    private var pass: Int?, order: [Int] = []

    fileprivate init(_ batches: TaskBatches, _ number: Int, size: Int, augmenting: Bool) {
      (self.batches, self.number, self.size, isAugmenting) = (batches, number, size, augmenting)
    }

    /// Batch `step`; a task of fewer images than another begins again.
    ///
    /// - Throws: a ``FileError`` when images cannot be read.
    mutating func batch(_ step: Int) throws -> Batch {
      let perPass = (batches.count + size - 1) / size, current = number &* 1_000_003 &+ step / perPass
      if pass != current { (pass, order) = (current, batches.random["order"][current].permutation(batches.count)) }
      let start = step % perPass * size
      let rows = order[start..<min(order.count, start + size)].map { batches.chosen[$0] }
      // An image that comes again in the same epoch is changed anew too.
      return try batches.batch(rows, from: isAugmenting ? batches.random["augmentation"][current] : nil)
    }
  }

  private func batch(_ rows: [Int], from key: RandomKey?) throws -> Batch {
    Batch(
      input: try source.batch(of: examples, rows, from: key),
      labels: rows.map { examples.labels[$0] + Int32(classes.lowerBound) }, choices: choices, stage: source.stage,
      task: task)
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

  /// What enters it for the examples numbered `rows`; with a key, images are augmented where the preparation says so.
  func batch(of examples: ImageExamples, _ rows: [Int], from key: RandomKey? = nil) throws -> Tensor {
    switch self {
    case .images(let preparation):
      try preparation.batch(of: examples.set, at: rows.map { examples.indices[$0] }, from: key)
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
