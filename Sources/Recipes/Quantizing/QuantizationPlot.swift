import Quantizing

/// What each layer lost, a dot a layer, from the first block to the last.
struct QuantizationPlot {
  let layers: [LayerReport]

  private static let colours = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#999999"]

  /// The picture as an SVG document.
  var svg: String {
    let (width, height, left, top, right, bottom) = (800.0, 420.0, 64.0, 62.0, 130.0, 46.0)
    let values = layers.map { $0.outputError ?? $0.weightError }, most = max(1e-9, values.max() ?? 1)
    let kinds = layers.map { String($0.name.split(separator: ".").last ?? "") }
    let order = kinds.reduce(into: [String]()) { if !$0.contains($1) { $0.append($1) } }
    let measured = layers.contains { $0.outputError != nil }
    func x(_ index: Int) -> Double {
      left + (width - left - right) * Double(index) / Double(max(1, layers.count - 1))
    }
    func y(_ value: Double) -> Double { height - bottom - (height - top - bottom) * value / most }
    func at(_ value: Double) -> String { formatted("%.1f", value) }
    var lines = [
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(Int(width)) \(Int(height))\" font-family=\"sans-serif\" font-size=\"12\">",
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
      "<text x=\"\(at(left))\" y=\"24\" font-size=\"15\">What packing took from each layer's \(measured ? "output" : "weights")</text>",
      "<text x=\"\(at(left))\" y=\"46\">root mean square, of what was there</text>",
    ]
    for tick in 0...4 {
      let value = most * Double(tick) / 4, level = at(y(value))
      lines.append(
        "<line x1=\"\(at(left))\" x2=\"\(at(width - right))\" y1=\"\(level)\" y2=\"\(level)\" stroke=\"#ddd\"/>")
      lines.append(
        "<text x=\"\(at(left - 6))\" y=\"\(level)\" text-anchor=\"end\" dominant-baseline=\"middle\">\(percent(value))</text>"
      )
    }
    for (index, value) in values.enumerated() {
      let colour = Self.colours[(order.firstIndex(of: kinds[index]) ?? 0) % Self.colours.count]
      lines.append(
        "<circle cx=\"\(at(x(index)))\" cy=\"\(at(y(value)))\" r=\"3.5\" fill=\"\(colour)\"><title>\(layers[index].name): \(percent(value))</title></circle>"
      )
    }
    for (place, kind) in order.enumerated() {
      let level = at(top + 18 * Double(place) + 6)
      lines.append(
        "<circle cx=\"\(at(width - right + 16))\" cy=\"\(level)\" r=\"4\" fill=\"\(Self.colours[place % Self.colours.count])\"/>"
      )
      lines.append("<text x=\"\(at(width - right + 26))\" y=\"\(level)\" dominant-baseline=\"middle\">\(kind)</text>")
    }
    lines.append(
      "<text x=\"\(at((left + width - right) / 2))\" y=\"\(at(height - 12))\" text-anchor=\"middle\">layers, from the first block to the last</text>"
    )
    return (lines + ["</svg>"]).joined(separator: "\n") + "\n"
  }
}
