import Autodiff
import Testing

struct RandomTests {
  private let key = RandomKey(seed: 42)

  @Test func `The same key gives the same numbers`() {
    #expect(Tensor.normal([100], from: key["a"]) == Tensor.normal([100], from: RandomKey(seed: 42)["a"]))
    // A longer draw begins with a shorter one.
    #expect(
      Tensor.uniform([50], in: 0..<1, from: key).values
        == Tensor.uniform([99], in: 0..<1, from: key).rows(0..<50).values)
  }

  @Test func `Streams differ by name, number and seed`() {
    let keys =
      [key, key["a"], key["b"], key["a"]["b"], key["b"]["a"], key["ab"], RandomKey(seed: 43)]
      + (0..<1000).map { key[$0] }
    #expect(Set(keys.map(\.bits)).count == keys.count)
    #expect(
      Set(
        keys.map {
          var g = $0.generator; return g.next()
        }
      ).count == keys.count)
  }

  @Test(arguments: [0, 1, 2, 1000])
  func `A permutation has every number once`(_ count: Int) {
    let order = key["order"].permutation(count)
    #expect(order.sorted() == Array(0..<count))
    #expect(order == key["order"].permutation(count))
    #expect(count < 1000 || order != Array(0..<count))
  }

  @Test func `Moments are those of the distribution`() {
    let n = 200_000
    func moments(_ x: Tensor) -> (mean: Double, variance: Double, fourth: Double) {
      let values = x.values.map(Double.init), mean = values.reduce(0, +) / Double(n)
      let squares = values.map { ($0 - mean) * ($0 - mean) }
      return (mean, squares.reduce(0, +) / Double(n), squares.map { $0 * $0 }.reduce(0, +) / Double(n))
    }
    // Five standard errors of 200,000 draws: of a mean 5 / √n = 0.011, of a variance √2 and of a fourth moment √96 more.
    let normal = moments(.normal([n], deviation: 1, from: key["normal"]))
    #expect(abs(normal.mean) < 0.011 && abs(normal.variance - 1) < 0.016 && abs(normal.fourth - 3) < 0.11)
    // Even on [−1, 3): mean 1, variance 16/12, fourth moment 4⁴/80.
    let even = moments(.uniform([n], in: -1..<3, from: key["uniform"]))
    #expect(abs(even.mean - 1) < 0.013 && abs(even.variance - 4.0 / 3) < 0.014 && abs(even.fourth - 3.2) < 0.06)
  }

  @Test func `A uniform number never reaches the upper bound`() {
    // A draw rounds up to 1 once in 2²⁵; among 2²⁸ there are about eight.
    for part in 0..<64 {
      #expect(Tensor.uniform([1 << 22], in: 0..<1, from: key[part]).withValues { $0.max() ?? 1 } < 1)
    }
  }
}
