import Images

/// What a set of images holds, as text.
public struct ImageReport {
  private let set: ImageSet
  private let statistics: ImageStatistics

  /// Reads all of `set`.
  public init(_ set: ImageSet) throws {
    self.set = set
    statistics = try ImageStatistics(of: set)
  }

  /// Shape, origin, mean and deviation, and a line for each class.
  public var text: String {
    let shape = "\(set.height) × \(set.width) × \(set.channels)"
    var lines = ["\(displayed(set.path)): \(grouped(set.count)) images of \(shape), \(set.classNames.count) classes"]
    for (name, value) in [
      ("name", set.origin.name), ("source", set.origin.source), ("licence", set.origin.licence),
    ] where !value.isEmpty { lines.append("\(name)   \(value)") }
    func list(_ values: [Double]) -> String { values.map { formatted("%.4f", $0) }.joined(separator: ", ") }
    lines.append("mean   \(list(statistics.mean))   standard deviation   \(list(statistics.deviation))   (of 0 to 1)")
    for (label, name) in set.classNames.enumerated() {
      lines.append("  \(label)   \(name)   \(grouped(statistics.counts[label]))")
    }
    return lines.joined(separator: "\n")
  }
}
