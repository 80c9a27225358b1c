/// The fields of one protobuf message, in turn, never past its end.
///
/// Format: <https://protobuf.dev/programming-guides/encoding/>
struct ProtobufMessage {
  /// What a field holds.
  enum Value {
    case varint(UInt64)
    /// A text, bytes, a message or packed numbers.
    case bytes(Range<Int>)
    /// Four or eight bytes, least significant first.
    case fixed32(Range<Int>), fixed64(Range<Int>)
  }

  private let file: MappedFile
  private let end: Int
  /// In the file.
  private(set) var position: Int

  /// The message in `range` of the file, which must lie in it.
  init(_ file: MappedFile, _ range: Range<Int>) {
    self.file = file
    (position, end) = (range.lowerBound, range.upperBound)
  }

  private func error(_ problem: String) -> FileError {
    FileError(
      file.path, at: "byte \(position)", problem, remedy: "is it an ONNX model? it may be truncated; fetch it again")
  }

  /// The next field; nil at the end.
  mutating func next() throws -> (number: Int, value: Value, range: Range<Int>)? {
    guard position < end else { return nil }
    let key = try varint()
    guard (1..<1 << 29).contains(key >> 3) else { throw error("has a field of number \(key >> 3)") }
    let start = position
    let value: Value
    switch key & 7 {
    case 0: value = .varint(try varint())
    case 1: value = .fixed64(try take(8))
    case 2: value = .bytes(try take(try varint()))
    case 5: value = .fixed32(try take(4))
    default: throw error("has a field of wire type \(key & 7), which ONNX does not use")
    }
    return (Int(key >> 3), value, start..<position)
  }

  private mutating func take(_ count: UInt64) throws -> Range<Int> {
    guard count <= UInt64(end - position) else { throw error("claims \(count) bytes where \(end - position) are left") }
    defer { position += Int(count) }
    return position..<position + Int(count)
  }

  private mutating func varint() throws -> UInt64 {
    let bytes = file.bytes[position..<min(end, position + 10)]
    guard let last = bytes.firstIndex(where: { $0 & 0x80 == 0 }) else { throw error("has a number without end") }
    // A tenth byte has one bit that fits.
    guard last - position < 9 || bytes[last] <= 1 else { throw error("has a number of more than 64 bits") }
    defer { position = last + 1 }
    return Self.varint(bytes[position...last])
  }

  /// The number in whole bytes of 7 bits.
  private static func varint(_ bytes: Slice<UnsafeRawBufferPointer>) -> UInt64 {
    bytes.reversed().reduce(0) { $0 << 7 | UInt64($1 & 0x7f) }
  }

  /// How many numbers are packed in a range; a damaged end counts for none.
  static func countVarints(_ file: MappedFile, _ range: Range<Int>) -> Int {
    file.bytes[range].count(where: { $0 & 0x80 == 0 })
  }

  /// The numbers packed in a range, in turn.
  static func forEachVarint(_ file: MappedFile, _ range: Range<Int>, _ body: (UInt64) throws -> Void) throws {
    var numbers = ProtobufMessage(file, range)
    while numbers.position < numbers.end { try body(try numbers.varint()) }
  }
}
