import Autodiff
import Files
import Images
import Networks

/// What a network's frozen body makes of every image of a task, computed once and kept in an HDF5 file.
///
/// A body that does not learn gives the same features in every epoch, bit for bit, so that reading them replaces running
/// it: an epoch then costs what its output layer costs.
///
/// The numbers are held in memory while they are in use, four bytes a feature.
public struct FeatureCache: Sendable {
  private let features: Tensor

  /// The features of `examples` at `path`, made there unless a finished file of this size is.
  ///
  /// - Throws: a ``FileError`` when images cannot be read or the file not be written.
  public init(
    _ network: any ImageNetwork, of examples: ImageExamples, _ preparation: ImagePreparation, at path: String,
    batchSize: Int = 64
  ) throws {
    let count = examples.indices.count, width = network.featureWidth
    if !Folder.exists(path) {
      let making = try HDF5Rows(creating: path, count: count, width: width)
      for start in stride(from: 0, to: count, by: batchSize) {
        let rows = start..<min(count, start + batchSize)
        let images = try preparation.batch(of: examples.set, at: rows.map { examples.indices[$0] })
        let features = network.output(of: 0..<network.stageNames.count, entering: images, Context())
        try features.withValues { values in
          if let base = values.baseAddress { try making.write(base, to: rows) }
        }
      }
      try making.finish()
    }
    let file = try HDF5Rows(reading: path, count: count, width: width)
    var values = [Float](repeating: 0, count: count * width)
    try values.withUnsafeMutableBufferPointer { place in
      if let base = place.baseAddress { try file.read(0..<count, into: base) }
    }
    features = Tensor(values, shape: [count, width])
  }

  /// The features of the images numbered `rows`, `[rows, width]`.
  public func rows(_ rows: [Int]) -> Tensor { features.gathered(rows.map(Int32.init)) }
}
