import Autodiff
import Testing

@testable import Sequences

struct LogisticRegressionTests {
  /// Forty points of three features around three centres, and a fourth feature that never changes.
  private func points() -> (Tensor, [Int32]) {
    var random = RandomKey(seed: 3).generator
    var values: [Float] = [], labels: [Int32] = []
    let centres: [[Float]] = [[1, 20, 0], [-1, 24, 0.5], [0, 22, -1]]
    for index in 0..<40 {
      labels.append(Int32(index % 3))
      values += centres[index % 3].map { $0 + Float(random.uniform() * 2 - 1) } + [7]
    }
    return (Tensor(values, shape: [40, 4]), labels)
  }

  @Test func `At what it finds the gradient of the penalised loss is zero`() {
    let (x, labels) = points()
    let found = LogisticRegression(x, labels: labels, classes: 3, strength: 1)
    #expect(found.gradient < 1e-4 && found.steps < 100)
    // The loss of a regularised regression is convex: a gradient of zero at the answer in standardised features, worked
    // out here apart, is what makes it the answer.
    let rows = x.values, n = 40
    var mean = [Double](repeating: 0, count: 4), deviation = mean
    for r in 0..<n { for c in 0..<4 { mean[c] += Double(rows[r * 4 + c]) / Double(n) } }
    for r in 0..<n {
      for c in 0..<4 {
        deviation[c] += (Double(rows[r * 4 + c]) - mean[c]) * (Double(rows[r * 4 + c]) - mean[c]) / Double(n)
      }
    }
    deviation = deviation.map { $0.squareRoot() }
    let logits = linear(x, weight: found.weight, bias: found.bias).softmax.values
    for label in 0..<3 {
      for c in 0..<3 {
        var gradient = Double(found.weight.values[label * 4 + c]) * deviation[c] / Double(n)
        for r in 0..<n {
          let error = Double(logits[r * 3 + label]) - (Int(labels[r]) == label ? 1 : 0)
          gradient += error * (Double(rows[r * 4 + c]) - mean[c]) / deviation[c] / Double(n)
        }
        #expect(abs(gradient) < 2e-4, "\(label) \(c) \(gradient)")
      }
      #expect(found.weight.values[label * 4 + 3] == 0)
    }
  }

  @Test func `A weaker pull fits closer`() {
    let (x, labels) = points()
    func loss(_ strength: Double) -> Float {
      let found = LogisticRegression(x, labels: labels, classes: 3, strength: strength)
      return crossEntropySum(linear(x, weight: found.weight, bias: found.bias), labels: labels).scalar
    }
    #expect(loss(100) < loss(1) && loss(1) < loss(0.01))
  }
}
