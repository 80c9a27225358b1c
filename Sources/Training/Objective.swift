import Autodiff
import Networks

/// What a run makes small.
public enum Objective: Sendable {
  /// −log p(label), nats a supervised token.
  case crossEntropy
  /// `divergence` · KL(teacher ‖ model) + `crossEntropy` · −log p(label), both nats a supervised token: LREC of INT2.1.
  ///
  /// The paper's code adds KL up over 2,048 tokens and averages the cross-entropy, so its weights 1 : 200 are 2048 : 200
  /// here. The teacher is not trained; it may be the model's own float base.
  case distillation(teacher: any TextNetwork, divergence: Double, crossEntropy: Double)
  /// −log p₁(label) + `weight` · ½ (KL(p₂ ‖ p₁) + KL(p₁ ‖ p₂)), the target side of each KL held fixed: two passes whose
  /// random draws differ are pulled together, as MoSA asks (and R-Drop before it).
  case consistency(weight: Double)
  /// The squared distance of the model's hidden states from a teacher's, a few blocks at a time.
  case blocks(BlockTuning)

  /// The round of step `step`; nil where all that learns does so throughout.
  public func round(of step: Int) -> BlockTuning.Round? {
    if case .blocks(let tuning) = self { tuning.round(of: step) } else { nil }
  }

  /// Whether it is a mean over all tokens rather than over those that are supervised.
  var countsAllTokens: Bool { if case .blocks = self { true } else { false } }

  /// Its sum over the positions of `batch` that count, in step `step`.
  func lossSum(
    _ model: some TextNetwork, _ batch: TokenBatch, labels: [Int32], at step: Int = 0, _ context: Context
  ) -> Tensor {
    switch self {
    case .crossEntropy: return model.lossSum(batch, labels: labels, context).sum
    case .blocks(let tuning): return tuning.lossSum(model, batch, at: step, context)
    case .distillation(let teacher, let divergence, let crossEntropy):
      let scored = ScoredRows(model, batch, labels, context)
      let rows = model.states(batch, context).gathered(scored.rows)
      let wanted = teacher.states(batch, Context()).gathered(scored.rows)
      return scored.inChunks([rows]) { chunk, rows in
        let logits = model.logits(rows[0], chunk.context)
        let target = teacher.logits(wanted.rows(chunk.range), Context())
        return Float(divergence) * divergenceSum(student: logits, teacher: target)
          + Float(crossEntropy) * crossEntropySum(logits, labels: chunk.labels)
      }
    case .consistency(let weight):
      var second = context
      second.random = context.random?["second pass"]
      let (scored, again) = (
        ScoredRows(model, batch, labels, context), ScoredRows(model, batch, labels, second)
      )
      let passes = [context, second].map { model.states(batch, $0).gathered(scored.rows) }
      return scored.inChunks(passes) { chunk, rows in
        let other = again.chunk(chunk.range).context
        let (a, b) = (model.logits(rows[0], chunk.context), model.logits(rows[1], other))
        let apart = divergenceSum(student: a, teacher: b) + divergenceSum(student: b, teacher: a)
        return crossEntropySum(a, labels: chunk.labels) + Float(0.5 * weight) * apart
      }
    }
  }
}
