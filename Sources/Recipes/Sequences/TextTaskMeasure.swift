import Autodiff
import Files
import Networks
import Text
import Training

/// What a model makes of a task's held-out rows.
struct TextTaskMeasure: Sendable, Equatable {
  /// The share told right among the task's own classes; nats a token of the answers where text is written.
  let value: Double
  /// The SHA-256 of all logits that are scored, bit for bit, in the order of the rows.
  let digest: String
  /// The class told for each row, among the task's own; empty where text is written.
  let predictions: [Int32]

  /// Measures `model` on `examples`.
  ///
  /// - Parameters:
  ///   - classes: the model's outputs among which the task chooses; empty where text is written.
  ///   - tasks: the names by which the examples' are numbered.
  init(_ model: any TextNetwork, on examples: [Example], classes: [Int], batchSize: Int, tasks: [String]) {
    var digests: [String] = [], predictions: [Int32] = []
    var right = 0, total = 0.0, count = 0
    for start in stride(from: 0, to: examples.count, by: batchSize) {
      let part = Array(examples[start..<min(examples.count, start + batchSize)])
      let logits = model.scoredLogits(of: part, tasks: tasks)
      digests.append(Fingerprint.numbers(logits.values.values))
      if classes.isEmpty {
        total += Double(crossEntropySum(logits.values, labels: logits.targets).scalar)
        count += logits.targets.count
      } else {
        let told = logits.values.transposed.gathered(classes.map(Int32.init)).transposed.rowArgmax
        predictions += told.map(Int32.init)
        right += zip(told, logits.targets).count { classes[$0] == Int($1) }
        count += logits.targets.count
      }
    }
    digest = Fingerprint.text(digests.joined(separator: " "))
    self.predictions = predictions
    value = classes.isEmpty ? total / Double(max(1, count)) : Double(right) / Double(max(1, count))
  }

  init(value: Double, digest: String, predictions: [Int32]) {
    (self.value, self.digest, self.predictions) = (value, digest, predictions)
  }

  /// For files.
  var json: JSON {
    .object([
      "value": .number(value), "outputs_sha256": .string(digest),
      "predictions": .array(predictions.map { .integer(Int($0)) }),
    ])
  }

  /// What ``json`` wrote; nil where it is something else.
  init?(_ json: JSON) {
    guard let value = json["value"]?.double, let digest = json["outputs_sha256"]?.string,
      let listed = json["predictions"]?.array
    else { return nil }
    let told = listed.compactMap { $0.int.flatMap(Int32.init(exactly:)) }
    guard told.count == listed.count else { return nil }
    self.init(value: value, digest: digest, predictions: told)
  }
}
