import Autodiff
import Testing

/// What can be seen only in a process of its own: that a mistake stops it, and what a whole process asks of the system.
struct ProcessTests {
  @Test func `A history serves one gradient`() async {
    let outcome = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      let x = Tensor([1, 2], shape: [2]).watched, loss = (x * x).sum
      _ = gradients(of: loss, at: [x])
      _ = gradients(of: loss, at: [x])
    }
    expectMessage("this history has already been used for a gradient", outcome)
  }

  @Test func `Shapes that do not broadcast stop with both shapes`() async {
    let outcome = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      _ = Tensor.zeros([2, 3]) + Tensor.zeros([2])
    }
    expectMessage("[2, 3] + [2]: sizes must be equal or 1, aligned at the last axis", outcome)
  }

  @Test func `Matrices that do not chain stop with both shapes`() async {
    let outcome = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      _ = matmul(.zeros([4, 3]), .zeros([4, 3]))
    }
    expectMessage("matmul needs [n, k] and [k, m]; got [4, 3] and [4, 3]", outcome)
  }

  @Test func `A label beyond the classes stops with its number`() async {
    let outcome = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      _ = linearCrossEntropySum(.zeros([1, 2]), head: PackedStandIn(matrix: .zeros([3, 2])), labels: [3])
    }
    expectMessage("label 3 of 3 classes", outcome)
  }

  @Test func `A gradient at what was computed stops`() async {
    let outcome = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      let x = Tensor([1, 2], shape: [2]).watched, y = 2 * x
      _ = gradients(of: y.sum, at: [y])
    }
    expectMessage("not watched itself", outcome)
  }

  @Test func `A steady loop asks nothing of the system`() async {
    await #expect(processExitsWith: .success) {
      // How many threads hold scratch memory at one time is chance.
      Parallel.threads = 1
      var weight = Tensor.normal([64, 300], deviation: 0.1, from: RandomKey(seed: 1))
      // What is made of the input takes a large buffer, all else small ones.
      let x = Tensor.normal([400, 300], from: RandomKey(seed: 2)), labels = (0..<400).map { Int32($0 % 64) }
      let steps = 30
      var requests: [Int] = [], live: [Int] = []
      for _ in 0..<steps {
        let w = weight.watched
        let loss = crossEntropySum(linear(2 * x, weight: w).silu, labels: labels)
        weight = weight - 0.01 * gradients(of: loss, at: [w])[0]
        requests.append(Memory.systemRequests)
        live.append(Memory.live)
      }
      #expect(Set(requests.dropFirst(5)).count == 1)
      #expect(Set(live.dropFirst(5)).count == 1)
    }
  }

  @Test func `A change of some columns keeps those columns of the input, and a frozen product nothing`() async {
    await #expect(processExitsWith: .success) {
      // Sizes that fill their buffers: 256 tokens, 512 inputs, 64 outputs, 16 columns.
      let frozen = PackedStandIn(matrix: numbers([64, 512])), delta = numbers([64, 16], 1).watched
      let source = numbers([256, 512], 2).watched, columns = (0..<16).map { 32 * $0 + 1 }
      _ = Parallel.threads
      let before = Memory.live
      // An addition holds neither operand, so what is alive afterwards is the result and what the product keeps.
      let y = linear(source + 1, frozen, columns: columns, delta: delta)
      #expect(Memory.live - before == 4 * (256 * 64 + 256 * 16))
      let plain = Memory.live
      let z = linear(source + 1, frozen)
      #expect(Memory.live - plain == 4 * 256 * 64)
      #expect(gradients(of: y.sum + z.sum, at: [delta, source]).allSatisfy { $0.isFinite })
    }
  }

  @Test func `What can be had again is not held until the way back`() async {
    await #expect(processExitsWith: .success) {
      let frozen = PackedStandIn(matrix: numbers([8, 1 << 12]))
      let a = numbers([2, 1 << 12], 1).watched, b = numbers([8, 2], 2).watched, up = numbers([256, 1 << 12], 3)
      let before = Memory.live
      // Each gate is 4 MB and is held; the sixteen products, 4 MB each, are not.
      let losses = (0..<16).map { i in
        lowRankLinear(siluProduct(numbers([256, 1 << 12], i).watched, up), frozen, a: a, b: b, scale: 1).sum
      }
      #expect(Memory.live - before < 17 * (4 << 20))
      withExtendedLifetime(losses) {}
    }
  }

  @Test func `The number of threads may change between any two operations`() async {
    await #expect(processExitsWith: .success) {
      let x = Tensor.normal([300, 400], from: RandomKey(seed: 1)), expected = bits(x.silu)
      for round in 0..<400 {
        Parallel.threads = 1 + round % 9
        #expect(bits(x.silu) == expected)
      }
    }
  }

  private func expectMessage(_ text: String, _ outcome: ExitTest.Result?) {
    let output = String(decoding: outcome?.standardErrorContent ?? [], as: UTF8.self)
    #expect(output.contains(text))
  }
}
