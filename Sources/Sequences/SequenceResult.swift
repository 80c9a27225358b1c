/// What a run of a sequence came to.
public struct SequenceResult: Sendable {
  /// How it was learned, as recipes spell it.
  public let strategy: String
  /// Accuracies.
  public var matrix: AccuracyMatrix
  /// Numbers kept for each task, running moments and output layer included; one entry where all tasks share them.
  public var added: [Int] = []
  /// The same without the output layer.
  public var addedToBody: [Int] = []
  /// Bytes of the files that keep them; empty where they were not counted.
  public var addedBytes: [Int] = []
  /// What each task took to learn.
  public var seconds: [Double] = []
  /// Whether the logits of every task's test examples are bit for bit what they were when the task was learned; nil where
  /// tasks share what learns.
  public var outputsUnchanged: Bool?
  /// The class chosen for each test example of each task, at the end; empty where no classes are told apart.
  public var predictions: [[Int32]] = []

  /// Nothing yet.
  public init(strategy: String, tasks: [String], measure: AccuracyMatrix.Measure = .accuracy) {
    self.strategy = strategy
    matrix = AccuracyMatrix(tasks: tasks, measure: measure)
  }

  init(strategy: SequenceStrategy, tasks: [String]) { self.init(strategy: strategy.rawValue, tasks: tasks) }
}
