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

  @Test func `Buffers of ever new sizes share one stretch of memory, and those in use keep their numbers`() {
    let kept = pool.take(1 << 20)
    kept.update(repeating: 3, count: 1 << 20)
    // Four to forty megabytes; all together they would be over a gigabyte.
    for eighths in 8..<80 {
      let count = eighths << 17, buffer = pool.take(count)
      (buffer[0], buffer[count - 1]) = (1, 1)
      pool.give(buffer, count)
      #expect(pool.statistics.reserved == pool.statistics.peak)
    }
    #expect((0..<1 << 20).allSatisfy { kept[$0] == 3 })
    pool.releaseCache()
    #expect(pool.statistics.reserved == pool.statistics.live)
    pool.give(kept, 1 << 20)
    pool.releaseCache()
    #expect(pool.statistics.reserved == 0)
  }

  @Test func `No more is held than the most that was in use and an allowance`() {
    // Every other buffer stays in use, so that what is given back between them serves none that is larger.
    var used: [(UnsafeMutablePointer<Float>, Int)] = [], reserved = 0
    for size in 1...40 {
      let count = size << 18, pair = (pool.take(count), pool.take(count))
      pool.give(pair.0, count)
      used.append((pair.1, count))
      let statistics = pool.statistics
      #expect(statistics.reserved <= statistics.peak + max(48 << 20, statistics.peak / 4))
      reserved = max(reserved, statistics.reserved - statistics.live)
    }
    #expect(reserved > 40 << 20, "nothing was kept for reuse")
    for (buffer, count) in used { pool.give(buffer, count) }
    #expect(pool.statistics.live == 0)
  }

  @Test func `No two buffers in use share memory, whatever the order in which they come and go`() {
    var key = RandomKey(seed: 5), used: [(pointer: UnsafeMutablePointer<Float>, count: Int, mark: Float)] = []
    for round in 0..<2000 {
      key = key[round]
      if used.count > 12 || (!used.isEmpty && Int(key.word(0) % 3) == 0) {
        let (pointer, count, mark) = used.remove(at: Int(key[1].word(0) % UInt64(used.count)))
        #expect(stride(from: 0, to: count, by: 1021).allSatisfy { pointer[$0] == mark } && pointer[count - 1] == mark)
        pool.give(pointer, count)
      } else {
        let count = 60_000 + Int(key[2].word(0) % 400_000), pointer = pool.take(count)
        #expect(UInt(bitPattern: pointer) % 64 == 0)
        pointer.update(repeating: Float(round), count: count)
        used.append((pointer, count, Float(round)))
      }
      if round % 500 == 0 { pool.releaseCache() }
    }
    #expect(pool.statistics.live <= pool.statistics.reserved)
    for (pointer, count, _) in used { pool.give(pointer, count) }
    #expect(pool.statistics.live == 0)
    pool.releaseCache()
    #expect(pool.statistics.reserved == 0)
  }
}
