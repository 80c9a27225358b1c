import Sequences

/// An accuracy matrix as a picture: a row a learned task, a column a tested one.
struct HeatMap {
  let matrix: AccuracyMatrix
  let title: String
  /// The values between which colours go; the better end is the darker.
  private let worst: Double, best: Double

  /// A picture of `matrix`; `scale` are the least and the largest value of all that are looked at together, for losses.
  init(_ matrix: AccuracyMatrix, title: String, scale: ClosedRange<Double>? = nil) {
    (self.matrix, self.title) = (matrix, title)
    switch matrix.measure {
    case .accuracy: (worst, best) = (0, 1)
    case .loss:
      let scale = scale ?? Self.scale(of: [matrix])
      (worst, best) = (scale.upperBound, scale.lowerBound)
    }
  }

  /// From the least to the largest value in `matrices`.
  static func scale(of matrices: [AccuracyMatrix]) -> ClosedRange<Double> {
    let values = matrices.flatMap { $0.values.flatMap { $0.compactMap(\.self).filter(\.isFinite) } }
    return (values.min() ?? 0)...(values.max() ?? 1)
  }

  var svg: String {
    let count = matrix.tasks.count, cell = 46, top = 64
    // Names stand beside the rows and, aslant, below the columns; a character has about six units.
    let longest = 6 * (matrix.tasks.map(\.count).max() ?? 0), left = 42 + longest
    let width = max(left + cell * count + 10 + longest * 7 / 10, 24 + 8 * title.count, left + 130)
    let height = top + cell * count + 24 + longest * 7 / 10
    var lines = [
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(width) \(height)\" width=\"\(width)\" font-family=\"sans-serif\" font-size=\"11\">",
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
      "<text x=\"10\" y=\"22\" font-size=\"15\">\(LossPlot.escaped(title))</text>",
      "<text x=\"\(left)\" y=\"\(top - 10)\" fill=\"#666\">tested on →</text>",
      "<text transform=\"translate(16,\(top + 2)) rotate(90)\" fill=\"#666\">after →</text>",
    ]
    for (index, task) in matrix.tasks.enumerated() {
      let name = LossPlot.escaped(task), place = cell * index + cell / 2
      lines.append("<text x=\"\(left - 6)\" y=\"\(top + place + 4)\" text-anchor=\"end\">\(name)</text>")
      let (x, y) = (left + place, top + cell * count + 12)
      lines.append("<text transform=\"translate(\(x),\(y)) rotate(45)\">\(name)</text>")
    }
    for (learned, row) in matrix.values.enumerated() {
      for (tested, value) in row.enumerated() {
        let (x, y) = (left + cell * tested, top + cell * learned)
        let square = "<rect x=\"\(x)\" y=\"\(y)\" width=\"\(cell - 2)\" height=\"\(cell - 2)\""
        guard let value else {
          lines.append("\(square) fill=\"#f4f4f4\"/>")
          continue
        }
        // White at the worst, dark blue at the best; the text turns white on dark cells.
        let shade = worst == best ? 0.5 : min(1, max(0, (value - worst) / (best - worst)))
        let (red, green) = (Int(255 - 200 * shade), Int(255 - 150 * shade))
        let text = matrix.measure == .accuracy ? formatted("%.1f", 100 * value) : formatted("%.2f", value)
        lines.append("\(square) fill=\"rgb(\(red),\(green),\(255 - Int(60 * shade)))\"/>")
        lines.append(
          "<text x=\"\(x + cell / 2 - 1)\" y=\"\(y + cell / 2 + 4)\" text-anchor=\"middle\" fill=\"\(shade > 0.75 ? "white" : "black")\">\(text)</text>"
        )
      }
    }
    return (lines + ["</svg>"]).joined(separator: "\n") + "\n"
  }
}
