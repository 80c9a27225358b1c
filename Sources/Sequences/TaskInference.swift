import Autodiff

/// How often a strategy that is not told the task of an image finds it, over the test images of all tasks at the end.
public struct TaskInference: Sendable, Equatable {
  /// The share whose task was found at first sight.
  public var first: Double
  /// The share whose task was found in the end; nil where nothing is refined.
  public var refined: Double?
  /// The share found in the end, a task.
  public var perTask: [Double]
  /// The most rounds that any image took, beyond the first.
  public var mostRounds = 0
}

/// Finds the task of each image by the class it seems to have: MOS's self-refined retrieval.
///
/// The first adapter names a class, that class a task, and that task's adapter names a class anew, until the class named
/// belongs to the task whose adapter named it, or ``rounds`` have passed. An image is then placed by
///
///     softmax(z of the last adapter) + softmax(T · z of the first),    T the number of tasks      (Sun et al. 2024)
struct TaskRetrieval: Sendable {
  /// The task of each class.
  let owners: [Int]
  /// The most rounds beyond the first.
  let rounds: Int

  /// What was found of a batch of images.
  struct Answer {
    /// The class each is placed in.
    var classes: [Int]
    /// The task whose class the first adapter named, and the task whose adapter was asked last.
    var first: [Int], refined: [Int]
    /// The rounds each took beyond the first.
    var rounds: [Int]
  }

  /// Places `count` images; `logits` are those of some of them, `[rows, classes]`, by one task's adapter.
  func answer(count: Int, logits: (_ adapter: Int, _ rows: [Int]) throws -> Tensor) rethrows -> Answer {
    let tasks = Float((owners.max() ?? 0) + 1)
    let initial = try logits(0, Array(0..<count)), first = initial.rowArgmax.map { owners[$0] }
    var answer = Answer(
      classes: [], first: first, refined: [Int](repeating: 0, count: count), rounds: [Int](repeating: 0, count: count))
    var wanted = first, last = (0..<count).map { initial.rows($0..<$0 + 1) }
    for round in 0..<rounds {
      // As they stand before any adapter of this round is asked.
      let asked = wanted, open = (0..<count).filter { asked[$0] != answer.refined[$0] }
      if open.isEmpty { break }
      for adapter in Set(open.map { asked[$0] }).sorted() {
        let rows = open.filter { asked[$0] == adapter }
        let found = try logits(adapter, rows), named = found.rowArgmax
        for (place, row) in rows.enumerated() {
          last[row] = found.rows(place..<place + 1)
          (answer.refined[row], answer.rounds[row]) = (adapter, round + 1)
          wanted[row] = owners[named[place]]
        }
      }
    }
    guard count > 0 else { return answer }
    answer.classes = (Tensor.concatenated(last).softmax + (tasks * initial).softmax).rowArgmax
    return answer
  }
}
