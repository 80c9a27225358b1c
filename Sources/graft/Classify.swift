import ArgumentParser
import Files
import Recipes
import Text
import Training

/// Tells the class of a text, or of every row of a file.
struct Classify: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Tell the class of a text, or of every row of a file, with a trained encoder.",
    discussion: """
      With --file, rows that name their class are compared with what was told; --output writes one JSON row a text.

      EXAMPLES
        graft classify minilm-l6 --adapter runs/sentiment/adapter --text "What a lovely day"
        graft classify merged --text "It rained." --pair "The ground is dry."
        graft classify minilm-l6 --adapter runs/sentiment/adapter --file test.jsonl --output told.jsonl
      """)

  @Argument(help: "The model.") var model: String
  @Option(help: "The adapter's folder.") var adapter: String?
  @Option(help: "The task to serve, for an adapter that routes by task.") var task: String?
  @Option(help: "The text.") var text: String?
  @Option(help: "The second text of a pair.") var pair: String?
  @Option(help: "Rows of texts, JSON Lines.") var file: String?
  @Option(help: "The key of each row's text.") var textField = "text"
  @Option(help: "The key of each row's second text, for pairs.") var pairField: String?
  @Option(help: "The key of each row's class, where it has one.") var labelField = "label"
  @Option(name: .shortAndLong, help: "Where to write what was told of each row.") var output: String?
  @Flag(help: "Accept an adapter that was trained on another base.") var anyBase = false
  @Flag(help: "Print JSON.") var json = false

  func run() throws {
    guard (text == nil) != (file == nil) else { throw UsageError(description: "give either --text or --file") }
    guard pair == nil || text != nil else { throw UsageError(description: "--pair belongs to --text") }
    guard output == nil || file != nil else { throw UsageError(description: "--output belongs to --file") }
    var fields = ClassFields()
    (fields.text, fields.pair, fields.label) = (textField, pairField, labelField)
    let loaded = try LoadedModel(model, adapter: adapter, task: task, anyBase: anyBase)
    let classification = try Classification(loaded, fields: fields)
    if let text {
      let told = try classification.tell(text, pair: pair)
      Console.result(json ? row(told, classification.labels).text(pretty: true) : line(told, classification.labels))
    } else if let file {
      try tell(file, classification)
    }
  }

  private func tell(_ file: String, _ classification: Classification) throws {
    let told = try classification.tell(file: file)
    if let output {
      let rows = told.map { row($0, classification.labels).text() }
      try AtomicFile.write(rows.joined(separator: "\n") + "\n", to: output)
      Console.error("wrote \(output)")
    }
    guard let confusion = classification.confusion(told) else {
      if output == nil { for text in told { Console.result(line(text, classification.labels)) } }
      return
    }
    if json {
      Console.result(
        JSON.object([
          "texts": .integer(confusion.total), "accuracy": .number(confusion.accuracy),
          "macro_f1": .number(confusion.macroF1), "majority": .number(confusion.majority),
          "labels": .array(confusion.labels.map(JSON.string)),
          "confusion": .array(confusion.counts.map { .array($0.map(JSON.integer)) }),
        ]).text(pretty: true))
    } else {
      Console.result(
        "accuracy \(percent(confusion.accuracy))   macro F1 \(percent(confusion.macroF1))   over \(confusion.total) texts (always the commonest class: \(percent(confusion.majority)))"
      )
      Console.result(confusion.table)
    }
  }

  private func line(_ told: ClassifiedText, _ labels: [String]) -> String {
    let ranked = zip(labels, told.probabilities).sorted { $0.1 > $1.1 }.prefix(5)
    return ranked.map { "\($0.0) \(percent($0.1))" }.joined(separator: "   ")
  }

  private func row(_ told: ClassifiedText, _ labels: [String]) -> JSON {
    var row: [String: JSON] = [
      "label": .string(told.label),
      "probabilities": .object(
        Dictionary(uniqueKeysWithValues: zip(labels, told.probabilities.map(JSON.number)))),
    ]
    if let truth = told.truth { row["truth"] = .string(truth) }
    return .object(row)
  }
}

extension Confusion {
  /// The counts as a table: a row a class there is, a column a class told.
  var table: String {
    let names = labels.map { $0.count > 16 ? $0.prefix(15) + "…" : Substring($0) }.map(String.init)
    let cells = [["is \\ told"] + names] + zip(names, counts).map { [$0] + $1.map(String.init) }
    return alignedColumns(cells, left: 0).map { $0.joined(separator: "  ") }.joined(separator: "\n")
  }
}
