/// What is asked of a learner when it is shown an image of a sequence (van de Ven and Tolias 2019).
public enum Scenario: String, Sendable, CaseIterable {
  /// Which class of a task that is told.
  case task
  /// Which class of all tasks seen so far; the task is not told.
  case `class`
  /// Which class, where class k of every task is the same; the task is not told.
  case domain

  /// What an accuracy of the matrix is, for the reader of a report.
  public var definition: String {
    switch self {
    case .task: "scenario task: the task is told, and each test example is placed among its own task's classes."
    case .class:
      "scenario class: the task is not told. R(i,j) places each test example of task j among all classes of tasks 1 to i; before "
        + "task j is learned it is not measured."
    case .domain:
      "scenario domain: the task is not told, and class k of every task is the same output. R(i,j) places each test example of "
        + "task j among these classes."
    }
  }
}

/// Which rows of an output layer that tasks share belong to which of them, and among which an image is placed.
struct ClassLayout: Sendable {
  private let scenario: Scenario
  /// The rows of each task's own classes.
  let own: [Range<Int>]
  /// The names of all rows.
  let labels: [String]

  /// The rows of `tasks`, which have as many classes each in the scenario of domains.
  init(_ scenario: Scenario, _ tasks: [ImageTask]) {
    self.scenario = scenario
    guard scenario != .domain else {
      labels = tasks.first?.classNames ?? []
      own = tasks.map { 0..<$0.classNames.count }
      return
    }
    var start = 0
    own = tasks.map { task in
      defer { start += task.classNames.count }
      return start..<start + task.classNames.count
    }
    labels = tasks.flatMap(\.classNames)
  }

  /// The rows among which an image of `task` is placed while or after task `learned` is learned; nil where that has no
  /// meaning, because its classes are not known yet.
  func choices(of task: Int, after learned: Int) -> Range<Int>? {
    switch scenario {
    case .task, .domain: own[task]
    case .class: task <= learned ? 0..<own[learned].upperBound : nil
    }
  }
}
