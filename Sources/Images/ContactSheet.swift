import Files

/// The first images of each class side by side, for a look at a set: a row for each class, in the order of their labels.
public struct ContactSheet: Sendable {
  /// How many images of a class are shown.
  public var perClass = 10
  /// The first class shown, and at most how many from there on.
  public var classes = 0..<40

  /// A sheet of ten images of each of the first forty classes.
  public init() {}

  private static let gap = 4

  /// The sheet of `set`; small images are magnified by a whole number.
  ///
  /// - Throws: a ``FileError`` when the sheet would have a side above ``ImageSet/largestSide``.
  public func picture(of set: ImageSet) throws -> Picture {
    let shown = classes.clamped(to: 0..<set.classNames.count)
    var members = [[Int]](repeating: [], count: set.classNames.count)
    for (index, label) in set.labels.enumerated() where members[label].count < perClass { members[label].append(index) }
    let zoom = max(1, 56 / max(set.height, set.width))
    let cell = (height: set.height * zoom + Self.gap, width: set.width * zoom + Self.gap)
    let columns = members[shown].map(\.count).max() ?? 0
    let (height, width) = (shown.count * cell.height + Self.gap, columns * cell.width + Self.gap)
    guard height <= ImageSet.largestSide, width <= ImageSet.largestSide else {
      throw FileError(
        set.path, "a sheet of \(shown.count) × \(columns) images would have \(height) × \(width) pixels",
        remedy: "show fewer")
    }
    let channels = set.channels
    // A grey that is neither of the usual backgrounds, so that the edges of images show.
    var pixels = [UInt8](repeating: 96, count: height * width * channels)
    for (row, label) in shown.enumerated() {
      let images = try set.rows(at: members[label])
      for column in members[label].indices {
        let top = row * cell.height + Self.gap, left = column * cell.width + Self.gap
        for y in 0..<set.height * zoom {
          for x in 0..<set.width * zoom {
            let from = ((column * set.height + y / zoom) * set.width + x / zoom) * channels
            let to = ((top + y) * width + left + x) * channels
            for channel in 0..<channels { pixels[to + channel] = images[from + channel] }
          }
        }
      }
    }
    return Picture(height: height, width: width, channels: channels, pixels: pixels)
  }
}
