import Autodiff

/// The rows of a batch whose logits are scored.
package struct ScoredRows: Sendable {
  /// The rows of the states.
  package let rows: [Int32]
  /// What each should predict.
  package let targets: [Int32]
  private let tokens: [Int32]
  private let context: Context

  /// The rows of ``TextNetwork/states(_:_:)`` on `batch` that `labels` score.
  package init(_ model: some TextNetwork, _ batch: TokenBatch, _ labels: [Int32], _ context: Context) {
    (rows, targets) = model.scored(batch, labels)
    let places = model.stateTokens(batch)
    tokens = rows.map { places[Int($0)] }
    self.context = context
  }

  /// Some of them, with what each should predict, and their context.
  package func chunk(_ range: Range<Int>) -> (range: Range<Int>, labels: [Int32], context: Context) {
    (range, Array(targets[range]), context.at(Array(tokens[range])))
  }

  /// Sums `body` over some rows at a time, whose logits are forgotten and computed again on the way back.
  package func inChunks(
    _ states: [Tensor],
    _ body: @escaping @Sendable ((range: Range<Int>, labels: [Int32], context: Context), [Tensor]) -> Tensor
  ) -> Tensor {
    let size = 128
    var total = Tensor(0)
    for first in stride(from: 0, to: targets.count, by: size) {
      let part = chunk(first..<min(targets.count, first + size))
      total = total + checkpointed(states.map { $0.rows(part.range) }) { body(part, $0) }
    }
    return total
  }
}
