import Autodiff
import Files
import Images

/// Cutting a set of images in two that share none, every class with its share in both.
public struct SplitJob: Sendable {
  /// How many images each part has; without a number for training, all that are left.
  public var train: Int?, test: Int
  /// What decides which.
  public var seed: UInt64

  /// A split; the same numbers and seed always choose the same images.
  public init(train: Int?, test: Int, seed: UInt64) { (self.train, self.test, self.seed) = (train, test, seed) }

  /// Writes `train.h5` and `test.h5` into `folder`; returns their paths.
  ///
  /// - Throws: a ``FileError`` when there are not so many images, or too few for every class to be in both.
  public func write(_ source: String, to folder: String) throws -> [String] {
    let set = try ImageSet(source), train = train ?? max(0, set.count - test)
    guard test >= set.classNames.count, train >= set.classNames.count else {
      throw FileError(
        source, "has \(set.classNames.count) classes, which \(train) and \(test) images cannot all show",
        remedy: "take more of them")
    }
    guard train <= set.count - test else {
      throw FileError(source, "has \(set.count) images, not \(train) and \(test)", remedy: "take fewer of them")
    }
    let parts = StratifiedChoice.split(
      train, test, of: set.labels, classes: set.classNames.count, from: RandomKey(seed: seed)["split"])
    try Folder.create(folder)
    return try [("train", parts.first), ("test", parts.second)].map { name, indices in
      let path = "\(folder)/\(name).h5"
      try set.write(indices, to: path)
      return path
    }
  }
}
