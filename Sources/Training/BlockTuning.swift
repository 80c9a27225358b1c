import Autodiff
import Networks

/// Tuning a model a few blocks at a time until each hides what was done to it, as QLLM and ApiQ do.
///
///     loss = mean over tokens and channels of (h − t)²
///     h   the model's states behind the round's last block, on its own path, tuned so far
///     t   the teacher's states there, on the teacher's own
///
/// Rounds go in the order of the blocks. In each only parameters of its own blocks learn; what lies below is plain
/// inference and keeps nothing for the way back, so memory is that of a round and not of the model. Rounds share the
/// steps equally; the optimiser begins anew in each, and so does the schedule.
///
/// Papers: QLLM <https://arxiv.org/abs/2310.08041>, ApiQ <https://arxiv.org/abs/2402.05147>
public struct BlockTuning: Sendable {
  /// The model to follow.
  public let teacher: any TextNetwork
  /// The blocks that learn together, in order.
  public let rounds: [Range<Int>]
  /// The steps of all rounds.
  public let steps: Int

  /// One round of a run.
  public struct Round: Sendable, Equatable {
    /// Its place among the rounds.
    public let index: Int
    /// The blocks that learn.
    public let blocks: Range<Int>
    /// Its steps.
    public let steps: Range<Int>

    /// Whether it is the one to move the parameter of that name.
    func moves(_ name: String) -> Bool { blockIndex(name).map(blocks.contains) ?? false }
  }

  /// Rounds of up to `size` blocks for `model`, leaving out those in which nothing learns, in `steps` steps.
  ///
  /// - Throws: a ``TrainingError`` for a teacher of other blocks, parameters that learn in no block, or fewer steps than
  ///   rounds.
  public init(_ model: any TextNetwork, following teacher: any TextNetwork, size: Int, steps: Int) throws {
    require(size > 0, "a round of \(size) blocks")
    let learning = model.trainableParameters
    if let stray = learning.first(where: { blockIndex($0.name) == nil }) {
      throw TrainingError(
        "'\(stray.name)' learns but belongs to no block, and block by block it never would; leave it out of target_modules and modules_to_save"
      )
    }
    guard teacher.blockCount == model.blockCount else {
      throw TrainingError(
        "the teacher has \(teacher.blockCount) blocks and the model \(model.blockCount): give a teacher of the same shape"
      )
    }
    let (width, wanted) = (model.streamWidth, teacher.streamWidth)
    guard width == wanted else {
      throw TrainingError(
        "the teacher's states have \(wanted) channels and the model's \(width): give a teacher of the same shape")
    }
    let busy = Set(learning.compactMap { blockIndex($0.name) })
    rounds = stride(from: 0, to: model.blockCount, by: size).compactMap { first in
      let blocks = first..<min(model.blockCount, first + size)
      return busy.contains(where: blocks.contains) ? blocks : nil
    }
    guard !rounds.isEmpty, steps >= rounds.count else {
      throw TrainingError(
        "\(steps) steps for \(rounds.count) rounds of blocks: give at least one step to each, or larger rounds")
    }
    (self.teacher, self.steps) = (teacher, steps)
  }

  /// The round to which step `step` belongs.
  public func round(of step: Int) -> Round {
    func start(_ index: Int) -> Int { index * steps / rounds.count }
    let index = rounds.indices.last { start($0) <= step } ?? 0
    return Round(index: index, blocks: rounds[index], steps: start(index)..<start(index + 1))
  }

  /// A step of a round that is as costly as any: of those with the most blocks, the one in the middle of the model.
  var typicalStep: Int {
    let most = rounds.map(\.count).max() ?? 0, largest = rounds.indices.filter { rounds[$0].count == most }
    return largest[largest.count / 2] * steps / rounds.count
  }

  /// Σ over the tokens of `batch` of the mean over channels of (h − t)², in the round of step `step`.
  func lossSum(_ model: some TextNetwork, _ batch: TokenBatch, at step: Int, _ context: Context) -> Tensor {
    let blocks = round(of: step).blocks
    // What lies below is as it will be used: without dropout and the like.
    var below = context
    (below.random, below.recomputes) = (nil, false)
    let entering = model.hidden(model.embedded(batch, below), through: 0..<blocks.lowerBound, of: batch, below)
    let leaving = model.hidden(entering.detached, through: blocks, of: batch, context)
    let wanted = teacher.hidden(batch, through: blocks.upperBound)
    return Float(batch.ids.count) * meanSquaredError(leaving, wanted.detached)
  }
}

extension Module {
  /// The same with only the parameters a round moves learning; all of them where there is no round.
  func limited(to round: BlockTuning.Round?) -> Self {
    guard let round else { return self }
    var copy = self
    copy.forEachParameter { name, parameter in
      parameter.isTrainable = parameter.isTrainable && round.moves(name)
    }
    return copy
  }
}
