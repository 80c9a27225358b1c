import Glibc

/// Held-out loss against seconds a step, a dot a family: what lies on the lower left edge is worth choosing.
struct ComparisonPlot {
  let rows: [ComparisonRow]

  /// The families that no other beats in both loss and time.
  var front: Set<String> {
    Set(
      rows.filter { row in
        !rows.contains {
          $0.family != row.family && $0.loss <= row.loss && $0.stepSeconds <= row.stepSeconds
            && ($0.loss < row.loss || $0.stepSeconds < row.stepSeconds)
        }
      }.map(\.family))
  }

  /// The picture as an SVG document.
  func svg(title: String) -> String {
    let (width, height, left, top, right, bottom) = (760.0, 470.0, 70.0, 62.0, 110.0, 50.0)
    let losses = rows.flatMap { [$0.loss - $0.deviation, $0.loss + $0.deviation] }
    let (low, high) = Self.range(losses), (first, last) = Self.range(rows.map(\.stepSeconds))
    func x(_ seconds: Double) -> Double { left + (width - left - right) * (seconds - first) / (last - first) }
    func y(_ loss: Double) -> Double { height - bottom - (height - top - bottom) * (loss - low) / (high - low) }
    func at(_ value: Double) -> String { formatted("%.1f", value) }
    var lines = [
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(Int(width)) \(Int(height))\" font-family=\"sans-serif\" font-size=\"12\">",
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
      "<text x=\"\(at(left))\" y=\"24\" font-size=\"15\">\(LossPlot.escaped(title))</text>",
    ]
    for mark in axisMarks(low, high) {
      let level = at(y(mark.value))
      lines.append(
        "<line x1=\"\(at(left))\" x2=\"\(at(width - right))\" y1=\"\(level)\" y2=\"\(level)\" stroke=\"#ddd\"/>")
      lines.append(
        "<text x=\"\(at(left - 6))\" y=\"\(level)\" text-anchor=\"end\" dominant-baseline=\"middle\">\(mark.text)</text>"
      )
    }
    for mark in axisMarks(first, last) {
      lines.append(
        "<text x=\"\(at(x(mark.value)))\" y=\"\(at(height - bottom + 18))\" text-anchor=\"middle\">\(mark.text)</text>"
      )
    }
    lines.append(
      "<text x=\"\(at((left + width - right) / 2))\" y=\"\(at(height - 8))\" text-anchor=\"middle\">seconds a step</text>"
    )
    lines.append("<text x=\"\(at(left))\" y=\"46\">held-out loss, nats a token</text>")
    let front = front
    let edge = rows.filter { front.contains($0.family) }.sorted { $0.stepSeconds < $1.stepSeconds }
    let path = edge.map { at(x($0.stepSeconds)) + "," + at(y($0.loss)) }.joined(separator: " ")
    lines.append("<polyline fill=\"none\" stroke=\"#4477aa\" stroke-dasharray=\"4 3\" points=\"\(path)\"/>")
    let names = Self.places(
      of: rows.map { (x($0.stepSeconds), y($0.loss), 7 * Double($0.family.count)) })
    for (row, name) in zip(rows, names) {
      let (cx, cy) = (at(x(row.stepSeconds)), at(y(row.loss)))
      let color = front.contains(row.family) ? "#4477aa" : "#999999"
      if row.deviation > 0 {
        lines.append(
          "<line x1=\"\(cx)\" x2=\"\(cx)\" y1=\"\(at(y(row.loss - row.deviation)))\" y2=\"\(at(y(row.loss + row.deviation)))\" stroke=\"\(color)\"/>"
        )
      }
      lines.append("<circle cx=\"\(cx)\" cy=\"\(cy)\" r=\"4.5\" fill=\"\(color)\"/>")
      lines.append(
        "<text x=\"\(at(name.x))\" y=\"\(at(name.y))\" dominant-baseline=\"middle\">\(LossPlot.escaped(row.family))</text>"
      )
    }
    lines.append("</svg>")
    return lines.joined(separator: "\n") + "\n"
  }

  /// Where the names of dots stand: to their right, and lower where another name stands there.
  static func places(of dots: [(x: Double, y: Double, width: Double)]) -> [(x: Double, y: Double)] {
    let line = 13.0
    var taken: [(x: Double, y: Double, width: Double)] = []
    return dots.map { dot in
      var place = (x: dot.x + 8, y: dot.y, width: dot.width)
      while taken.contains(where: {
        abs($0.y - place.y) < line && place.x < $0.x + $0.width && $0.x < place.x + place.width
      }) { place.y += 1 }
      taken.append(place)
      return (place.x, place.y)
    }
  }

  /// The least and the largest of `values`, with a margin.
  private static func range(_ values: [Double]) -> (Double, Double) {
    let low = values.min() ?? 0, high = values.max() ?? 1
    let margin = max(1e-9, 0.08 * (high - low), 1e-6 * abs(high))
    return (low - margin, high + margin)
  }
}
