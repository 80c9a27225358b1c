import Sequences

/// An accuracy matrix as a picture: a row a learned task, a column a tested one.
struct HeatMap {
  let matrix: AccuracyMatrix
  let title: String

  init(_ matrix: AccuracyMatrix, title: String) { (self.matrix, self.title) = (matrix, title) }

  var svg: String {
    let count = matrix.tasks.count, cell = 46, left = 110, top = 40
    let (width, height) = (left + cell * count + 60, top + cell * count + 90)
    var lines = [
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(width) \(height)\" font-family=\"sans-serif\" font-size=\"11\">",
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
      "<text x=\"10\" y=\"22\" font-size=\"15\">\(LossPlot.escaped(title))</text>",
    ]
    for (index, task) in matrix.tasks.enumerated() {
      let name = LossPlot.escaped(task), place = cell * index + cell / 2
      lines.append("<text x=\"\(left - 6)\" y=\"\(top + place + 4)\" text-anchor=\"end\">\(name)</text>")
      let (x, y) = (left + place, top + cell * count + 12)
      lines.append("<text transform=\"translate(\(x),\(y)) rotate(45)\">\(name)</text>")
    }
    for (learned, row) in matrix.values.enumerated() {
      for (tested, value) in row.enumerated() {
        guard let value else { continue }
        // White at 0, dark blue at 1; the text turns white on dark cells.
        let shade = min(1, max(0, value)), (red, green) = (Int(255 - 200 * shade), Int(255 - 150 * shade))
        let (x, y) = (left + cell * tested, top + cell * learned)
        lines.append(
          "<rect x=\"\(x)\" y=\"\(y)\" width=\"\(cell - 2)\" height=\"\(cell - 2)\" fill=\"rgb(\(red),\(green),\(255 - Int(60 * shade)))\"/>"
        )
        lines.append(
          "<text x=\"\(x + cell / 2 - 1)\" y=\"\(y + cell / 2 + 4)\" text-anchor=\"middle\" fill=\"\(shade > 0.75 ? "white" : "black")\">\(formatted("%.1f", 100 * value))</text>"
        )
      }
    }
    return (lines + ["</svg>"]).joined(separator: "\n") + "\n"
  }
}
