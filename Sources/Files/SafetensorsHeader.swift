/// The header of a safetensors file, with every claim it makes checked against the file.
struct SafetensorsHeader {
  /// The reference implementation's limit, in bytes.
  static let largestHeader = 100_000_000

  private(set) var metadata: [String: String] = [:]

  /// In the order of their bytes.
  private(set) var entries: [TensorEntry] = []

  private let file: MappedFile
  private let dataStart: Int

  init(_ file: MappedFile) throws {
    self.file = file
    let path = file.path
    guard file.bytes.count >= 8 else {
      throw FileError(path, "is \(file.bytes.count) bytes long, too short for a safetensors file")
    }
    let claimed = UInt64(littleEndian: file.bytes.loadUnaligned(as: UInt64.self))
    guard claimed <= Self.largestHeader else {
      throw FileError(
        path, "claims a header of \(claimed) bytes, more than the \(Self.largestHeader) allowed",
        remedy: "is it a safetensors file?")
    }
    let length = Int(claimed)
    guard length <= file.bytes.count - 8 else {
      throw FileError(path, "ends inside its header", remedy: "the file may be truncated; fetch it again")
    }
    dataStart = 8 + length
    let header = UnsafeRawBufferPointer(rebasing: file.bytes[8..<dataStart])
    guard header.first == UInt8(ascii: "{") else { throw FileError(path, "has a header that is not a JSON object") }
    guard case .object(let object) = try Self.parse(header, path) else {
      throw FileError(path, "has a header with names that differ only in how Unicode composes them")
    }
    entries.reserveCapacity(object.count)
    for (name, value) in object {
      if name == "__metadata__" {
        metadata = try Self.metadata(value, path)
      } else {
        entries.append(try entry(name, value))
      }
    }
    entries.sort {
      ($0.range.lowerBound, $0.range.upperBound, $0.name) < ($1.range.lowerBound, $1.range.upperBound, $1.name)
    }
    try checkContiguity()
  }

  /// Parses the header, placing errors in it: a line and column would not lead anywhere in a binary file.
  private static func parse(_ header: UnsafeRawBufferPointer, _ path: String) throws -> JSON {
    do {
      return try JSON(parsing: header, path: path)
    } catch let error as FileError {
      throw FileError(path, at: "header", error.problem, remedy: error.remedy)
    }
  }

  private static func metadata(_ value: JSON, _ path: String) throws -> [String: String] {
    guard let object = value.object else { throw FileError(path, at: "'__metadata__'", "is not an object") }
    return try object.reduce(into: [:]) { result, pair in
      guard let text = pair.value.string else {
        throw FileError(path, at: "'__metadata__'", "the value of \(quoted(pair.key)) is not a string")
      }
      result[pair.key] = text
    }
  }

  private func entry(_ name: String, _ value: JSON) throws -> TensorEntry {
    func error(_ problem: String, remedy: String? = nil) -> FileError {
      FileError(file.path, at: "tensor \(quoted(name))", problem, remedy: remedy)
    }
    guard let typeName = value["dtype"]?.string else { throw error("has no 'dtype' string") }
    guard let type = ElementType(rawValue: typeName) else {
      throw error("has elements of type \(quoted(typeName)), which cannot be read")
    }
    guard let dimensions = value["shape"]?.array else { throw error("has no 'shape' array") }
    let shape = dimensions.compactMap(\.int).filter { $0 >= 0 }
    guard shape.count == dimensions.count else { throw error("has a dimension that is not a whole number") }
    guard let offsets = value["data_offsets"]?.array, offsets.count == 2 else {
      throw error("has no 'data_offsets' pair")
    }
    guard let begin = offsets[0].int, let end = offsets[1].int, begin >= 0, end >= 0 else {
      throw error("has a data offset that is not a whole number")
    }
    guard begin <= end else { throw error("begins at byte \(begin) and ends before, at \(end)") }
    let available = file.bytes.count - dataStart
    guard end <= available else {
      throw error(
        "ends at byte \(end) of the data but the file holds \(available)",
        remedy: "the file may be truncated; fetch it again")
    }
    guard let needed = type.byteCount(shape) else { throw error("has a shape too large to address") }
    guard needed == end - begin else {
      throw error("has \(end - begin) bytes where its shape and type need \(needed)")
    }
    return TensorEntry(name: name, type: type, shape: shape, file: file, range: dataStart + begin..<dataStart + end)
  }

  /// Every byte of data belongs to exactly one tensor, so that nothing can hide in the file.
  private func checkContiguity() throws {
    var end = dataStart
    for entry in entries {
      guard entry.range.lowerBound == end else {
        let problem = entry.range.lowerBound < end ? "overlaps the tensor before it" : "leaves unused bytes before it"
        throw FileError(file.path, at: "tensor \(quoted(entry.name))", problem)
      }
      end = entry.range.upperBound
    }
    guard end == file.bytes.count else {
      throw FileError(file.path, "has \(file.bytes.count - end) bytes after its last tensor")
    }
  }
}
