/// The tokens of a vocabulary by id, and their ids by text, compared byte for byte.
///
/// `String` would hold tokens equal that Unicode calls equivalent, such as two ways to write é; a vocabulary may hold
/// both. All texts lie in one buffer, so that reading a large vocabulary allocates little.
struct Vocabulary: Sendable {
  /// One more than the largest id.
  private(set) var count = 0

  private var bytes: [UInt8] = []

  /// For each id, where its text lies in `bytes`; empty ranges that begin at −1 belong to ids without a token.
  private var places: [(start: Int, count: Int)] = []

  /// A table of ids with open addressing; −1 marks a free slot. Its size is a power of two.
  private var slots: [Int32] = Array(repeating: -1, count: 16)
  private var used = 0

  /// An empty vocabulary with room for `capacity` tokens.
  init(capacity: Int = 0) {
    places.reserveCapacity(capacity)
    bytes.reserveCapacity(capacity * 8)
    var size = 16
    while size < capacity * 2 { size *= 2 }
    slots = Array(repeating: -1, count: size)
  }

  /// Gives `token` the id; of two ids with the same text the later one is found by text.
  mutating func insert(_ token: String, id: Int) {
    var token = token
    token.withUTF8 { insert(UnsafeRawBufferPointer($0), id: id) }
  }

  private mutating func insert(_ text: UnsafeRawBufferPointer, id: Int) {
    while places.count <= id { places.append((-1, 0)) }
    count = max(count, id + 1)
    places[id] = (bytes.count, text.count)
    bytes.append(contentsOf: text)
    let slot = slot(of: text)
    if slots[slot] < 0 { used += 1 }
    slots[slot] = Int32(truncatingIfNeeded: id)
    if used * 2 > slots.count { grow() }
  }

  private mutating func grow() {
    let ids = slots.filter { $0 >= 0 }
    slots = Array(repeating: -1, count: slots.count * 2)
    for id in ids {
      let (start, count) = places[Int(id)]
      let slot = bytes.withUnsafeBytes { self.slot(of: UnsafeRawBufferPointer(rebasing: $0[start..<(start + count)])) }
      slots[slot] = id
    }
  }

  /// The slot that holds `text`, or the free one where it belongs.
  private func slot(of text: UnsafeRawBufferPointer) -> Int {
    var hasher = Hasher()
    hasher.combine(bytes: text)
    var slot = hasher.finalize() & (slots.count - 1)
    while slots[slot] >= 0, !isText(text, ofId: Int(slots[slot])) { slot = (slot + 1) & (slots.count - 1) }
    return slot
  }

  private func isText(_ text: UnsafeRawBufferPointer, ofId id: Int) -> Bool {
    let (start, count) = places[id]
    guard count == text.count else { return false }
    return bytes.withUnsafeBytes { $0[start..<(start + count)].elementsEqual(text) }
  }

  /// The id of the token with these bytes.
  func id(of text: UnsafeRawBufferPointer) -> Int? {
    let id = slots[slot(of: text)]
    return id < 0 ? nil : Int(id)
  }

  /// The id of the token with these bytes.
  func id(of text: ArraySlice<UInt8>) -> Int? {
    text.withUnsafeBytes { id(of: $0) }
  }

  /// The id of the token with this text.
  func id(of text: String) -> Int? {
    var text = text
    return text.withUTF8 { id(of: UnsafeRawBufferPointer($0)) }
  }

  /// The text of a token; nothing for an id that has none.
  subscript(_ id: Int) -> String? {
    guard let text = utf8(of: id) else { return nil }
    return String(decoding: text, as: UTF8.self)
  }

  /// The bytes of a token's text; nothing for an id that has none.
  func utf8(of id: Int) -> ArraySlice<UInt8>? {
    guard places.indices.contains(id), places[id].start >= 0 else { return nil }
    return bytes[places[id].start..<(places[id].start + places[id].count)]
  }

  /// For each byte, the id of the token `<0x..>` that stands for it, where there is one.
  func byteTokens() -> [Int?] {
    (0..<256).map { byte in
      let digits = String(byte, radix: 16, uppercase: true)
      return id(of: "<0x\(byte < 16 ? "0" : "")\(digits)>")
    }
  }
}
