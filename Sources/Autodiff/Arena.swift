import Glibc

/// Address space from which large buffers are cut; what is given back joins its neighbours.
///
/// A step of training asks for buffers of many sizes, one after another. Kept by size, each size would hold memory of its
/// own, or hand it to the system and have it back page by page, zeroed anew; cut from one stretch, any of them serves all.
struct Arena {
  /// Bytes nobody uses. Those at its ends were in use and are still held from the system; those between are not.
  private struct Hole {
    var start: UInt
    var low: Int, free: Int, high: Int

    var size: Int { low + free + high }
    var held: Int { low + high }
    var end: UInt { start + UInt(size) }

    /// How many of `count` bytes off one end are not held.
    func fresh(_ count: Int, offHighEnd: Bool) -> Int { min(free, max(0, count - (offHighEnd ? high : low))) }

    /// Takes `count` bytes off the end where fewer of them are not held: where they start, and how many were not.
    mutating func cut(_ count: Int) -> (start: UInt, fresh: Int) {
      let offHighEnd = fresh(count, offHighEnd: true) < fresh(count, offHighEnd: false)
      let near = min(count, offHighEnd ? high : low), fresh = min(count - near, free), far = count - near - fresh
      let first = offHighEnd ? end - UInt(count) : start
      if !offHighEnd { start += UInt(count) }
      (low, free, high) =
        offHighEnd ? (low - far, free - fresh, high - near) : (low - near, free - fresh, high - far)
      return (first, fresh)
    }
  }

  /// By address; no two touch.
  private var holes: [Hole] = []
  /// Bytes held from the system, in use or not.
  private(set) var held = 0
  /// How many times memory had to be had of the system.
  private(set) var requests = 0

  private static let regionBytes = 256 << 20
  private static let largePage = 2 << 20
  /// What the system takes memory back by; buffers are cut in whole ones, so that none shares one with what is handed back.
  static let page = max(4096, sysconf(Int32(_SC_PAGESIZE)))

  /// `count` bytes, a multiple of a page, from the hole that needs the fewest new pages, of these the smallest.
  ///
  /// - Returns: the first byte, at the start of a page, and how many bytes had to be had of the system; nil where it has no
  ///   address space left.
  mutating func take(_ count: Int) -> (start: UnsafeMutableRawPointer, fresh: Int)? {
    var best = best(for: count)
    if best == nil && (map(max(count, Self.regionBytes)) || map(count)) { best = self.best(for: count) }
    guard let best else { return nil }
    let (start, fresh) = holes[best].cut(count)
    if holes[best].size == 0 { holes.remove(at: best) }
    held += fresh
    if fresh > 0 { requests += 1 }
    return UnsafeMutableRawPointer(bitPattern: start).map { ($0, fresh) }
  }

  private func best(for count: Int) -> Int? {
    func cost(_ hole: Hole) -> (Int, Int) {
      (min(hole.fresh(count, offHighEnd: false), hole.fresh(count, offHighEnd: true)), hole.size)
    }
    return holes.indices.lazy.filter { holes[$0].size >= count }.min { cost(holes[$0]) < cost(holes[$1]) }
  }

  /// Gives back `count` bytes that ``take(_:)`` gave.
  mutating func give(_ start: UnsafeMutableRawPointer, _ count: Int) {
    insert(Hole(start: UInt(bitPattern: start), low: count, free: 0, high: 0))
  }

  /// Hands what nobody uses to the system until no more than `limit` bytes are held, of large holes first: so little that is
  /// asked for again is in pieces.
  mutating func release(to limit: Int) {
    guard held > limit else { return }
    for index in holes.indices.sorted(by: { holes[$0].held > holes[$1].held }) where held > limit {
      // From between its ends, so that a hole stays of one form.
      let low = part(of: holes[index].low, beyond: limit)
      if handBack(holes[index].start + UInt(holes[index].low - low), low) {
        (holes[index].low, holes[index].free) = (holes[index].low - low, holes[index].free + low)
      }
      let high = part(of: holes[index].high, beyond: limit)
      if handBack(holes[index].end - UInt(holes[index].high), high) {
        (holes[index].high, holes[index].free) = (holes[index].high - high, holes[index].free + high)
      }
    }
  }

  /// As much of `count` bytes as is held beyond the limit, in steps of a large page.
  private func part(of count: Int, beyond limit: Int) -> Int {
    min(count, (max(0, held - limit) + Self.largePage - 1) / Self.largePage * Self.largePage)
  }

  /// Whether the system has taken the bytes back; what is locked into memory it leaves.
  private mutating func handBack(_ start: UInt, _ count: Int) -> Bool {
    guard count > 0, let start = UnsafeMutableRawPointer(bitPattern: start), madvise(start, count, MADV_DONTNEED) == 0
    else { return false }
    held -= count
    return true
  }

  private mutating func map(_ count: Int) -> Bool {
    guard let start = mmap(nil, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
      start != MAP_FAILED
    else { return false }
    // Pages of two megabytes where the system has them: a fault brings 512 times as much, and a product's walks through
    // the page tables are shorter. It is a wish, and may fail.
    madvise(start, count, MADV_HUGEPAGE)
    insert(Hole(start: UInt(bitPattern: start), low: 0, free: count, high: 0))
    return true
  }

  private mutating func insert(_ hole: Hole) {
    var (first, last) = (0, holes.count)
    while first < last {
      let middle = (first + last) / 2
      if holes[middle].start < hole.start { first = middle + 1 } else { last = middle }
    }
    var joined = hole, range = first..<first
    if first < holes.count, holes[first].start == hole.end {
      joined = join(joined, holes[first])
      range = first..<first + 1
    }
    if first > 0, holes[first - 1].end == hole.start {
      joined = join(holes[first - 1], joined)
      range = first - 1..<range.upperBound
    }
    holes.replaceSubrange(range, with: CollectionOfOne(joined))
  }

  private mutating func join(_ a: Hole, _ b: Hole) -> Hole {
    if a.free == 0 { return Hole(start: a.start, low: a.size + b.low, free: b.free, high: b.high) }
    if b.free == 0 { return Hole(start: a.start, low: a.low, free: a.free, high: a.high + b.size) }
    // A hole has one stretch that is not held, so what lies between the two is handed back; what
    // the system leaves there counts no longer.
    let between = a.high + b.low
    if !handBack(a.end - UInt(a.high), between) { held -= between }
    return Hole(start: a.start, low: a.low, free: a.free + between + b.free, high: b.high)
  }
}
