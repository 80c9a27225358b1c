import Testing

@testable import Sequences

struct AccuracyMatrixTests {
  /// Three tasks, worked out by hand.
  private var matrix: AccuracyMatrix {
    var matrix = AccuracyMatrix(tasks: ["a", "b", "c"])
    let rows = [[0.9, 0.3, 0.2], [0.95, 0.8, 0.25], [0.6, 0.7, 0.85]]
    for (learned, row) in rows.enumerated() {
      for (tested, value) in row.enumerated() { matrix[learned, tested] = value }
    }
    matrix.baseline = [0.1, 0.2, 0.3]
    return matrix
  }

  private func near(_ value: Double?, _ expected: Double) -> Bool { value.map { abs($0 - expected) < 1e-12 } ?? false }

  @Test func `Each measure is its formula`() {
    #expect(near(matrix.averageAccuracy, (0.6 + 0.7 + 0.85) / 3))
    #expect(near(matrix.averageIncrementalAccuracy, (0.9 + (0.95 + 0.8) / 2 + (0.6 + 0.7 + 0.85) / 3) / 3))
    #expect(near(matrix.backwardTransfer, ((0.6 - 0.9) + (0.7 - 0.8)) / 2))
    #expect(near(matrix.forwardTransfer, ((0.3 - 0.2) + (0.25 - 0.3)) / 2))
  }

  @Test func `The two kinds of forgetting differ where a task was known better after a later one`() {
    #expect(near(matrix.forgettingSinceLearned, ((0.9 - 0.6) + (0.8 - 0.7)) / 2))
    #expect(near(matrix.forgettingFromBest, ((0.95 - 0.6) + (0.8 - 0.7)) / 2))
  }

  @Test func `Of losses what was lost is positive, and transfer that helps is`() {
    var losses = AccuracyMatrix(tasks: ["a", "b", "c"], measure: .loss)
    for (learned, row) in [[2.0, 5, 6], [1.8, 1.5, 5.5], [2.5, 1.4, 1.0]].enumerated() {
      for (tested, value) in row.enumerated() { losses[learned, tested] = value }
    }
    losses.baseline = [6, 5.5, 6]
    #expect(near(losses.averageAccuracy, (2.5 + 1.4 + 1.0) / 3))
    #expect(near(losses.backwardTransfer, ((2.0 - 2.5) + (1.5 - 1.4)) / 2))
    #expect(near(losses.forgettingSinceLearned, ((2.5 - 2.0) + (1.4 - 1.5)) / 2))
    #expect(near(losses.forgettingFromBest, ((2.5 - 1.8) + (1.4 - 1.5)) / 2))
    #expect(near(losses.forwardTransfer, ((5.5 - 5) + (6 - 5.5)) / 2))
    #expect(near(losses.averageAfter(1), (1.8 + 1.5) / 2))
  }

  @Test func `A measure of what was not measured is none, and one task has nothing to forget`() {
    var partial = matrix
    partial[0, 1] = nil
    #expect(partial.forwardTransfer == nil && partial.averageAccuracy != nil)
    var single = AccuracyMatrix(tasks: ["a"])
    single[0, 0] = 0.5
    #expect(single.averageAccuracy == 0.5 && single.backwardTransfer == nil && single.forgettingFromBest == nil)
  }
}
