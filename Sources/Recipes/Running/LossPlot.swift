import Glibc

/// A picture of a run's loss: training as a line, held-out evaluations as dots, both against steps.
struct LossPlot {
  private(set) var training: [(step: Int, loss: Double)] = []
  private(set) var heldOut: [(step: Int, loss: Double)] = []

  mutating func add(training loss: Double, at step: Int) { if loss.isFinite { training.append((step, loss)) } }
  mutating func add(heldOut loss: Double, at step: Int) { if loss.isFinite { heldOut.append((step, loss)) } }

  /// The picture as an SVG document.
  func svg(title: String) -> String {
    let all = training + heldOut
    let (width, height, left, top, right, bottom) = (720.0, 410.0, 60.0, 56.0, 20.0, 45.0)
    let lastStep = Double(max(1, all.map(\.step).max() ?? 1))
    let low = all.map(\.loss).min() ?? 0, high = max(low + 1e-6, all.map(\.loss).max() ?? 1)
    func x(_ step: Int) -> Double { left + (width - left - right) * Double(step) / lastStep }
    func y(_ loss: Double) -> Double { height - bottom - (height - top - bottom) * (loss - low) / (high - low) }
    func point(_ value: (step: Int, loss: Double)) -> String {
      formatted("%.1f", x(value.step)) + "," + formatted("%.1f", y(value.loss))
    }
    var lines = [
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(Int(width)) \(Int(height))\" font-family=\"sans-serif\" font-size=\"12\">",
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
      "<text x=\"\(left)\" y=\"22\" font-size=\"15\">\(Self.escaped(title))</text>",
    ]
    for mark in axisMarks(low, high) {
      let level = formatted("%.1f", y(mark.value))
      lines.append("<line x1=\"\(left)\" x2=\"\(width - right)\" y1=\"\(level)\" y2=\"\(level)\" stroke=\"#ddd\"/>")
      lines.append(
        "<text x=\"\(left - 6)\" y=\"\(level)\" text-anchor=\"end\" dominant-baseline=\"middle\">\(mark.text)</text>"
      )
    }
    for mark in axisMarks(0, lastStep, least: 1) {
      lines.append(
        "<text x=\"\(formatted("%.1f", x(Int(mark.value))))\" y=\"\(height - bottom + 18)\" text-anchor=\"middle\">\(mark.text)</text>"
      )
    }
    lines.append("<text x=\"\((left + width - right) / 2)\" y=\"402\" text-anchor=\"middle\">step</text>")
    lines.append("<text x=\"\(left)\" y=\"44\">nats a supervised token</text>")
    lines.append(
      "<polyline fill=\"none\" stroke=\"#4477aa\" stroke-width=\"1.5\" points=\"\(training.map(point).joined(separator: " "))\"/>"
    )
    for value in heldOut {
      let center = point(value).split(separator: ",")
      lines.append("<circle cx=\"\(center[0])\" cy=\"\(center[1])\" r=\"4\" fill=\"#cc6677\"/>")
    }
    lines.append(
      "<text x=\"\(width - right)\" y=\"22\" text-anchor=\"end\"><tspan fill=\"#4477aa\">— training</tspan>  <tspan fill=\"#cc6677\">● held out</tspan></text>"
    )
    lines.append("</svg>")
    return lines.joined(separator: "\n") + "\n"
  }

  static func escaped(_ text: String) -> String {
    text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
  }
}
