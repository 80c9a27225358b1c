import Autodiff
import Files
import Networks

/// What was measured of a model's layers, kept in an HDF5 file with what it was measured on.
///
///     base, data                    texts: digests of the model as it was run, and of the tokens it read
///     <layer>/rows                  the tokens measured, [1]
///     <layer>/mean_magnitude        [inputs], and so mean_square
///     <layer>/second_moment         [inputs, inputs], where it was measured
///     <layer>/gradient_inputs       [inputs], and gradient_outputs [outputs], where they were measured
///     <layer>/largest_magnitude     [inputs], and samples [min(256, rows), inputs], where they were kept
public struct StatisticsFile: Sendable, Equatable {
  /// Where it is.
  public let path: String
  /// The digests that must agree.
  public let base: String, data: String

  /// The file at `path` of measurements of the model `base` on `data`.
  public init(_ path: String, base: String, data: String) { (self.path, self.base, self.data) = (path, base, data) }

  /// What became of an attempt to read.
  public enum Reading: Sendable {
    /// All that was wanted.
    case found([String: SiteStatistics])
    /// Nothing that can be used, and why.
    case stale(because: String)
  }

  /// The measurements of `sites`, whose numbers of inputs `widths` give, and of outputs `heights`.
  ///
  /// - Throws: a ``FileError`` when there is a file, but not one this package wrote, or a damaged one.
  public func read(
    _ wanted: Statistics, of sites: [String], widths: [String: Int], heights: [String: Int] = [:]
  ) throws -> Reading {
    guard Folder.exists(path) else { return .stale(because: "it was not there") }
    let file = try HDF5Reader(path)
    guard try file.integer("format") == 1 else { return .stale(because: "it is of another version") }
    guard try file.text("base") == base else { return .stale(because: "it was measured on another base") }
    guard try file.text("data") == data else { return .stale(because: "it was measured on other data") }
    var found: [String: SiteStatistics] = [:]
    for site in sites {
      let width = widths[site] ?? 0
      guard file.has(site) else { return .stale(because: "it lacks layer '\(site)'") }
      let hasMoment = file.has(site + "/second_moment")
      guard hasMoment || !wanted.contains(.secondMoment) else {
        return .stale(because: "it holds no second moments")
      }
      guard file.has(site + "/gradient_inputs") || !wanted.contains(.gradient) else {
        return .stale(because: "it holds no gradients")
      }
      guard file.has(site + "/samples") || !wanted.contains(.samples) else {
        return .stale(because: "it holds no samples")
      }
      func numbers(_ name: String, _ shape: [Int]) throws -> Tensor {
        let tensor = Tensor(try file.read("\(site)/\(name)", shape: shape).values, shape: Shape(shape))
        guard tensor.isFinite else {
          throw FileError(path, at: "dataset '\(site)/\(name)'", "holds numbers that are not finite")
        }
        return tensor
      }
      let rows: [Int64] = try file.read(site + "/rows", shape: [1]).values
      guard rows[0] > 0 else { throw FileError(path, at: "dataset '\(site)/rows'", "holds no number above 0") }
      let samples = wanted.contains(.samples) ? min(Calibration.sampleRows, Int(rows[0])) : nil
      found[site] = SiteStatistics(
        secondMoment: wanted.contains(.secondMoment) ? try numbers("second_moment", [width, width]) : nil,
        meanMagnitude: try numbers("mean_magnitude", [width]), meanSquare: try numbers("mean_square", [width]),
        largestMagnitude: try samples.map { _ in try numbers("largest_magnitude", [width]) },
        samples: try samples.map { try numbers("samples", [$0, width]) },
        rows: Int(rows[0]))
      if wanted.contains(.gradient) {
        found[site]?.gradient = ChannelSquares(
          inputs: try numbers("gradient_inputs", [width]),
          outputs: try numbers("gradient_outputs", [heights[site] ?? 0]))
      }
    }
    return .found(found)
  }

  /// Writes measurements, whole or not at all, and makes the folder they go to.
  public func write(_ statistics: [String: SiteStatistics]) throws {
    try Folder.createParent(of: path)
    try HDF5Writer.write(path) { file in
      try file.set("format", 1)
      try file.set("base", base)
      try file.set("data", data)
      for (site, measured) in statistics.sorted(by: { $0.key < $1.key }) {
        try file.add(site + "/rows", [Int64(measured.rows)], shape: [1])
        try file.add(site + "/mean_magnitude", measured.meanMagnitude.values, shape: [measured.meanMagnitude.count])
        try file.add(site + "/mean_square", measured.meanSquare.values, shape: [measured.meanSquare.count])
        if let moment = measured.secondMoment {
          try file.add(site + "/second_moment", moment.values, shape: moment.shape.dimensions)
        }
        if let gradient = measured.gradient {
          try file.add(site + "/gradient_inputs", gradient.inputs.values, shape: [gradient.inputs.count])
          try file.add(site + "/gradient_outputs", gradient.outputs.values, shape: [gradient.outputs.count])
        }
        if let largest = measured.largestMagnitude, let samples = measured.samples {
          try file.add(site + "/largest_magnitude", largest.values, shape: [largest.count])
          try file.add(site + "/samples", samples.values, shape: samples.shape.dimensions)
        }
      }
    }
  }
}
