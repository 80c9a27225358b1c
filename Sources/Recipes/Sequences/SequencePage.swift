import Sequences

extension SequenceReport {
  /// One page that needs nothing else.
  var html: String {
    func row(_ cells: [String], _ tag: String) -> String {
      "<tr>" + cells.map { "<\(tag)>\(LossPlot.escaped($0))</\(tag)>" }.joined() + "</tr>"
    }
    let table = row(head, "th") + rows.map { row($0, "td") }.joined(separator: "\n")
    let names = tasks.map(\.name).joined(separator: ", ")
    let noun = measure == .accuracy ? "Accuracy, %," : "Loss, nats a token,"
    let said = notes.map { "<li>\(LossPlot.escaped($0))</li>" }.joined(separator: "\n")
    return """
      <!DOCTYPE html>
      <html lang="en"><head><meta charset="utf-8"><title>Sequence of \(tasks.count) tasks</title><style>
      body {font: 15px/1.45 sans-serif; margin: 2em auto; max-width: 1200px; padding: 0 1em}
      .wide {overflow-x: auto} table {border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums}
      th, td {padding: .35em .6em; border-bottom: 1px solid #ddd; text-align: right; vertical-align: bottom}
      th {font-weight: 600} td {white-space: nowrap} th:first-child, td:first-child {text-align: left}
      figure {display: inline-block; margin: .5em 1.5em .5em 0; vertical-align: top} svg {max-width: 100%; height: auto}
      pre {background: #f6f6f6; padding: 1em; white-space: pre-wrap; font-size: 13px}
      </style></head><body>
      <h1>Sequence of \(tasks.count) tasks</h1>
      <p>In this order: \(LossPlot.escaped(names)).</p>
      <div class="wide"><table>\(table)</table></div>
      \(notes.isEmpty ? "" : "<ul>\(said)</ul>")
      <figure>\(SequenceCurves(results: results).svg)</figure>
      <h2>\(noun) on each task (column) after each learned task (row)</h2>
      \(heatMaps.map { "<figure>\($0)</figure>" }.joined(separator: "\n"))
      <h2>What the columns mean</h2>
      <pre>\(LossPlot.escaped((inferenceLines + [definitions]).joined(separator: "\n")))</pre>
      </body></html>

      """
  }
}
