import Autodiff
import Testing

struct HistoryTests {
  @Test func `What is frozen has no history`() {
    let a = numbers([3, 4]), frozen = PackedStandIn(matrix: numbers([5, 4], 1))
    #expect(!(a * a + a).softmax.hasHistory)
    #expect(!linear(a, frozen).hasHistory)
    #expect(linear(a.watched, frozen).hasHistory)
    #expect(!a.watched.detached.hasHistory)
  }

  @Test func `A loss has gradient zero where it does not depend`() {
    let a = numbers([3]).watched, b = numbers([2]).watched
    let slopes = gradients(of: (2 * a).sum, at: [a, b, a])
    #expect(slopes.map(\.values) == [[2, 2, 2], [0, 0], [2, 2, 2]])
  }

  @Test func `A gradient nobody asked for does not leak into the next loss`() {
    let a = numbers([3]).watched, b = numbers([3], 1).watched
    _ = gradients(of: (a * b).sum, at: [a])
    #expect(gradients(of: (5 * b).sum, at: [b])[0].values == [5, 5, 5])
  }

  @Test func `An addition keeps neither its numbers nor its history`() {
    // 400 sums of 4 MB each; were one kept a node, 1.6 GB would be live.
    var x = numbers([1]).watched * Tensor.filled(1, [1 << 20])
    let before = Memory.live
    for _ in 0..<400 { x = x + 1.0 * x.detached - x.detached }
    #expect(Memory.live - before < 200 << 20)
    withExtendedLifetime(x) {}
  }

  @Test(arguments: [true, false])
  func `A chain of a million nodes is released without a deep stack`(_ runs: Bool) {
    let x = Tensor([1] as [Float], shape: [1]).watched, one = Tensor([1] as [Float], shape: [1])
    var y = x
    for step in 0..<1_000_000 { y = step % 2 == 0 ? y + one : y - one }
    if runs { #expect(gradients(of: y.sum, at: [x])[0].values == [1]) }
    y = x
  }

  @Test func `A checkpoint changes no bit`() {
    let x = numbers([9, 16]), weights = [numbers([16, 16], 1), numbers([16, 16], 2)], key = RandomKey(seed: 5)
    @Sendable func block(_ x: Tensor, _ w: Tensor, _ key: RandomKey) -> Tensor {
      let dropped = Tensor.uniform(x.shape, in: 0..<1, from: key)
      let mask = Tensor(dropped.values.map { $0 < 0.3 ? 0 : 1 / 0.7 }, shape: x.shape)
      let hidden = matmul(x, w, transposingB: true).silu
      return (hidden * mask + matmul(x, w)).tanh * x
    }
    func run(_ remembers: Bool) -> (loss: Tensor, slopes: [Tensor]) {
      let input = x.watched, w = weights.map(\.watched)
      var y = input
      for layer in 0..<4 {
        let (w, key) = (w[layer % 2], key[layer])
        // The residual is outside: its share arrives at `y` before those of the block.
        y = y + (remembers ? block(y, w, key) : checkpointed([y]) { block($0[0], w, key) })
      }
      let loss = (y * y).sum
      return (loss.detached, gradients(of: loss, at: [input] + w))
    }
    let plain = run(true), again = run(false)
    #expect(bits(plain.loss) == bits(again.loss))
    for (a, b) in zip(plain.slopes, again.slopes) { #expect(bits(a) == bits(b)) }
  }

  @Test func `Checkpoints nest, and may be given one tensor twice`() {
    let x = numbers([4]), w = numbers([4], 1)
    func run(_ nests: Bool) -> [Tensor] {
      let (a, b) = (x.watched, w.watched)
      let y =
        nests
        ? checkpointed([a, a]) { outer in checkpointed([outer[0]]) { ($0[0] * b).silu } * outer[1] }
        : (a * b).silu * a
      return gradients(of: y.sum, at: [a, b])
    }
    for (plain, nested) in zip(run(false), run(true)) { expectClose(nested, plain, 1e-6) }
  }

  @Test func `What a pullback holds of an operand is the operand, bit for bit`() {
    let x = numbers([7, 33]), w = numbers([33], 1)
    let operands = [
      rmsNorm(x.watched, weight: w, epsilon: 0.01), siluProduct(x.watched, numbers([7, 33], 2)), x.watched.silu, x,
    ]
    for operand in operands { #expect(bits(operand.kept()) == bits(operand)) }
  }
}
