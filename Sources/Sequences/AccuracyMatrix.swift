/// What a learner knew of each task after each task it learned: the primary result of a sequence.
///
/// Row i, column j is the accuracy on task j after task i; nil where it was not measured. Every measure below is taken
/// from it, and its docstring is its definition.
public struct AccuracyMatrix: Sendable, Equatable {
  /// The tasks in the order they were learned.
  public let tasks: [String]
  /// `[learned][tested]`.
  public private(set) var values: [[Double?]]
  /// The accuracy on each task before anything was learned; nil where it was not measured.
  public var baseline: [Double?]

  /// An empty matrix.
  public init(tasks: [String]) {
    self.tasks = tasks
    values = tasks.map { _ in tasks.map { _ in nil } }
    baseline = tasks.map { _ in nil }
  }

  /// The accuracy on task `tested` after task `learned`.
  public subscript(_ learned: Int, _ tested: Int) -> Double? {
    get { values[learned][tested] }
    set { values[learned][tested] = newValue }
  }

  /// Mean accuracy over all tasks after the last: Σⱼ Rₜⱼ / T (Lopez-Paz and Ranzato 2017, ACC).
  public var averageAccuracy: Double? { mean(tasks.indices.map { values.last?[$0] }) }

  /// Mean over i of the mean accuracy on tasks 0…i after task i (Rebuffi et al. 2017, average incremental accuracy).
  public var averageIncrementalAccuracy: Double? {
    mean(tasks.indices.map { learned in mean((0...learned).map { values[learned][$0] }) })
  }

  /// Σ_{j<T} (Rₜⱼ − Rⱼⱼ) / (T − 1), what later tasks added to earlier ones (Lopez-Paz and Ranzato 2017, BWT).
  public var backwardTransfer: Double? {
    earlier { task in difference(values.last?[task], values[task][task]) }
  }

  /// Σ_{j>0} (Rⱼ₋₁ⱼ − bⱼ) / (T − 1), what earlier tasks gave a task before it was learned, over the untrained b.
  public var forwardTransfer: Double? {
    tasks.count < 2 ? nil : mean((1..<tasks.count).map { difference(values[$0 - 1][$0], baseline[$0]) })
  }

  /// Σ_{j<T} (max_{j≤i<T} Rᵢⱼ − Rₜⱼ) / (T − 1), lost since a task was known best (Chaudhry et al. 2018).
  public var forgettingFromBest: Double? {
    earlier { task in
      let best = values[task..<(values.count - 1)].compactMap { $0[task] }.max()
      return difference(best, values.last?[task])
    }
  }

  /// Σ_{j<T} (Rⱼⱼ − Rₜⱼ) / (T − 1), lost since a task was learned: backward transfer with its sign turned.
  public var forgettingSinceLearned: Double? { backwardTransfer.map { 0 - $0 } }

  /// The mean over every task but the last; nil where there is none, or one was not measured.
  private func earlier(_ value: (Int) -> Double?) -> Double? {
    tasks.count < 2 ? nil : mean((0..<tasks.count - 1).map(value))
  }

  private func difference(_ a: Double?, _ b: Double?) -> Double? {
    guard let a, let b else { return nil }
    return a - b
  }
}

/// The mean; nil where one is missing, or there is none.
private func mean(_ values: [Double?]) -> Double? {
  let present = values.compactMap(\.self)
  return present.count == values.count && !present.isEmpty ? present.reduce(0, +) / Double(present.count) : nil
}
