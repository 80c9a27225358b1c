import Glibc
import Synchronization

/// Float numbers in memory, 64-byte aligned, taken from a pool and given back to it on release.
///
/// Written only between its creation and its first use as a tensor's numbers; read-only afterwards, which is what
/// makes sharing it between threads safe.
public final class Storage: @unchecked Sendable {
  package let pointer: UnsafeMutablePointer<Float>
  /// The number of floats that may be used.
  public let count: Int

  /// Room for `count` floats, their values not yet set.
  package init(uninitialized count: Int) {
    self.count = count
    pointer = BufferPool.shared.take(count)
  }

  /// Room for `count` floats, all zero.
  package convenience init(zeros count: Int) {
    self.init(uninitialized: count)
    pointer.update(repeating: 0, count: count)
  }

  deinit { BufferPool.shared.give(pointer, count) }
}

/// What tensors hold of memory, in bytes.
public enum Memory {
  /// Bytes in use by tensors now.
  public static var live: Int { BufferPool.shared.statistics.live }
  /// The most bytes that were in use at one time.
  public static var peak: Int { BufferPool.shared.statistics.peak }
  /// Bytes held from the system, in use or kept for reuse.
  public static var reserved: Int { BufferPool.shared.statistics.reserved }
  /// How many times memory had to be asked of the system; constant once training is steady.
  public static var systemRequests: Int { BufferPool.shared.statistics.requests }
  /// Forgets the peak, so that the next one can be measured.
  public static func resetPeak() { BufferPool.shared.resetPeak() }
  /// Returns to the system what is kept for reuse.
  public static func releaseCache() { BufferPool.shared.releaseCache() }

  /// Sets what ends the process where the system has no memory for a tensor of so many bytes, on whichever thread that is;
  /// a trap unless set. Operations on tensors do not throw, and nothing can be computed on without their result.
  public static func whenExhausted(_ end: @escaping @Sendable (Int) -> Never) { exhausted.withLock { $0 = end } }

  fileprivate static func end(asking bytes: Int) -> Never { exhausted.withLock { $0 }(bytes) }

  private static let exhausted = Mutex<@Sendable (Int) -> Never>({
    fatalError("out of memory: \($0) bytes for a tensor could not be had")
  })
}

/// Free lists of small buffers by size class and one ``Arena`` for large ones, so that a steady training loop asks nothing of
/// the system.
///
/// Classes are an eighth of an octave apart: at most 12.5 % of a small buffer is slack. When more would be held than the
/// most that was in use and a quarter more, some of what is kept is returned first, so that batches of many sizes do not
/// pile up memory.
final class BufferPool: Sendable {
  static let shared = BufferPool()

  struct Statistics: Sendable { var live = 0, peak = 0, reserved = 0, requests = 0 }

  // The addresses are owned by exactly one of: a free list here, the arena, or one live `Storage`.
  private struct State: ~Copyable {
    var free = [[UInt]](repeating: [], count: 128)
    var arena = Arena()
    var statistics = Statistics()
  }
  private let state = Mutex(State())

  /// From here on a buffer is cut from the arena.
  static let largeBytes = 1 << 18
  private static let slackBytes = 48 << 20

  var statistics: Statistics {
    state.withLock {
      var all = $0.statistics
      all.reserved += $0.arena.held
      all.requests += $0.arena.requests
      return all
    }
  }
  func resetPeak() { state.withLock { $0.statistics.peak = $0.statistics.live } }

  /// The class of a request and the floats its buffers hold.
  static func sizeClass(_ count: Int) -> (index: Int, floats: Int) {
    let units = max(1, (count + 15) / 16)  // 16 floats are one cache line
    if units < 16 { return (units, units * 16) }
    let exponent = Int.bitWidth - 1 - units.leadingZeroBitCount
    let step = 1 << (exponent - 3)
    let steps = (units + step - 1) / step  // 8...16
    // Sixteen steps are eight of the next octave: the same class.
    return (16 + (exponent - 4) * 8 + (steps - 8), steps * step * 16)
  }

  /// The bytes a buffer of `count` floats takes.
  private static func bytes(_ count: Int) -> Int {
    count * 4 < largeBytes ? sizeClass(count).floats * 4 : (count * 4 + Arena.page - 1) / Arena.page * Arena.page
  }

  func take(_ count: Int) -> UnsafeMutablePointer<Float> {
    let bytes = Self.bytes(count)
    let pointer: UnsafeMutableRawPointer? = state.withLock { state in
      state.statistics.live += bytes
      state.statistics.peak = max(state.statistics.peak, state.statistics.live)
      if count * 4 >= Self.largeBytes {
        guard let (start, fresh) = state.arena.take(bytes) else { return nil }
        if fresh > 0 { Self.keepWithinLimit(&state) }
        return start
      }
      if let address = state.free[Self.sizeClass(count).index].popLast() {
        return UnsafeMutableRawPointer(bitPattern: address)
      }
      var pointer: UnsafeMutableRawPointer?
      guard posix_memalign(&pointer, 64, bytes) == 0 else { return nil }
      state.statistics.reserved += bytes
      state.statistics.requests += 1
      Self.keepWithinLimit(&state)
      return pointer
    }
    guard let pointer else { Memory.end(asking: bytes) }
    return pointer.bindMemory(to: Float.self, capacity: bytes / 4)
  }

  func give(_ pointer: UnsafeMutablePointer<Float>, _ count: Int) {
    let bytes = Self.bytes(count)
    state.withLock { state in
      state.statistics.live -= bytes
      if count * 4 >= Self.largeBytes {
        state.arena.give(pointer, bytes)
      } else {
        state.free[Self.sizeClass(count).index].append(UInt(bitPattern: pointer))
      }
    }
  }

  func releaseCache() { state.withLock { Self.release(&$0, to: 0) } }

  /// Measured from the peak and not from what lives now: a step of training falls back to little and rises again, and
  /// memory handed back in between is faulted in anew, page by page.
  private static func keepWithinLimit(_ state: inout State) {
    release(&state, to: state.statistics.peak + max(slackBytes, state.statistics.peak / 4))
  }

  /// Returns what nobody uses to the system until no more than `limit` bytes are held, large buffers first.
  private static func release(_ state: inout State, to limit: Int) {
    state.arena.release(to: max(0, limit - state.statistics.reserved))
    for index in state.free.indices.reversed() where !state.free[index].isEmpty {
      while state.statistics.reserved + state.arena.held > limit, let address = state.free[index].popLast() {
        guard let pointer = UnsafeMutableRawPointer(bitPattern: address) else { continue }
        Glibc.free(pointer)
        state.statistics.reserved -= floats(ofClass: index) * 4
      }
    }
  }

  private static func floats(ofClass index: Int) -> Int {
    if index < 16 { return index * 16 }
    let exponent = (index - 16) / 8 + 4, steps = (index - 16) % 8 + 8
    return steps * (1 << (exponent - 3)) * 16
  }
}
