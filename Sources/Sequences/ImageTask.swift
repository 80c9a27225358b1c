import Files
import Images

/// Some images of a set with their labels.
public struct ImageExamples: Sendable {
  /// Where they lie.
  public let set: ImageSet
  /// Which they are.
  public let indices: [Int]
  /// The class of each, counted from 0 within its task.
  public let labels: [Int32]

  /// Up to `limit` images of a set, evenly spread over it, with the labels that it has.
  public init(spreadOver set: ImageSet, limit: Int) {
    let count = min(limit, set.count)
    self.set = set
    indices = (0..<count).map { $0 * set.count / max(1, count) }
    labels = indices.map { Int32(set.labels[$0]) }
  }

  init(set: ImageSet, indices: [Int], labels: [Int32]) {
    (self.set, self.indices, self.labels) = (set, indices, labels)
  }
}

/// A task of a sequence: telling some classes of images apart.
public struct ImageTask: Sendable {
  /// What recipes and results call it.
  public let name: String
  /// The classes, in the order of their labels.
  public let classNames: [String]
  /// What it is learned from.
  public let train: ImageExamples
  /// What it is judged by.
  public let test: ImageExamples

  /// The task of telling `classes` of two sets apart, all of them where none are named; `limit` and `testLimit` take
  /// the first so many images of each class.
  ///
  /// - Throws: a ``FileError`` for sets of other classes or of images of other sizes, a class that a set does not have or has no image of, and fewer
  ///   than two classes.
  public init(
    name: String, train: ImageSet, test: ImageSet, classes: [String]? = nil, limit: Int? = nil,
    testLimit: Int? = nil
  ) throws {
    guard train.classNames == test.classNames else {
      throw FileError(
        test.path, "has classes \(test.classNames.joined(separator: ", ")); \(train.path) has others",
        remedy: "train and test a task on parts of one set")
    }
    let sizes = [train, test].map { "\($0.height) × \($0.width) × \($0.channels)" }
    guard sizes[0] == sizes[1] else {
      throw FileError(
        test.path, "has images of \(sizes[1]); \(train.path) has images of \(sizes[0])",
        remedy: "import both with the same --size and --channels")
    }
    let chosen = classes ?? train.classNames
    guard chosen.count >= 2, Set(chosen).count == chosen.count else {
      throw FileError(
        train.path, "task '\(name)' has \(Set(chosen).count) class(es)", remedy: "name two or more, each once")
    }
    let numbers = try chosen.map { wanted in
      guard let number = train.classNames.firstIndex(of: wanted) else {
        throw FileError(
          train.path, "has no class \(quoted(wanted)); task '\(name)' asks for it",
          remedy: "expected some of \(train.classNames.joined(separator: ", "))")
      }
      return number
    }
    self.name = name
    classNames = chosen
    self.train = try Self.examples(train, numbers, chosen, limit)
    self.test = try Self.examples(test, numbers, chosen, testLimit)
  }

  private static func examples(
    _ set: ImageSet, _ classes: [Int], _ names: [String], _ limit: Int?
  ) throws -> ImageExamples {
    var counts = [Int](repeating: 0, count: classes.count)
    var indices: [Int] = [], labels: [Int32] = []
    for (index, label) in set.labels.enumerated() {
      guard let own = classes.firstIndex(of: label), counts[own] < limit ?? .max else { continue }
      counts[own] += 1
      indices.append(index)
      labels.append(Int32(own))
    }
    if let empty = counts.firstIndex(of: 0) {
      throw FileError(set.path, "holds no image of class \(quoted(names[empty]))", remedy: "leave the class out")
    }
    return ImageExamples(set: set, indices: indices, labels: labels)
  }
}
