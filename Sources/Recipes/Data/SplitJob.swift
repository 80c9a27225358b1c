import Autodiff
import Crypto
import Files
import Images

/// Cutting a set of images in two that share none, every class with its share in both.
///
/// Collections hold some images twice. Of those that are chosen for testing no equal is trained on: it is left out.
public struct SplitJob: Sendable {
  /// How many images each part has; without a number for training, all that are left.
  public var train: Int?, test: Int
  /// What decides which.
  public var seed: UInt64

  /// What a split made.
  public struct Result: Sendable, Equatable {
    /// The paths of the two sets.
    public let train: String, test: String
    /// How many images equal one that is for testing, and are in neither part.
    public let leftOut: Int
  }

  /// A split; the same numbers and seed always choose the same images.
  public init(train: Int?, test: Int, seed: UInt64) { (self.train, self.test, self.seed) = (train, test, seed) }

  /// Writes `train.h5` and `test.h5` into `folder`.
  ///
  /// - Throws: a ``FileError`` when there are not so many images, or too few for every class to be in both.
  public func write(_ source: String, to folder: String) throws -> Result {
    let set = try ImageSet(source), wanted = train ?? max(0, set.count - test)
    guard test >= set.classNames.count, wanted >= set.classNames.count else {
      throw FileError(
        source, "has \(set.classNames.count) classes, which \(wanted) and \(test) images cannot all show",
        remedy: "take more of them")
    }
    guard wanted <= set.count - test else {
      throw FileError(source, "has \(set.count) images, not \(wanted) and \(test)", remedy: "take fewer of them")
    }
    var leftOut = 0
    let parts = try StratifiedChoice.split(
      train, test, of: set.labels, classes: set.classNames.count, from: RandomKey(seed: seed)["split"]
    ) { chosen in
      let equals = try equals(of: chosen, in: set)
      leftOut = equals.count
      return equals
    }
    guard parts.first.count >= train ?? 0 else {
      throw FileError(
        source, "has \(parts.first.count) images to train on beside \(test) and \(leftOut) that equal one of those",
        remedy: "take fewer of them")
    }
    try Folder.create(folder)
    let result = Result(train: folder + "/train.h5", test: folder + "/test.h5", leftOut: leftOut)
    try set.write(parts.first, to: result.train)
    try set.write(parts.second, to: result.test)
    return result
  }

  /// The other images with the same pixels as one of `chosen`.
  private func equals(of chosen: [Int], in set: ImageSet) throws -> Set<Int> {
    var isChosen = [Bool](repeating: false, count: set.count)
    for index in chosen { isChosen[index] = true }
    var digests: [SHA256Digest] = []
    digests.reserveCapacity(set.count)
    for start in stride(from: 0, to: set.count, by: set.chunk) {
      let pixels = try set.rows(start..<min(set.count, start + set.chunk)), size = set.imageBytes
      for from in stride(from: 0, to: pixels.count, by: size) {
        digests.append(SHA256.hash(data: pixels[from..<from + size]))
      }
    }
    let known = Set(chosen.map { digests[$0] })
    return Set(digests.indices.filter { !isChosen[$0] && known.contains(digests[$0]) })
  }
}
