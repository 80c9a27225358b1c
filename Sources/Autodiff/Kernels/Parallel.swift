import COpenBLAS
import Glibc
import Synchronization

/// How many threads compute. One pool serves everything; results do not depend on its size.
public enum Parallel {
  /// The number of threads that share the work, the caller's included; the machine's processors at first.
  ///
  /// Changing it changes no result: work is cut into tiles by its size alone, and partial sums are combined in the order
  /// of the tiles.
  public static var threads: Int {
    get { WorkerPool.shared.threads.load(ordering: .relaxed) }
    set { WorkerPool.shared.resize(max(1, newValue)) }
  }

  /// Calls `body` once for each of `0..<tiles`, on several threads, and returns when all are done.
  ///
  /// A call from within a tile, or while another thread's call is under way, runs on the calling thread alone.
  package static func forEach(_ tiles: Int, _ body: (Int) -> Void) {
    if tiles == 1 { return body(0) }
    if tiles > 0 { WorkerPool.shared.run(tiles, body) }
  }

  /// Cuts `0..<count` into ranges of `grain` and calls `body` for each, on several threads.
  package static func forRanges(_ count: Int, grain: Int, _ body: (Range<Int>) -> Void) {
    let grain = max(1, grain)
    forEach((count + grain - 1) / grain) { tile in body(tile * grain..<min(count, (tile + 1) * grain)) }
  }
}

/// Persistent worker threads that take tiles from a shared counter; they spin briefly for the next job, then sleep.
///
/// `body` and `tiles` are written by the one caller that holds `turn`, before the generation is advanced with release
/// order, and read by workers after they have seen the advance; that is why the class may be called Sendable.
private final class WorkerPool: @unchecked Sendable {
  static let shared = WorkerPool()

  let threads = Atomic<Int>(1)
  private let generation = Atomic<Int>(0)
  private let nextTile = Atomic<Int>(0)
  private let running = Atomic<Int>(0)
  private let sleeping = Atomic<Int>(0)
  private let turn = Atomic<Bool>(false)
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let wake = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private var body: UnsafePointer<(Int) -> Void>?
  private var tiles = 0
  private var workers = 0

  // About 20 µs: longer starves whoever shares the processor, shorter pays a wake-up for every small kernel.
  private static let spins = 6000

  private init() {
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(wake, nil)
    // OpenBLAS's own threads would compete with ours for the same processors, and its results would depend on them.
    openblas_set_num_threads(1)
    resize(max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
  }

  func resize(_ count: Int) {
    while !turn.compareExchange(expected: false, desired: true, ordering: .acquiring).exchanged { sched_yield() }
    defer { turn.store(false, ordering: .releasing) }
    while workers < count - 1 {
      workers += 1
      let start = Unmanaged.passRetained(Start(pool: self, index: workers, seen: generation.load(ordering: .relaxed)))
      var thread = pthread_t()
      let failed = pthread_create(
        &thread, nil,
        { argument in
          guard let argument else { return nil }
          let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
          start.pool.work(start.index, seen: start.seen)
          return nil
        }, start.toOpaque())
      if failed != 0 {
        start.release()
        workers -= 1
        break
      }
      pthread_detach(thread)
    }
    threads.store(min(count, workers + 1), ordering: .relaxed)
  }

  private final class Start {
    let pool: WorkerPool, index: Int, seen: Int
    init(pool: WorkerPool, index: Int, seen: Int) { (self.pool, self.index, self.seen) = (pool, index, seen) }
  }

  /// Works from the first job after `seen` on: a late worker that took an old one would be counted out of the next.
  private func work(_ index: Int, seen: Int) {
    var seen = seen
    while true {
      var spun = 0
      while generation.load(ordering: .acquiring) == seen && spun < Self.spins { spun &+= 1 }
      if generation.load(ordering: .acquiring) == seen {
        pthread_mutex_lock(mutex)
        sleeping.add(1, ordering: .sequentiallyConsistent)
        while generation.load(ordering: .sequentiallyConsistent) == seen { pthread_cond_wait(wake, mutex) }
        sleeping.subtract(1, ordering: .sequentiallyConsistent)
        pthread_mutex_unlock(mutex)
      }
      seen = generation.load(ordering: .acquiring)
      // A worker beyond the wanted number takes no tiles, but is counted out like the others.
      if index < threads.load(ordering: .relaxed), let body { takeTiles(body) }
      running.subtract(1, ordering: .releasing)
    }
  }

  private func takeTiles(_ body: UnsafePointer<(Int) -> Void>) {
    while true {
      let tile = nextTile.add(1, ordering: .relaxed).oldValue
      if tile >= tiles { return }
      body.pointee(tile)
    }
  }

  func run(_ count: Int, _ task: (Int) -> Void) {
    let mine =
      threads.load(ordering: .relaxed) > 1
      && turn.compareExchange(expected: false, desired: true, ordering: .acquiring).exchanged
    guard mine else {
      for tile in 0..<count { task(tile) }
      return
    }
    withoutActuallyEscaping(task) { task in
      withUnsafePointer(to: task) { pointer in
        (body, tiles) = (pointer, count)
        nextTile.store(0, ordering: .relaxed)
        running.store(workers, ordering: .relaxed)
        generation.add(1, ordering: .sequentiallyConsistent)
        if sleeping.load(ordering: .sequentiallyConsistent) > 0 {
          pthread_mutex_lock(mutex)
          pthread_cond_broadcast(wake)
          pthread_mutex_unlock(mutex)
        }
        takeTiles(pointer)
        var spun = 0
        while running.load(ordering: .acquiring) != 0 {
          spun &+= 1
          if spun > Self.spins { sched_yield() }
        }
        body = nil
      }
    }
    turn.store(false, ordering: .releasing)
  }
}
