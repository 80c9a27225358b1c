import Autodiff
import Networks
import Text

/// How a model does on held-out examples.
public struct Evaluation: Sendable, Equatable {
  /// Mean −log p, nats a supervised token, or a text where classes are told apart.
  public let loss: Double
  /// The supervised tokens, or texts.
  public let count: Int
  /// How often each class, by row, was taken for each, by column; nil for a model of language.
  public let confusion: Confusion?

  /// Measures `model` on `examples`; `tasks` are the names by which the examples' are numbered.
  public init(_ model: any TextNetwork, on examples: [Example], batchSize: Int, tasks: [String] = []) {
    var total = 0.0, count = 0
    var confusion = (model as? any Classifier).map { Confusion($0.labels) }
    for start in stride(from: 0, to: examples.count, by: max(1, batchSize)) {
      let piece = MicroBatch(Array(examples[start..<min(examples.count, start + max(1, batchSize))]), tasks: tasks)
      var context = Context()
      context.taskRows = piece.taskRows
      if model is any Classifier {
        let logits = model.logits(piece.batch, context)
        total += Double(crossEntropySum(logits, labels: piece.labels).scalar)
        count += piece.labels.count
        confusion?.add(piece.labels, taken: logits.rowArgmax)
      } else {
        let (sum, scored) = model.lossSum(piece.batch, labels: piece.labels, context)
        total += Double(sum.scalar)
        count += scored
      }
    }
    (loss, self.count, self.confusion) = (count > 0 ? total / Double(count) : 0, count, confusion)
  }
}

/// How often each class was taken for each.
public struct Confusion: Sendable, Equatable {
  /// The names of the classes.
  public let labels: [String]
  /// `counts[truth][prediction]`.
  public private(set) var counts: [[Int]]

  /// None yet.
  public init(_ labels: [String]) {
    self.labels = labels
    counts = labels.map { _ in [Int](repeating: 0, count: labels.count) }
  }

  /// Counts texts whose classes are `truths` and were taken for `predictions`.
  public mutating func add(_ truths: [Int32], taken predictions: [Int]) {
    for (truth, prediction) in zip(truths, predictions) { counts[Int(truth)][prediction] += 1 }
  }

  /// The texts counted.
  public var total: Int { counts.reduce(0) { $0 + $1.reduce(0, +) } }

  /// The share of texts whose class was told.
  public var accuracy: Double {
    total == 0 ? 0 : Double(labels.indices.reduce(0) { $0 + counts[$1][$1] }) / Double(total)
  }

  /// The mean over classes of F1 = 2 · right / (texts of the class + texts taken for it); a class that is neither there
  /// nor ever named is left out.
  public var macroF1: Double {
    let scores = labels.indices.compactMap { index -> Double? in
      let named = counts.reduce(0) { $0 + $1[index] }, there = counts[index].reduce(0, +)
      return named + there == 0 ? nil : 2 * Double(counts[index][index]) / Double(named + there)
    }
    return scores.isEmpty ? 0 : scores.reduce(0, +) / Double(scores.count)
  }

  /// The share told right that always naming the most frequent class would reach.
  public var majority: Double {
    total == 0 ? 0 : Double(counts.map { $0.reduce(0, +) }.max() ?? 0) / Double(total)
  }
}

extension TextNetwork {
  /// The logits of all that is scored of `examples`, `[targets, outputs]`, and what each should be.
  ///
  /// `tasks` are the names by which the examples' are numbered.
  public func scoredLogits(of examples: [Example], tasks: [String]) -> (values: Tensor, targets: [Int32]) {
    let (rows, context, targets) = scoredStates(of: examples, tasks: tasks)
    return (logits(rows, context), targets)
  }

  /// What is ready for the head where it is scored, the context of these rows, and what each should predict.
  fileprivate func scoredStates(
    of examples: [Example], tasks: [String]
  ) -> (rows: Tensor, context: Context, targets: [Int32]) {
    let piece = MicroBatch(examples, tasks: tasks)
    var context = Context()
    context.taskRows = piece.taskRows
    let scored = ScoredRows(self, piece.batch, piece.labels, context)
    let rows = states(piece.batch, context).gathered(scored.rows)
    return (rows, scored.chunk(0..<scored.targets.count).context, scored.targets)
  }
}

extension Classifier {
  /// What the head reads of each of some examples, `[examples, width]`, and the class each should be told.
  public func pooled(of examples: [Example]) -> (values: Tensor, targets: [Int32]) {
    let (rows, context, targets) = scoredStates(of: examples, tasks: [])
    return (pooled(rows, context).detached, targets)
  }
}
