import Files

/// Byte-pair encoding: a word begins as single characters, and the pair learned earliest is joined until none is left.
///
/// (Sennrich et al. 2016.) With byte fallback a character that is no token becomes the tokens `<0x..>` of its bytes.
struct PairMerging: Sendable {
  /// What a pair becomes, and how early it was learned.
  struct Merge: Sendable {
    let rank: Int32
    let id: Int32
  }

  var vocabulary: Vocabulary
  var merges: [UInt64: Merge] = [:]
  var unknown: Int?
  var fusesUnknown = false
  var fallsBackToBytes = false

  /// Whether a word that is itself a token stays whole, whatever the merges say.
  var ignoresMerges = false

  /// Put before every character of a word but the first.
  var continuingPrefix: [UInt8] = []

  /// Put after the last character of a word.
  var endSuffix: [UInt8] = []

  let byteTokens: [Int?]
  private let cache = WordCache()

  init(vocabulary: Vocabulary) {
    self.vocabulary = vocabulary
    byteTokens = vocabulary.byteTokens()
  }

  static func key(_ left: Int, _ right: Int) -> UInt64 {
    UInt64(UInt32(truncatingIfNeeded: left)) << 32 | UInt64(UInt32(truncatingIfNeeded: right))
  }

  func encode(_ word: ArraySlice<Unicode.Scalar>, into ids: inout [Int]) {
    let bytes = [UInt8](utf8: word)
    ids += cache.ids(of: bytes) {
      if ignoresMerges, let id = vocabulary.id(of: bytes[...]) { return [id] }
      var symbols = characters(of: bytes)
      join(&symbols)
      return symbols
    }
  }

  /// The tokens of the single characters of a word.
  private func characters(of bytes: [UInt8]) -> [Int] {
    var symbols: [Int] = []
    symbols.reserveCapacity(bytes.count)
    var hasUnknown = false
    var start = 0
    while start < bytes.count {
      var end = start + 1
      while end < bytes.count, bytes[end] & 0xc0 == 0x80 { end += 1 }
      var text = bytes[start..<end]
      if start > 0, !continuingPrefix.isEmpty { text = (continuingPrefix + text)[...] }
      if end == bytes.count, !endSuffix.isEmpty { text += endSuffix }
      start = end
      if let id = vocabulary.id(of: text) {
        if hasUnknown, let unknown { symbols.append(unknown) }
        hasUnknown = false
        symbols.append(id)
        continue
      }
      if fallsBackToBytes {
        let fallback = text.compactMap { byteTokens[Int($0)] }
        if fallback.count == text.count {
          symbols += fallback
          continue
        }
      }
      if hasUnknown, !fusesUnknown, let unknown { symbols.append(unknown) }
      hasUnknown = unknown != nil
    }
    if hasUnknown, let unknown { symbols.append(unknown) }
    return symbols
  }

  /// Joins pairs, the earliest learned and then the leftmost first, until no two neighbours are a pair.
  private func join(_ symbols: inout [Int]) {
    guard symbols.count > 1 else { return }
    // Symbols form a list by index: next[i] is the one after i; one joined to its left has no token any more.
    var next = Array(1...symbols.count)
    var previous = Array(-1..<(symbols.count - 1))
    var queue = MinHeap()
    func offer(_ left: Int, _ queue: inout MinHeap) {
      guard left >= 0, next[left] < symbols.count else { return }
      guard let merge = merges[Self.key(symbols[left], symbols[next[left]])] else { return }
      queue.push(UInt64(UInt32(bitPattern: merge.rank)) << 32 | UInt64(UInt32(truncatingIfNeeded: left)))
    }
    for left in symbols.indices { offer(left, &queue) }
    while let entry = queue.pop() {
      let left = Int(entry & 0xffff_ffff)
      guard symbols[left] >= 0, next[left] < symbols.count else { continue }
      let right = next[left]
      // The pair may have changed since it was put into the queue; then its rank did too.
      guard let merge = merges[Self.key(symbols[left], symbols[right])], merge.rank == Int32(entry >> 32) else {
        continue
      }
      symbols[left] = Int(merge.id)
      symbols[right] = -1
      next[left] = next[right]
      if next[left] < symbols.count { previous[next[left]] = left }
      offer(previous[left], &queue)
      offer(left, &queue)
    }
    symbols.removeAll { $0 < 0 }
  }
}

/// The least of a set of numbers, in logarithmic time.
private struct MinHeap {
  private var items: [UInt64] = []

  mutating func push(_ item: UInt64) {
    items.append(item)
    var child = items.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard items[child] < items[parent] else { return }
      items.swapAt(child, parent)
      child = parent
    }
  }

  mutating func pop() -> UInt64? {
    guard let least = items.first, let last = items.popLast() else { return nil }
    guard !items.isEmpty else { return least }
    items[0] = last
    var parent = 0
    while true {
      var child = 2 * parent + 1
      guard child < items.count else { return least }
      if child + 1 < items.count, items[child + 1] < items[child] { child += 1 }
      guard items[child] < items[parent] else { return least }
      items.swapAt(child, parent)
      parent = child
    }
  }
}
