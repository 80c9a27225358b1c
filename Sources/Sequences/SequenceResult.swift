/// What a run of a sequence came to.
public struct SequenceResult: Sendable {
  /// What it is called.
  public let name: String
  /// How it was learned, as recipes spell it.
  public let strategy: String
  /// What was asked of it.
  public var scenario = Scenario.task
  /// Accuracies.
  public var matrix: AccuracyMatrix
  /// Numbers kept for each task, running moments and output layer included; one entry where all tasks share them.
  public var added: [Int] = []
  /// The same without the output layer.
  public var addedToBody: [Int] = []
  /// Bytes of the files that keep them, of examples kept for replay and of numbers kept to hold what was learned.
  public var addedBytes: [Int] = []
  /// What each task took to learn.
  public var seconds: [Double] = []
  /// Whether the logits of every task's test examples are bit for bit what they were when the task was learned; nil where
  /// tasks share what learns.
  public var outputsUnchanged: Bool?
  /// The class chosen for each test example of each task, at the end, counted from ``firstClasses``; empty where no
  /// classes are told apart.
  public var predictions: [[Int32]] = []
  /// The number of each task's first class among those that predictions name.
  public var firstClasses: [Int] = []

  /// How often the task of an image was found, by strategies that are not told it.
  public var inference: TaskInference?
  /// What ``SequenceStrategy/ear``'s gate let pass.
  public var gate: GateResult?

  /// A result of nothing yet, called as its strategy unless it has a name.
  public init(
    strategy: String, tasks: [String], name: String? = nil, measure: AccuracyMatrix.Measure = .accuracy
  ) {
    (self.strategy, self.name) = (strategy, name ?? strategy)
    matrix = AccuracyMatrix(tasks: tasks, measure: measure)
  }

  init(strategy: SequenceStrategy, tasks: [String], name: String? = nil) {
    self.init(strategy: strategy.rawValue, tasks: tasks, name: name)
  }
}
