/// What a run of a sequence came to.
public struct SequenceResult: Sendable {
  /// How it was learned.
  public let strategy: SequenceStrategy
  /// Accuracies.
  public var matrix: AccuracyMatrix
  /// Numbers kept for each task, running moments and output layer included; one entry where all tasks share them.
  public var added: [Int] = []
  /// The same without the output layer.
  public var addedToBody: [Int] = []
  /// What each task took to learn.
  public var seconds: [Double] = []
  /// Whether the logits of every task's test images are bit for bit what they were when the task was learned; nil where
  /// tasks share what learns.
  public var outputsUnchanged: Bool?
  /// The class chosen for each test image of each task, at the end.
  public var predictions: [[Int32]] = []

  init(strategy: SequenceStrategy, tasks: [String]) {
    self.strategy = strategy
    matrix = AccuracyMatrix(tasks: tasks)
  }
}
