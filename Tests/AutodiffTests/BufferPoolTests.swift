import Testing

@testable import Autodiff

/// The pool that tensors take their memory from.
struct BufferPoolTests {
  private let pool = BufferPool()

  @Test func `A buffer holds what was asked for, with at most an eighth more beyond a few cache lines`() {
    for count in Array(1...3000) + stride(from: 3001, to: 40_000_000, by: 999_983) {
      let (index, floats) = BufferPool.sizeClass(count)
      #expect(floats >= count && floats <= max(256, count * 9 / 8 + 16), "\(count)")
      #expect(BufferPool.sizeClass(floats).index == index, "\(count)")
    }
  }

  @Test func `What was given back is taken again without asking the system`() {
    let first = pool.take(1000)
    pool.give(first, 1000)
    #expect(pool.take(1010) == first)
    #expect(pool.statistics.requests == 1)
    pool.give(first, 1010)
    pool.releaseCache()
    #expect(pool.statistics.reserved == 0 && pool.statistics.live == 0)
  }

  @Test func `Buffers of ever new sizes do not pile up, and those in use keep their numbers`() {
    let kept = pool.take(1 << 20)
    kept.update(repeating: 3, count: 1 << 20)
    var most = 0
    // Each of another class, four to forty megabytes; all together they would be over a gigabyte.
    for eighths in 8..<80 {
      let count = eighths << 17, buffer = pool.take(count)
      (buffer[0], buffer[count - 1]) = (1, 1)
      pool.give(buffer, count)
      most = max(most, pool.statistics.reserved)
      let allowance = max(48 << 20, pool.statistics.peak / 4)
      #expect(pool.statistics.reserved <= pool.statistics.peak + allowance)
    }
    #expect(most > 50 << 20, "nothing was kept for reuse")
    #expect((0..<1 << 20).allSatisfy { kept[$0] == 3 })
    pool.releaseCache()
    #expect(pool.statistics.reserved == pool.statistics.live)
    pool.give(kept, 1 << 20)
    pool.releaseCache()
    #expect(pool.statistics.reserved == 0)
  }
}
