import Files
import Glibc

/// What one family reached, over its seeds.
public struct ComparisonRow: Sendable {
  /// The family.
  public let family: String
  /// The held-out loss of each seed, nats a token.
  public let losses: [Double]
  /// The share of held-out texts told right, and the macro F1, of each seed; empty for a model of language.
  public let accuracies: [Double], scores: [Double]
  /// By how much the mean loss on other rows rose, by their name: what was forgotten.
  public let forgotten: [String: Double]
  /// Trainable numbers, bytes of the adapter's file.
  public let trainable: Int, fileBytes: Int
  /// Seconds a step, and bytes resident at most while training, each the mean over seeds.
  public let stepSeconds: Double, peakMemory: Double
  /// The largest difference of a logit once folded, over seeds; nil where the family cannot fold.
  public let foldError: Double?
  /// Why it cannot fold.
  public let reason: String?

  /// The row of the runs in `folders`, which are complete.
  ///
  /// - Throws: a ``FileError`` when a report is missing or lacks a number.
  public init(family: String, folders: [String]) throws {
    var losses: [Double] = [], steps: [Double] = [], memory: [Double] = [], errors: [Double] = []
    var accuracies: [Double] = [], scores: [Double] = []
    var rises: [String: [Double]] = [:]
    var trainable = 0, bytes = 0
    var reason: String?
    for folder in folders {
      let path = folder + "/report.json", report = try JSON.read(path)
      func number(_ key: String) throws -> Double {
        guard let value = report[key]?.double else { throw FileError(path, at: "key '\(key)'", "holds no number") }
        return value
      }
      losses.append(try number("eval_loss"))
      steps.append(try number("step_seconds"))
      memory.append(try number("training_peak_rss_mb") * 1e6)
      (trainable, bytes) = (Int(try number("trainable")), Int(try number("adapter_bytes")))
      if let error = report["fold_error"]?.double { errors.append(error) }
      if let accuracy = report["eval_accuracy"]?.double { accuracies.append(accuracy) }
      if let score = report["eval_macro_f1"]?.double { scores.append(score) }
      for (name, entry) in report["also"]?.object ?? [:] {
        guard let before = entry["eval_loss_before"]?.double, let after = entry["eval_loss"]?.double else { continue }
        rises[name, default: []].append(after - before)
      }
      reason = report["cannot_fold"]?.string ?? reason
    }
    (self.accuracies, self.scores, forgotten) = (accuracies, scores, rises.mapValues(Self.mean))
    (self.family, self.losses, self.trainable, fileBytes) = (family, losses, trainable, bytes)
    (stepSeconds, peakMemory) = (Self.mean(steps), Self.mean(memory))
    (foldError, self.reason) = (errors.max(), reason)
  }

  /// The mean of the losses, and their standard deviation (0 for a single seed).
  public var loss: Double { Self.mean(losses) }
  /// See ``loss``.
  public var deviation: Double { Self.deviation(losses) }
  /// The mean share of texts told right, and its standard deviation; nil for a model of language.
  public var accuracy: (mean: Double, deviation: Double)? {
    accuracies.isEmpty ? nil : (Self.mean(accuracies), Self.deviation(accuracies))
  }
  /// The mean macro F1; nil for a model of language.
  public var macroF1: Double? { scores.isEmpty ? nil : Self.mean(scores) }

  private static func deviation(_ values: [Double]) -> Double {
    guard values.count > 1 else { return 0 }
    let mean = mean(values)
    return (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count - 1)).squareRoot()
  }

  private static func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(max(1, values.count)) }
}

/// The result of a comparison, best first, in every form it is read in.
public struct ComparisonTable: Sendable {
  /// The rows, lowest loss first.
  public let rows: [ComparisonRow]
  /// The loss before training; nil where it was not measured.
  public let before: Double?

  /// A table of the given rows.
  public init(_ rows: [ComparisonRow], before: Double?) {
    self.rows = rows.sorted { ($0.loss, $0.family) < ($1.loss, $1.family) }
    self.before = before
  }

  /// The names of other rows that were measured.
  private var others: [String] { Set(rows.flatMap(\.forgotten.keys)).sorted() }
  private var tellsClasses: Bool { rows.contains { $0.accuracy != nil } }

  private var heads: [String] {
    ["family", "held-out loss"] + (tellsClasses ? ["accuracy", "macro F1"] : ["perplexity"])
      + others.map { "\($0) lost" } + ["trainable", "s a step", "peak MB", "fold error", "file kB"]
  }

