import Files
import Training

extension Evaluation {
  /// What a person reads of it.
  var line: String {
    guard let confusion else {
      return "loss \(number(loss)), perplexity \(number(exponential(loss))) over \(count) tokens"
    }
    return
      "loss \(number(loss)), accuracy \(percent(confusion.accuracy)), macro F1 \(percent(confusion.macroF1)) over \(count) texts (always the commonest class: \(percent(confusion.majority)))"
  }

  /// What a program reads of it.
  var json: [String: JSON] {
    var entries: [String: JSON] = ["eval_loss": loss.isFinite ? .number(loss) : .null]
    if let confusion {
      entries["eval_accuracy"] = .number(confusion.accuracy)
      entries["eval_macro_f1"] = .number(confusion.macroF1)
    }
    return entries
  }
}
