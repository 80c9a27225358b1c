import Files
import Glibc

/// The rows of a data file, one after the other: lines of JSON, or the elements of one JSON array.
///
/// Only the row being read is parsed; the file stays mapped. White space, blank lines, a byte order mark and carriage
/// returns before line ends are passed over.
struct DataRows {
  /// A row's place and value.
  struct Row {
    /// The row's number, counted from 1: the line of a JSONL file, the element of an array.
    let number: Int

    /// The row's place for messages: `line 7` or `element 7`.
    let place: String

    let value: JSON
  }

  let file: MappedFile
  private let maxRowBytes: Int
  private let isArray: Bool

  /// Where the text begins, behind a byte order mark.
  private let start: Int

  private var position: Int
  private var line = 1
  private var element = 0
  private var isFinished = false

  init(_ path: String, maxRowBytes: Int) throws {
    file = try MappedFile(path)
    self.maxRowBytes = maxRowBytes
    start = file.bytes.starts(with: [0xef, 0xbb, 0xbf]) ? 3 : 0
    position = start
    isArray = file.bytes[position...].first { !Self.isSpace($0) } == UInt8(ascii: "[")
    if isArray {
      skipSpace()
      position += 1
    }
  }

  private static func isSpace(_ byte: UInt8) -> Bool { [0x20, 0x09, 0x0a, 0x0d].contains(byte) }

  /// The next row; nothing at the end.
  mutating func next() throws -> Row? {
    try isArray ? nextElement() : nextLine()
  }

  private func error(_ problem: String, remedy: String? = nil) -> FileError {
    FileError(file.path, line: line, problem, remedy: remedy)
  }

  private func tooLong() -> FileError {
    error(
      "the row is longer than \(maxRowBytes) bytes", remedy: isArray ? nil : "each line holds one row as a JSON object")
  }

  private mutating func skipSpace() {
    while position < file.bytes.count, Self.isSpace(file.bytes[position]) {
      if file.bytes[position] == 0x0a { line += 1 }
      position += 1
    }
  }

  private mutating func nextLine() throws -> Row? {
    skipSpace()
    guard position < file.bytes.count, let base = file.bytes.baseAddress else { return nil }
    let rest = file.bytes.count - position
    let found = memchr(base + position, 0x0a, rest)
    let length = found.map { base.distance(to: UnsafeRawPointer($0)) - position } ?? rest
    guard length <= maxRowBytes else { throw tooLong() }
    let row = Row(number: line, place: "line \(line)", value: try parse(position..<position + length))
    position += length
    return row
  }

  private mutating func nextElement() throws -> Row? {
    guard !isFinished else { return nil }
    skipSpace()
    if element > 0 {
      guard position < file.bytes.count else { throw error("the array is not closed") }
      switch file.bytes[position] {
      case UInt8(ascii: ","): position += 1
      case UInt8(ascii: "]"): return try finish()
      default: throw error("expected ',' or ']' after an element of the array")
      }
      skipSpace()
    } else if position < file.bytes.count, file.bytes[position] == UInt8(ascii: "]") {
      return try finish()
    }
    let end = try elementEnd()
    element += 1
    let row = Row(number: element, place: "element \(element)", value: try parse(position..<end))
    while position < end {
      if file.bytes[position] == 0x0a { line += 1 }
      position += 1
    }
    return row
  }

  private mutating func finish() throws -> Row? {
    isFinished = true
    position += 1
    skipSpace()
    guard position == file.bytes.count else { throw error("text follows the end of the array") }
    return nil
  }

  /// Where the element that begins here ends: after its last bracket, or at the comma or bracket that follows it.
  private func elementEnd() throws -> Int {
    var index = position
    var depth = 0
    var isInString = false
    while index < file.bytes.count {
      guard index - position <= maxRowBytes else { throw tooLong() }
      let byte = file.bytes[index]
      if isInString {
        if byte == UInt8(ascii: "\\") { index += 1 } else if byte == UInt8(ascii: "\"") { isInString = false }
      } else {
        switch byte {
        case UInt8(ascii: "\""): isInString = true
        case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
        case UInt8(ascii: "]") where depth == 0, UInt8(ascii: "}") where depth == 0, UInt8(ascii: ",") where depth == 0:
          return index
        case UInt8(ascii: "}"), UInt8(ascii: "]"):
          depth -= 1
          if depth == 0 { return index + 1 }
        default: break
        }
      }
      index += 1
    }
    throw error("the array is not closed")
  }

  /// A row's value; errors are told at their line of the whole file.
  private func parse(_ range: Range<Int>) throws -> JSON {
    do {
      return try JSON(parsing: UnsafeRawBufferPointer(rebasing: file.bytes[range]), path: file.path)
    } catch var failure as FileError {
      let numbers = (failure.place ?? "").split { !$0.isNumber }.compactMap { Int($0) }
      if numbers.count == 2 {
        // The parser counts from the row's first byte, which need not be the first of its line.
        let before = file.bytes[start..<range.lowerBound].reversed().prefix { $0 != 0x0a }
        let offset = numbers[0] == 1 ? before.count { $0 & 0xc0 != 0x80 } : 0
        failure.place = "line \(line + numbers[0] - 1), column \(numbers[1] + offset)"
      }
      throw failure
    }
  }
}
