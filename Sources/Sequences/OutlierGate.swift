import Autodiff

/// Tells images of what has been learned from strange ones, and the task they belong to.
///
/// A class is described by the sum of its images' descriptions, a task by the sum of its classes', each of length 1; order
/// plays no part. An image's score is its largest cosine to a class; below `threshold` it is strange. Its task is that of
/// the nearest description. Kept are a description for each class and each task, and those of the images that the threshold is
/// drawn from.
struct OutlierGate: Sendable {
  /// One row a class and one a task.
  private(set) var classes: Tensor?, tasks: Tensor?
  /// Below it an image is strange: the quantile of in-distribution images that is `falseAlarms`.
  private(set) var threshold = -Float.infinity
  private var validation: Tensor?
  private let falseAlarms: Double

  /// A gate that knows nothing.
  init(falseAlarms: Double) { self.falseAlarms = falseAlarms }

  /// Numbers kept for the classes and the tasks known, and for the next threshold.
  var count: Int { (classes?.count ?? 0) + (tasks?.count ?? 0) + (validation?.count ?? 0) }

  /// Adds a task: `descriptions` `[images, width]` of its classes' images, and `unseen` ones of them for the threshold.
  mutating func add(_ descriptions: Tensor, labels: [Int32], classes count: Int, unseen: Tensor) {
    let sums = (0..<count).map { number in
      descriptions.gathered(labels.indices.filter { labels[$0] == Int32(number) }.map(Int32.init)).transposed.rowSums
        .reshaped([1, descriptions.shape[1]]).withRowsOfLengthOne
    }
    let own = Tensor.concatenated(sums)
    let task = own.transposed.rowSums.reshaped([1, own.shape[1]]).withRowsOfLengthOne
    classes = classes.map { Tensor.concatenated([$0, own]) } ?? own
    tasks = tasks.map { Tensor.concatenated([$0, task]) } ?? task
    validation = validation.map { Tensor.concatenated([$0, unseen]) } ?? unseen
    let scores = scores(validation ?? unseen).sorted()
    threshold = scores[min(scores.count - 1, Int(falseAlarms * Double(scores.count)))]
  }

  /// The largest cosine of each description to a class.
  func scores(_ descriptions: Tensor) -> [Float] {
    guard let classes else { return [Float](repeating: -.infinity, count: descriptions.shape[0]) }
    let cosines = matmul(descriptions.withRowsOfLengthOne, classes, transposingB: true), width = classes.shape[0]
    return cosines.values.withUnsafeBufferPointer { values in
      stride(from: 0, to: values.count, by: width).map { values[$0..<$0 + width].max() ?? -.infinity }
    }
  }

  /// The nearest task of each description.
  func tasks(_ descriptions: Tensor) -> [Int] {
    guard let tasks else { return [] }
    return matmul(descriptions, tasks, transposingB: true).rowArgmax
  }

  /// The share of descriptions that are strange.
  func strange(_ descriptions: Tensor) -> Double {
    let scores = scores(descriptions)
    return Double(scores.count { $0 < threshold }) / Double(max(1, scores.count))
  }
}

/// The area under the curve of true against false alarms: the chance that one of `strange` scores below one of `known`,
/// a tie counted as half.
func areaUnderCurve(known: [Float], strange: [Float]) -> Double {
  let all = (known.map { ($0, true) } + strange.map { ($0, false) }).sorted { $0.0 < $1.0 }
  var below = 0, sum = 0.0, start = 0
  while start < all.count {
    var end = start
    while end < all.count, all[end].0 == all[start].0 { end += 1 }
    let tied = all[start..<end].count { !$0.1 }
    sum += Double(end - start - tied) * (Double(below) + Double(tied) / 2)
    below += tied
    start = end
  }
  return sum / Double(max(1, known.count)) / Double(max(1, strange.count))
}
