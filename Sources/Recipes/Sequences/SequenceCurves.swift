import Sequences

/// The mean over the tasks learned so far against how many these are, a line a strategy.
struct SequenceCurves {
  let results: [SequenceResult]

  private static let colours = [
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#888888", "#000000",
  ]

  var svg: String {
    guard let first = results.first?.matrix else { return "" }
    let count = first.tasks.count, isAccuracy = first.measure == .accuracy
    // What learns all tasks at once has one value, after the last.
    let curves = results.map { result in
      (
        name: result.name,
        points: (0..<count).compactMap { task in result.matrix.averageAfter(task).map { (task, $0) } }
      )
    }
    let values = curves.flatMap { $0.points.map(\.1) }
    guard let least = values.min(), let largest = values.max() else { return "" }
    let margin = max(0.08 * (largest - least), 1e-3), low = least - margin
    let high = isAccuracy ? min(1, largest + margin) : largest + margin
    let (width, height, left, top, right, bottom) = (560.0, 300.0, 60.0, 44.0, 120.0, 46.0)
    func x(_ task: Int) -> Double {
      left + (width - left - right) * (count < 2 ? 0.5 : Double(task) / Double(count - 1))
    }
    func y(_ value: Double) -> Double { height - bottom - (height - top - bottom) * (value - low) / (high - low) }
    func at(_ value: Double) -> String { formatted("%.1f", value) }
    let noun = isAccuracy ? "accuracy, %" : "loss, nats a token"
    var lines = [
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(Int(width)) \(Int(height))\" width=\"\(Int(width))\" font-family=\"sans-serif\" font-size=\"11\">",
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
      "<text x=\"10\" y=\"22\" font-size=\"15\">Mean over the tasks learned so far: \(noun)</text>",
    ]
    let unit = isAccuracy ? 100.0 : 1
    for mark in axisMarks(unit * low, unit * high) {
      let place = at(y(mark.value / unit))
      lines.append(
        "<line x1=\"\(at(left))\" x2=\"\(at(width - right))\" y1=\"\(place)\" y2=\"\(place)\" stroke=\"#ddd\"/>")
      lines.append(
        "<text x=\"\(at(left - 6))\" y=\"\(place)\" text-anchor=\"end\" dominant-baseline=\"middle\">\(mark.text)</text>"
      )
    }
    for task in 0..<count {
      lines.append(
        "<text x=\"\(at(x(task)))\" y=\"\(at(height - bottom + 18))\" text-anchor=\"middle\">\(task + 1)</text>")
    }
    lines.append(
      "<text x=\"\(at((left + width - right) / 2))\" y=\"\(at(height - 8))\" text-anchor=\"middle\">tasks learned</text>"
    )
    for (index, curve) in curves.enumerated() {
      let colour = Self.colours[index % Self.colours.count]
      let path = curve.points.map { at(x($0.0)) + "," + at(y($0.1)) }.joined(separator: " ")
      lines.append("<polyline fill=\"none\" stroke=\"\(colour)\" stroke-width=\"1.5\" points=\"\(path)\"/>")
      lines += curve.points.map {
        "<circle cx=\"\(at(x($0.0)))\" cy=\"\(at(y($0.1)))\" r=\"3.5\" fill=\"\(colour)\"/>"
      }
      // A legend rather than names at the lines' ends, which may lie on each other.
      let place = top + 16 * Double(index)
      lines.append(
        "<circle cx=\"\(at(width - right + 22))\" cy=\"\(at(place))\" r=\"3.5\" fill=\"\(colour)\"/><text x=\"\(at(width - right + 32))\" y=\"\(at(place + 4))\">\(LossPlot.escaped(curve.name))</text>"
      )
    }
    return (lines + ["</svg>"]).joined(separator: "\n") + "\n"
  }
}
