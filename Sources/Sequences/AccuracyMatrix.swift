/// What a learner knew of each task after each task it learned: the primary result of a sequence.
///
/// Row i, column j is the accuracy on task j after task i, or the loss; nil where it was not measured. Every measure below
/// is taken from it, and its docstring is its definition. Of losses, where less is better, each difference is turned, so
/// that transfer is positive where it helps and forgetting where something was lost.
public struct AccuracyMatrix: Sendable, Equatable {
  /// What is measured of a task.
  public enum Measure: String, Sendable {
    /// The share told right, from 0 to 1.
    case accuracy
    /// Nats a token of the answers.
    case loss
  }

  /// The tasks in the order they were learned.
  public let tasks: [String]
  /// What the numbers are.
  public let measure: Measure
  /// `[learned][tested]`.
  public private(set) var values: [[Double?]]
  /// The accuracy on each task before anything was learned; nil where it was not measured.
  public var baseline: [Double?]

  /// An empty matrix.
  public init(tasks: [String], measure: Measure = .accuracy) {
    (self.tasks, self.measure) = (tasks, measure)
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

  /// Row i as far as it was learned: the mean over tasks 0…i after task i.
  public func averageAfter(_ learned: Int) -> Double? { mean((0...learned).map { values[learned][$0] }) }

  /// Mean over i of the mean accuracy on tasks 0…i after task i (Rebuffi et al. 2017, average incremental accuracy).
  public var averageIncrementalAccuracy: Double? {
    mean(tasks.indices.map(averageAfter))
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
      let known = values[task..<(values.count - 1)].compactMap { $0[task] }
      return difference(measure == .accuracy ? known.max() : known.min(), values.last?[task])
    }
  }

  /// Σ_{j<T} (Rⱼⱼ − Rₜⱼ) / (T − 1), lost since a task was learned: backward transfer with its sign turned.
  public var forgettingSinceLearned: Double? { backwardTransfer.map { 0 - $0 } }

  /// The mean over every task but the last; nil where there is none, or one was not measured.
  private func earlier(_ value: (Int) -> Double?) -> Double? {
    tasks.count < 2 ? nil : mean((0..<tasks.count - 1).map(value))
  }

  /// By how much `a` is better than `b`.
  private func difference(_ a: Double?, _ b: Double?) -> Double? {
    guard let a, let b else { return nil }
    return measure == .accuracy ? a - b : b - a
  }
}

/// The mean; nil where one is missing, or there is none.
private func mean(_ values: [Double?]) -> Double? {
  let present = values.compactMap(\.self)
  return present.count == values.count && !present.isEmpty ? present.reduce(0, +) / Double(present.count) : nil
}
