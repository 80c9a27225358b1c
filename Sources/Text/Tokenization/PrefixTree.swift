/// Words with values, found as the prefixes of a text.
struct PrefixTree: Sendable {
  /// Children by node and scalar.
  private var children: [UInt64: Int32] = [:]
  private var values: [Int?] = [nil]

  /// Whether the tree holds no word.
  var isEmpty: Bool { children.isEmpty }

  init(capacity: Int = 0) { children.reserveCapacity(capacity) }

  /// Adds a word; one already there keeps its value.
  mutating func insert(_ word: some Sequence<Unicode.Scalar>, value: Int) {
    var node: Int32 = 0
    for scalar in word {
      let key = Self.key(node, scalar)
      if let child = children[key] {
        node = child
      } else {
        let child = Int32(truncatingIfNeeded: values.count)
        children[key] = child
        values.append(nil)
        node = child
      }
    }
    if node != 0, values[Int(node)] == nil { values[Int(node)] = value }
  }

  private static func key(_ node: Int32, _ scalar: Unicode.Scalar) -> UInt64 {
    UInt64(node) << 32 | UInt64(scalar.value)
  }

  /// Calls `body` with the end and the value of every word that `text` holds at `start`, the shortest first.
  func forEachPrefix(of text: ArraySlice<Unicode.Scalar>, from start: Int, _ body: (Int, Int) -> Void) {
    var node: Int32 = 0
    for position in start..<text.endIndex {
      guard let child = children[Self.key(node, text[position])] else { return }
      node = child
      if let value = values[Int(node)] { body(position + 1, value) }
    }
  }

  /// The end and value of the longest word that `text` holds at `start`.
  func longestPrefix(of text: ArraySlice<Unicode.Scalar>, from start: Int) -> (end: Int, value: Int)? {
    var longest: (end: Int, value: Int)?
    forEachPrefix(of: text, from: start) { longest = ($0, $1) }
    return longest
  }
}
