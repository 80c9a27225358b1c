import Files

/// A table with a line for each image: its label, and its pixels row by row, separated by commas.
///
/// A first line that does not begin with a number is a heading. The file may be packed by gzip, and lines may end as on
/// any system; fields in quotes are not understood.
final class CSVSource: ImageSource {
  /// Where the label stands in a line.
  enum LabelColumn: String { case first, last }

  private(set) var labels: [Int] = []
  let classNames: [String] = []
  private let path: String
  private let labelColumn: LabelColumn
  private let rule: PixelRule
  private let size: (height: Int, width: Int, channels: Int)
  private var lines: Lines
  private var position = 0

  /// Reads all labels.
  ///
  /// - Parameter shape: `[height, width]` or `[height, width, channels]`; when empty, images are grey and square.
  /// - Throws: a ``FileError`` for lines of differing lengths, and for labels that are no whole numbers.
  init(_ path: String, shape: [Int], _ labelColumn: LabelColumn, _ rule: PixelRule) throws {
    var scan = try Lines(path), columns = 0, labels: [Int] = []
    while let line = try scan.next() {
      let count = line.count { $0 == UInt8(ascii: ",") }
      if labels.isEmpty { columns = count }
      guard count == columns else {
        throw FileError(path, line: scan.number, "has \(count + 1) columns; the first row has \(columns + 1)")
      }
      let text = labelColumn == .first ? line.prefix { $0 != UInt8(ascii: ",") } : Self.lastField(line)
      guard let label = Self.number(text).flatMap({ Int(exactly: $0) }) else {
        throw FileError(
          path, line: scan.number,
          "has the label \(quoted(String(decoding: text, as: UTF8.self))), which is no whole number",
          remedy: "say with --label-column whether it is the first or the last")
      }
      labels.append(label)
    }
    let side = Int(Double(columns).squareRoot())
    let known = shape.isEmpty ? [side, side, 1] : shape.count == 2 ? shape + [1] : shape
    guard known.count == 3, known.allSatisfy({ (1...ImageSet.largestSide).contains($0) }),
      known[2] == 1 || known[2] == 3,
      known.reduce(1, *) == columns
    else {
      throw FileError(
        path, "has \(columns) pixels in a row, which are not \(known.map(String.init).joined(separator: " × "))",
        remedy: "say what they are with --shape HEIGHTxWIDTH or HEIGHTxWIDTHx3")
    }
    size = (known[0], known[1], known[2])
    lines = try Lines(path)
    (self.path, self.labels, self.labelColumn, self.rule) = (path, labels, labelColumn, rule)
  }

  func next() throws -> Picture {
    guard let line = try lines.next() else { throw FileError(path, "became shorter while it was read") }
    defer { position += 1 }
    var fields = line.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)[...]
    fields = labelColumn == .first ? fields.dropFirst() : fields.dropLast()
    var column = labelColumn == .first ? 1 : 0
    let values = try fields.map { field in
      column += 1
      guard let value = Self.number(field) else {
        throw FileError(
          path, line: lines.number,
          "has \(quoted(String(decoding: field, as: UTF8.self))) in column \(column), which is no number")
      }
      return value
    }
    return Picture(
      height: size.height, width: size.width, channels: size.channels,
      pixels: try rule.bytes(values, path, image: position))
  }

  func skip() throws {
    _ = try lines.next()
    position += 1
  }

  func finish() {}

  private static func lastField(_ line: [UInt8]) -> ArraySlice<UInt8> {
    let comma = line.lastIndex(of: UInt8(ascii: ",")).map { $0 + 1 } ?? 0
    return line[comma...]
  }

  private static func number(_ field: ArraySlice<UInt8>) -> Double? {
    // Most are plain digits, and there are very many.
    if (1...3).contains(field.count), field.allSatisfy({ (0x30...0x39).contains($0) }) {
      return Double(field.reduce(0) { $0 * 10 + Int($1 - 0x30) })
    }
    let text = String(decoding: field, as: UTF8.self).filter { $0 != " " }
    return Double(text).flatMap { $0.isFinite ? $0 : nil }
  }

  /// The rows of the table: no empty lines, and no heading.
  private struct Lines {
    private let stream: ByteStream
    private var buffer: [UInt8] = []
    private var position = 0
    private var isFirst = true
    private var isEnded = false
    /// The number of the line read last, from 1.
    private(set) var number = 0

    init(_ path: String) throws { stream = try ByteStream(path) }

    mutating func next() throws -> [UInt8]? {
      while var line = try whole() {
        number += 1
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        if line.isEmpty { continue }
        defer { isFirst = false }
        let start = line.prefix { $0 != UInt8(ascii: ",") }
        if isFirst && CSVSource.number(start) == nil { continue }
        return line
      }
      return nil
    }

    /// A line as it stands; no line has more than 64 MB.
    private mutating func whole() throws -> [UInt8]? {
      var searched = position
      while true {
        if let end = buffer[searched...].firstIndex(of: UInt8(ascii: "\n")) {
          defer { position = end + 1 }
          return Array(buffer[position..<end])
        }
        if isEnded {
          guard position < buffer.count else { return nil }
          defer { position = buffer.count }
          return Array(buffer[position...])
        }
        buffer.removeFirst(position)
        position = 0
        searched = buffer.count
        guard buffer.count <= 64 << 20 else { throw FileError(stream.path, line: number + 1, "is longer than 64 MB") }
        let more = try [UInt8](unsafeUninitializedCapacity: 1 << 16) { place, used in
          used = try stream.read(into: UnsafeMutableRawBufferPointer(place))
        }
        isEnded = more.count < 1 << 16
        buffer += more
      }
    }
  }
}
