import Autodiff
import Networks
import Testing

@testable import Adapters

struct SplitMatrixTests {
  @Test(arguments: [(1, 1), (7, 3), (12, 12), (100, 7), (768, 4), (1000, 256)])
  func `The masks of all parts add up to one everywhere, and their sizes differ by one at most`(count: Int, parts: Int)
  {
    let partition = Partition(count, into: parts, from: RandomKey(seed: 1))
    let ones = Tensor.filled(1, [count])
    var cover = [Float](repeating: 0, count: count)
    for part in 0..<parts {
      let mask = partition.masking(ones, to: part).values
      #expect(mask.allSatisfy { $0 == 0 || $0 == 1 })
      #expect(mask.count { $0 == 1 } == (part + 1) * count / parts - part * count / parts)
      for i in cover.indices { cover[i] += mask[i] }
    }
    #expect(cover.allSatisfy { $0 == 1 })
  }

  @Test func `Another key deals the entries otherwise`() {
    let ones = Tensor.filled(1, [100])
    let a = Partition(100, into: 4, from: RandomKey(seed: 1)), b = Partition(100, into: 4, from: RandomKey(seed: 2))
    #expect(a.masking(ones, to: 0) != b.masking(ones, to: 0))
    #expect(a.masking(ones, to: 0) == Partition(100, into: 4, from: RandomKey(seed: 1)).masking(ones, to: 0))
  }

  @Test func `A mask cuts the gradient as it cuts the numbers, and adds it to what is there`() {
    let partition = Partition(35, into: 3, from: RandomKey(seed: 1))
    let x = Tensor.normal([5, 7], from: RandomKey(seed: 2)).watched
    let direction = Tensor.normal([5, 7], from: RandomKey(seed: 3))
    let loss = (partition.masking(x, to: 1) * direction).sum + (2 * x).sum
    let slope = gradients(of: loss, at: [x])[0]
    // The operation is linear, so its derivative along e is itself at e: no differences are needed.
    #expect(slope == partition.masking(direction, to: 1) + 2)
  }

  /// A start that is not zero, and changes that are not.
  private func matrix(_ parts: Int) -> SplitMatrix {
    var matrix = SplitMatrix(
      .normal([6, 9], from: RandomKey(seed: 1)), role: .factorA, parts: parts, random: RandomKey(seed: 2))
    matrix.forEachParameter { if $0 == "change" { $1.value = .normal([6, 9], from: RandomKey(seed: 3)) } }
    return matrix
  }

  @Test(arguments: [2, 3, 7, 54]) func `The merged matrix is the mean of the modules`(_ parts: Int) {
    let matrix = matrix(parts)
    let sum = (1..<parts).reduce(matrix(0)) { $0 + matrix($1) }
    // N terms around 1, each rounded once: N × 2⁻²⁴, divided by N, with room for numbers up to 4.
    expectWithin((1 / Float(parts)) * sum, matrix(nil), 1e-6)
    #expect(matrix.settled(nil) == matrix(nil))
    #expect(matrix.settled.partition == nil && matrix.settled.change == nil)
  }

  @Test func `A module equals the start outside its mask`() {
    let matrix = matrix(4), start = matrix.weight.value
    let ones = Tensor.filled(1, [6, 9])
    for part in 0..<4 {
      let mask = matrix.partition!.masking(ones, to: part).values
      for (i, (now, before)) in zip(matrix(part).values, start.values).enumerated() {
        #expect((now == before) == (mask[i] == 0))
      }
    }
  }

  /// The authors' way of keeping modules: N dense copies, the gradient of the one drawn multiplied by its mask.
  ///
  /// Plain loops over an objective whose gradient is known, so that nothing is shared with what is tested.
  private struct DenseCopies {
    var copies: [[Float]]
    var first: [[Float]], second: [[Float]]
    let masks: [[Float]]

    mutating func step(_ part: Int, gradient: [Float], t: Int, rate: Float, isAdam: Bool) {
      for copy in copies.indices {
        for i in gradient.indices {
          let g = copy == part ? gradient[i] * masks[copy][i] : 0
          guard isAdam else {
            copies[copy][i] -= rate * g
            continue
          }
          first[copy][i] = 0.9 * first[copy][i] + 0.1 * g
          second[copy][i] = 0.999 * second[copy][i] + 0.001 * g * g
          var (a, b) = (Float(1), Float(1))
          for _ in 0..<t { (a, b) = (a * 0.9, b * 0.999) }
          copies[copy][i] -= rate / (1 - a) * first[copy][i] / ((second[copy][i] / (1 - b)).squareRoot() + 1e-8)
        }
      }
    }
  }

  @Test(arguments: [false, true])
  func `One matrix of changes trains as N dense copies with masked gradients do`(isAdam: Bool) {
    let parts = 3, rate: Float = 0.05
    var matrix = SplitMatrix(
      .normal([4, 5], from: RandomKey(seed: 1)), role: .factorA, parts: parts, random: RandomKey(seed: 2))
    let start = matrix.weight.value.values, target = Tensor.normal([4, 5], from: RandomKey(seed: 4))
    let zeros = [[Float]](repeating: [Float](repeating: 0, count: 20), count: parts)
    let masks = (0..<parts).map { matrix.partition!.masking(.filled(1, [4, 5]), to: $0).values }
    var dense = DenseCopies(
      copies: [[Float]](repeating: start, count: parts), first: zeros, second: zeros, masks: masks)
    var m: Tensor?, v: Tensor?
    for t in 1...30 {
      let part = (t * 7) % parts
      // ½ ‖W − T‖²: the gradient of a copy is W − T.
      let gradient = zip(dense.copies[part], target.values).map { $0 - $1 }
      let (_, slopes) = valueAndGradients(of: matrix) { matrix in
        let distance = matrix(part) - target
        return 0.5 * (distance * distance).sum
      }
      #expect(slopes.count == 1)
      matrix.forEachParameter { name, parameter in
        guard name == "change" else { return }
        if isAdam {
          let rule = AdamRule(
            decay: 1, beta1: 0.9, beta2: 0.999, size: rate / (1 - power(0.9, t)),
            correction: 1 / (1 - power(0.999, t)).squareRoot(), epsilon: 1e-8)
          let next = adamStep(parameter.value, slopes[0], m: m, v: v, rule)
          (parameter.value, m, v) = (next.value, next.m, next.v)
        } else {
          parameter.value = parameter.value + (-rate) * slopes[0]
        }
      }
      dense.step(part, gradient: gradient, t: t, rate: rate, isAdam: isAdam)
    }
    for part in 0..<parts {
      // Thirty steps of Float in another order of operations.
      expectWithin(matrix(part), Tensor(dense.copies[part], shape: [4, 5]), 2e-5)
    }
    let mean = (0..<20).map { i in dense.copies.reduce(0) { $0 + $1[i] } / Float(parts) }
    expectWithin(matrix(nil), Tensor(mean, shape: [4, 5]), 2e-5)
  }

  @Test func `A draw is even, and none is made where the matrix is whole or nothing is random`() {
    let split = matrix(4)
    var counts = [0, 0, 0, 0]
    for i in 0..<4000 { counts[split.draw(RandomKey(seed: 5)[i])!] += 1 }
    // Binomial with p = ¼: deviation 27; five of them.
    #expect(counts.allSatisfy { abs($0 - 1000) < 137 })
    #expect(split.draw(nil) == nil && matrix(1).draw(RandomKey(seed: 5)) == nil)
  }
}

private func power(_ base: Float, _ exponent: Int) -> Float { (0..<exponent).reduce(1) { p, _ in p * base } }
