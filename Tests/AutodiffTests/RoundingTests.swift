import Testing

@testable import Autodiff

/// Rounding of rows, which no central difference can judge.
struct RoundingTests {
  /// What `roundedRows` says of one row, in Double and one number at a time.
  private func reference(_ row: [Float], _ factors: [Float], bits: Int) -> (values: [Double], passes: [Bool]) {
    let levels = Double((1 << bits) - 1), u = zip(row, factors).map { Double($0) / Double($1) }
    let low = min(0, u.min() ?? 0), high = max(0, u.max() ?? 0), step = (high - low) / levels
    guard step > 0 else { return (row.map(Double.init), row.map { _ in true }) }
    let zero = (-low / step).rounded(.toNearestOrEven)
    let codes = u.map { ($0 / step).rounded(.toNearestOrEven) + zero }
    return (
      zip(codes, factors).map { step * (min(max($0, 0), levels) - zero) * Double($1) },
      codes.map { (0...levels).contains($0) }
    )
  }

  @Test(arguments: [4, 6, 8], [1, 5, 8, 17, 300])
  func `A row is rounded to evenly spaced numbers of its own`(_ bits: Int, _ width: Int) {
    let x = Tensor.normal([40, width], from: RandomKey(seed: 1)[width])
    let factors = Tensor((0..<width).map { Float($0 % 7 == 3 ? 1 + $0 % 4 : 1) }, shape: [width])
    let rounded = roundedRows(x, bits: bits, factors: factors)
    var apart = 0
    for row in 0..<40 {
      let source = Array(x.values[row * width..<(row + 1) * width])
      let wanted = reference(source, factors.values, bits: bits).values
      let u = zip(source, factors.values).map { $0 / $1 }
      let step = Double(max(0, u.max() ?? 0) - min(0, u.min() ?? 0)) / Double((1 << bits) - 1)
      for (i, value) in rounded.values[row * width..<(row + 1) * width].enumerated() {
        // Where a number lies halfway between two, single precision may take the other.
        let error = abs(Double(value) - wanted[i]), factor = Double(factors.values[i])
        if error > 1e-5 { apart += 1 }
        #expect(error < 1e-5 || abs(error - step * factor) < 1e-4)
        #expect(abs(value - source[i]) <= Float((0.5 * step * factor) * 2.0001))
      }
    }
    #expect(apart <= 2)
  }

  @Test func `Rows by hand`() {
    let row = Tensor([-1, 0, 0.4, 2], shape: [1, 4])
    // s = 3 / 3, z = 1; codes 0, 1, 0 + 1, 3.
    #expect(roundedRows(row, bits: 2).values == [-1, 0, 0, 2])
    // u = −1, 0, .4, 1; s = 2/3, z = round(1.5) = 2; codes −2 + 2, 2, round(.6) + 2 = 3, round(1.5) + 2 = 4 → 3.
    let halved = roundedRows(row, bits: 2, factors: Tensor([1, 1, 1, 2], shape: [4])).values
    for (a, b) in zip(halved, [-4.0 / 3, 0, 2.0 / 3, 4.0 / 3]) { #expect(abs(Double(a) - b) < 1e-6) }
  }

  @Test func `The gradient passes where the clamp does not bind, and nowhere else`() {
    // s = 1 and z = round(1.5) = 2: the largest number has the code round(1.5) + 2 = 4 of 0...3.
    let x = Tensor([-1.5, 0, 0.7, 1.5, 0, 0, 3, 0], shape: [2, 4]).watched
    let slope = Tensor([5, 6, 7, 8, 9, 10, 11, 12], shape: [2, 4])
    let rounded = roundedRows(x, bits: 2)
    #expect(rounded.values == [-2, 0, 1, 1, 0, 0, 3, 0])
    #expect(gradients(of: (rounded * slope).sum, at: [x])[0].values == [5, 6, 7, 0, 9, 10, 11, 12])
    // It adds to a share that is there already.
    let both = (roundedRows(x, bits: 2) * slope).sum + (2 * x).sum
    #expect(gradients(of: both, at: [x])[0].values == [7, 8, 9, 2, 11, 12, 13, 14])
  }

  @Test func `Rows of equal numbers, of zeros and of tiny numbers are kept`() {
    for value in [5, -3, 1e-30, 0, 70_000] as [Float] {
      let row = Tensor.filled(value, [1, 11])
      let error = zip(roundedRows(row, bits: 4).values, row.values).reduce(0) { max($0, abs($1.0 - $1.1)) }
      #expect(error <= abs(value) * 1e-6, "\(value)")
    }
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity])
  func `What is not finite is not hidden`(_ stranger: Float) {
    for place in [0, 9] {
      var row = [Float](repeating: 1, count: 10)
      row[place] = stranger
      #expect(!roundedRows(Tensor(row, shape: [1, 10]), bits: 8).isFinite)
    }
  }

  @Test func `Nothing is kept that can be had again`() {
    let x = numbers([3, 6]).watched, weight = Tensor.filled(1, [6])
    let norm = rmsNorm(x, weight: weight, epsilon: 0.1)
    for result in [roundedRows(norm, bits: 4), norm.averagingChannels([[0, 2]])] {
      guard case .again(let compute) = result.kept else {
        Issue.record("the result is kept")
        continue
      }
      #expect(bits(compute()) == bits(result))
    }
  }

  @Test func `Bits do not depend on the number of threads`() {
    let before = Parallel.threads
    defer { Parallel.threads = before }
    let x = numbers([90, 700]).watched, direction = numbers([90, 700], 3)
    func run(_ threads: Int) -> [[UInt32]] {
      Parallel.threads = threads
      let result = roundedRows(x, bits: 4)
      return [bits(result), bits(gradients(of: (result * direction).sum, at: [x])[0])]
    }
    #expect(run(1) == run(3))
  }
}
