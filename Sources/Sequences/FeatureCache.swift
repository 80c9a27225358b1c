import Autodiff
import Files
import Images
import Networks

/// What the first stages of a network, which do not learn, make of every image of a task: computed once and kept in an
/// HDF5 file.
///
/// Stages that do not learn give the same numbers in every epoch, so that reading these replaces running them. Where only
/// the output layer learns, an epoch then costs what that layer costs. The numbers are those of running the stages on
/// batches of 64 in the order of the task, bit for bit. Convolutions give the same bits in any batch; so do linear layers,
/// but for matrices so small that OpenBLAS multiplies them by another kernel when there are fewer rows.
///
/// Up to ``mostHeld`` numbers are held in memory while they are in use; of more, rows are read from the file as they are
/// asked for.
public struct FeatureCache: Sendable {
  /// How many stages lie before it: the stage that its rows enter.
  public let stage: Int
  /// One gibibyte of numbers.
  public static let mostHeld = 1 << 28

  private let shape: [Int]
  private let file: HDF5Rows
  private let held: Tensor?

  /// What leaves the first `stage` stages for `examples`, at `path`, made there unless a finished file of this size is.
  ///
  /// - Throws: a ``FileError`` when images cannot be read or the file not be written.
  public init(
    _ network: any ImageNetwork, before stage: Int, of examples: ImageExamples, _ preparation: ImagePreparation,
    at path: String, batchSize: Int = 64, holding limit: Int = mostHeld
  ) throws {
    func output(_ rows: Range<Int>) throws -> Tensor {
      let images = try preparation.batch(of: examples.set, at: rows.map { examples.indices[$0] })
      return network.output(of: 0..<stage, entering: images, Context())
    }
    let count = examples.indices.count
    let isMade = Folder.exists(path)
    // Files of earlier versions do not note the shape: one image tells it.
    let shape =
      try (isMade ? HDF5Rows.shape(notedIn: path) : nil)
      ?? Array(try output(0..<min(1, count)).shape.dimensions.dropFirst())
    let width = shape.reduce(1, *)
    if !isMade {
      let making = try HDF5Rows(creating: path, count: count, width: width, shape: shape)
      for start in stride(from: 0, to: count, by: batchSize) {
        let rows = start..<min(count, start + batchSize)
        try output(rows).withValues { values in
          if let base = values.baseAddress { try making.write(base, to: rows) }
        }
      }
      try making.finish()
    }
    file = try HDF5Rows(reading: path, count: count, width: width)
    (self.stage, self.shape) = (stage, shape)
    held = count * width <= limit ? try Self.read(file, Array(0..<count), [width]) : nil
  }

  /// What enters ``stage`` for the images numbered `rows`, `[rows, …]`.
  ///
  /// - Throws: a ``FileError`` when the file's bytes are damaged.
  public func rows(_ rows: [Int]) throws -> Tensor {
    guard let held else { return try Self.read(file, rows, shape) }
    return held.gathered(rows.map(Int32.init)).reshaped(Shape([rows.count] + shape))
  }

  private static func read(_ file: HDF5Rows, _ rows: [Int], _ shape: [Int]) throws -> Tensor {
    var values = [Float](repeating: 0, count: rows.count * file.width)
    try values.withUnsafeMutableBufferPointer { place in
      guard let base = place.baseAddress else { return }
      if let first = rows.first, rows == Array(first..<first + rows.count) {
        return try file.read(first..<first + rows.count, into: base)
      }
      for (index, row) in rows.enumerated() { try file.read(row..<row + 1, into: base + index * file.width) }
    }
    return Tensor(values, shape: Shape([rows.count] + shape))
  }
}

extension ImageNetwork {
  /// The first stage in which something learns; the number of stages where only the head does.
  ///
  /// What enters it is the same in every epoch.
  public var firstLearningStage: Int {
    var copy = self, first = stageNames.count
    copy.forEachParameter { name, parameter in
      if parameter.isTrainable, let stage = stage(of: name) { first = min(first, stage) }
    }
    copy.forEachBatchNorm { name, norm in
      if norm.learnsMoments, let stage = stage(of: name) { first = min(first, stage) }
    }
    return first
  }
}
