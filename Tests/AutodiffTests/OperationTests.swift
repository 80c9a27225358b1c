import Autodiff
import Testing

@Suite(.serialized) struct OperationTests {
  @Test(arguments: everyOperation)
  func `A gradient is what central differences say`(_ specimen: Specimen) {
    let key = RandomKey(seed: 11), plain = specimen.apply(specimen.operands)
    let direction = Tensor.normal(plain.shape, from: key["direction"])
    let (result, slopes) = specimen.run(direction)
    #expect(result == plain)
    #expect(!plain.hasHistory)

    /// ⟨direction, f(operands + step · change)⟩ in Double, so that only f itself is rounded to Float.
    func loss(_ changes: [[Float]], _ step: Float) -> Double {
      let moved = zip(specimen.operands, changes).map { operand, change in
        Tensor(zip(operand.values, change).map { $0 + step * $1 }, shape: operand.shape)
      }
      return zip(specimen.apply(moved).values, direction.values).reduce(0) { $0 + Double($1.0) * Double($1.1) }
    }
    /// Central differences at two steps, combined so that the error falls with the fourth power of the step.
    func slope(_ changes: [[Float]]) -> Double {
      let h: Float = 1.0 / 64
      let near = loss(changes, h) - loss(changes, -h), far = loss(changes, 2 * h) - loss(changes, -2 * h)
      return (8 * near - far) / (12 * Double(h))
    }

    // Float rounds each of n results by 2⁻²⁴ of its size, at random: √n · 2⁻²⁴ / h, with some tenfold for sums inside.
    let size = zip(plain.values, direction.values).reduce(0) { $0 + Double($1.0 * $1.1) * Double($1.0 * $1.1) }
      .squareRoot()
    let noise = 64 * 10 * size * 0x1p-24
    for (index, gradient) in slopes.enumerated() {
      let length = gradient.values.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
      // Every coordinate moves by ± one step: the derivative is then of the size of the gradient's length.
      var generator = key["signs"][index].generator
      var changes = specimen.operands.map { [Float](repeating: 0, count: $0.count) }
      for i in changes[index].indices { changes[index][i] = generator.next() & 1 == 0 ? 1 : -1 }
      let along = zip(gradient.values, changes[index]).reduce(0) { $0 + Double($1.0) * Double($1.1) }
      #expect(abs(slope(changes) - along) <= 2e-3 * length + noise, "operand \(index) along a direction")
      for i in Set([0, gradient.count / 2, gradient.count - 1, gradient.count / 3]) {
        changes[index] = [Float](repeating: 0, count: gradient.count)
        changes[index][i] = 1
        let one = slope(changes), tolerance = 2e-3 * abs(one) + noise
        #expect(abs(one - Double(gradient.values[i])) <= tolerance, "operand \(index) at \(i)")
      }
    }
  }

  @Test(arguments: everyOperation)
  func `Bits do not depend on the number of threads nor on the run`(_ specimen: Specimen) {
    let before = Parallel.threads
    defer { Parallel.threads = before }
    Parallel.threads = 1
    let first = specimen.run()
    for threads in [1, 2, 3, 5] {
      Parallel.threads = threads
      let again = specimen.run()
      #expect(bits(again.result) == bits(first.result), "\(threads) threads")
      for (a, b) in zip(again.gradients, first.gradients) { #expect(bits(a) == bits(b), "\(threads) threads") }
    }
  }

  @Test(arguments: everyOperation)
  func `A gradient adds to one that is there already`(_ specimen: Specimen) {
    // f(x) beside x itself: the operand's place holds a share when the operation's own arrives, or gets one after it.
    let watched = specimen.operands.map(\.watched), result = specimen.apply(watched)
    let direction = Tensor.normal(result.shape, from: RandomKey(seed: 99))
    let extra = watched.reduce(Tensor(0)) { $0 + (3 * $1).sum }
    let together = gradients(of: (result * direction).sum + extra, at: watched)
    for (both, alone) in zip(together, specimen.run(direction).gradients) {
      // One rounding of the sum, and of sums that start elsewhere: a few parts in 2²⁴ of the largest term.
      expectClose(both, alone + 3, 1e-5)
    }
  }
}

/// The numbers' bit patterns, which tell −0 from 0 and NaN from a number.
func bits(_ tensor: Tensor) -> [UInt32] { tensor.values.map(\.bitPattern) }

/// Expects `a` to differ from `b` by at most `tolerance` of b's largest number (or of 1).
func expectClose(_ a: Tensor, _ b: Tensor, _ tolerance: Float, sourceLocation: SourceLocation = #_sourceLocation) {
  #expect(a.shape == b.shape, sourceLocation: sourceLocation)
  let scale = b.values.reduce(Float(1)) { max($0, abs($1)) }
  let worst = zip(a.values, b.values).reduce(Float(0)) { $1.0.isFinite ? max($0, abs($1.0 - $1.1)) : .infinity }
  #expect(worst <= tolerance * scale, "off by \(worst) at a scale of \(scale)", sourceLocation: sourceLocation)
}
