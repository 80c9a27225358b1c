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
}

/// Free lists of buffers by size class, so that a steady training loop asks nothing of the system.
///
/// Classes are an eighth of an octave apart: at most 12.5 % of a buffer is slack. When more would be held than the most
/// that was in use and a quarter more, some of what is kept is returned before more is asked for, so that batches of many
/// sizes do not pile up buffers of many classes.
final class BufferPool: Sendable {
  static let shared = BufferPool()

  struct Statistics: Sendable { var live = 0, peak = 0, reserved = 0, requests = 0 }

  // The addresses are owned by exactly one of: a free list here, or one live `Storage`.
  private struct State: ~Copyable {
    var free = [[UInt]](repeating: [], count: 512)
    var statistics = Statistics()
  }
  private let state = Mutex(State())

  /// From here on buffers are mapped and unmapped directly, so that what is released leaves the process.
  private static let mappingThreshold = 1 << 18
  private static let hugeThreshold = 8 << 20
  private static let slackBytes = 48 << 20

  var statistics: Statistics { state.withLock { $0.statistics } }
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

  func take(_ count: Int) -> UnsafeMutablePointer<Float> {
    let (index, floats) = Self.sizeClass(count)
    let bytes = floats * 4
    return state.withLock { state in
      state.statistics.live += bytes
      state.statistics.peak = max(state.statistics.peak, state.statistics.live)
      if let address = state.free[index].popLast(), let pointer = UnsafeMutablePointer<Float>(bitPattern: address) {
        return pointer
      }
      // Measured from the peak and not from what lives now: a step of training falls back to little and rises again, and
      // memory handed back in between is faulted in anew, page by page.
      let limit = state.statistics.peak + max(Self.slackBytes, state.statistics.peak / 4)
      if state.statistics.reserved + bytes > limit { Self.drain(&state, to: max(0, limit - bytes)) }
      state.statistics.reserved += bytes
      state.statistics.requests += 1
      return Self.allocate(bytes)
    }
  }

  func give(_ pointer: UnsafeMutablePointer<Float>, _ count: Int) {
    let (index, floats) = Self.sizeClass(count)
    state.withLock { state in
      state.statistics.live -= floats * 4
      state.free[index].append(UInt(bitPattern: pointer))
    }
  }

  func releaseCache() { state.withLock { Self.drain(&$0) } }

  /// Returns free buffers to the system until no more than `limit` bytes are held, large ones first: the fewer go, the
  /// fewer are asked for again.
  private static func drain(_ state: inout State, to limit: Int = 0) {
    for index in state.free.indices.reversed() where !state.free[index].isEmpty {
      let bytes = Self.floats(ofClass: index) * 4
      while state.statistics.reserved > limit, let address = state.free[index].popLast() {
        guard let pointer = UnsafeMutableRawPointer(bitPattern: address) else { continue }
        if bytes >= mappingThreshold { munmap(pointer, bytes) } else { Glibc.free(pointer) }
        state.statistics.reserved -= bytes
      }
    }
  }

  private static func floats(ofClass index: Int) -> Int {
    if index < 16 { return index * 16 }
    let exponent = (index - 16) / 8 + 4, steps = (index - 16) % 8 + 8
    return steps * (1 << (exponent - 3)) * 16
  }

  private static func allocate(_ bytes: Int) -> UnsafeMutablePointer<Float> {
    var pointer: UnsafeMutableRawPointer?
    if bytes >= mappingThreshold {
      pointer = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
      if pointer == MAP_FAILED { pointer = nil }
      // Pages of two megabytes where the system has them: a fault brings 512 times as much, and a product's walks through
      // the page tables are shorter. It is a wish, and may fail.
      if let pointer, bytes >= hugeThreshold { madvise(pointer, bytes, MADV_HUGEPAGE) }
    } else if posix_memalign(&pointer, 64, bytes) != 0 {
      pointer = nil
    }
    guard let pointer else { fatalError("out of memory: \(bytes) bytes for a tensor could not be had") }
    return pointer.bindMemory(to: Float.self, capacity: bytes / 4)
  }
}