  private func cells(_ row: ComparisonRow) -> [String] {
    let quality =
      tellsClasses
      ? [
        row.accuracy.map { "\(percent($0.mean)) ± \(number(100 * $0.deviation))" } ?? "",
        row.macroF1.map(percent) ?? "",
      ] : [number(exponential(row.loss))]
    return [row.family, "\(number(row.loss)) ± \(number(row.deviation))"] + quality
      + others.map { row.forgotten[$0].map(number) ?? "" } + [
        grouped(row.trainable), number(row.stepSeconds), number(row.peakMemory / 1e6),
        row.foldError.map(number) ?? "cannot fold", number(Double(row.fileBytes) / 1e3),
      ]
  }

  /// The table in Markdown, as wide as its cells.
  public var markdown: String {
    let lines = alignedColumns([heads] + rows.map(cells))
    let rule = "|" + lines[0].map { String(repeating: "-", count: $0.count + 2) }.joined(separator: "|") + "|"
    let drawn = lines.map { "| " + $0.joined(separator: " | ") + " |" }
    var text = ([drawn[0], rule] + drawn.dropFirst()).joined(separator: "\n")
    if let before {
      let perplexity = tellsClasses ? "" : ", perplexity \(number(exponential(before)))"
      text += "\n\nBefore training: loss \(number(before))\(perplexity)."
    }
    if !others.isEmpty { text += "\n\nLost: by how many nats the loss on those rows rose in training." }
    return text
  }

  /// The table as comma-separated values, one row a family.
  public var csv: String {
    let head =
      [
        "family", "loss_mean", "loss_sd", "seeds", "trainable", "step_seconds", "peak_rss_mb", "fold_error",
        "adapter_bytes", "accuracy_mean", "accuracy_sd", "macro_f1",
      ] + others.map { "\($0)_lost" }
    let lines = rows.map { row in
      let optional = [row.accuracy?.mean, row.accuracy?.deviation, row.macroF1] + others.map { row.forgotten[$0] }
      return [
        row.family, "\(row.loss)", "\(row.deviation)", "\(row.losses.count)", "\(row.trainable)",
        "\(row.stepSeconds)", "\(row.peakMemory / 1e6)", row.foldError.map { "\($0)" } ?? "", "\(row.fileBytes)",
      ] + optional.map { $0.map { "\($0)" } ?? "" }
    }
    return ([head] + lines).map { $0.map(Self.field).joined(separator: ",") + "\n" }.joined()
  }

  /// A field as CSV writes it: in quotes where it holds a comma, a quote or a line's end.
  private static func field(_ text: String) -> String {
    guard text.contains(where: { ",\"\n\r".contains($0) }) else { return text }
    return "\"" + text.replacing("\"", with: "\"\"") + "\""
  }

  /// The table as JSON.
  public var json: JSON {
    .object([
      "before": before.map(JSON.number) ?? .null,
      "families": .array(
        rows.map { row in
          .object([
            "family": .string(row.family), "loss_mean": .number(row.loss), "loss_sd": .number(row.deviation),
            "losses": .array(row.losses.map(JSON.number)), "trainable": .integer(row.trainable),
            "step_seconds": .number(row.stepSeconds), "peak_rss_mb": .number(row.peakMemory / 1e6),
            "fold_error": row.foldError.map(JSON.number) ?? .null,
            "accuracies": .array(row.accuracies.map(JSON.number)),
            "macro_f1": row.macroF1.map(JSON.number) ?? .null,
            "lost": .object(row.forgotten.mapValues(JSON.number)),
            "cannot_fold": row.reason.map(JSON.string) ?? .null, "adapter_bytes": .integer(row.fileBytes),
          ])
        }),
    ])
  }

  /// Writes the table in all its forms, and the picture, and returns their paths.
  ///
  /// - Throws: a ``FileError`` when one cannot be written.
  public func write(to folder: String, title: String) throws -> [String] {
    let files = [
      ("table.md", "# \(title)\n\n" + markdown + "\n"), ("table.csv", csv),
      ("table.json", json.text(pretty: true) + "\n"),
      ("pareto.svg", ComparisonPlot(rows: rows).svg(title: title)),
    ]
    return try files.map { name, text in
      try AtomicFile.write(text, to: folder + "/" + name)
      return folder + "/" + name
    }
  }
}
