/// An array in the metadata of a GGUF file, decoded when asked for.
///
/// A vocabulary has tens of thousands of strings; opening a file only makes sure that they all lie inside it.
public struct GGUFArray: Sendable {
  /// The number the format has for the elements' kind, such as 8 for strings.
  public let elementType: UInt32

  /// How many elements there are.
  public let count: Int

  private let kind: GGUFKind
  private let storage: Storage
  private let path: String
  private let key: String

  /// Bytes as they stand in a file, whose extent has been checked.
  private enum Storage: Sendable {
    case mapped(MappedFile, Range<Int>)
    case owned([UInt8])
  }

  init(kind: GGUFKind, count: Int, file: MappedFile, range: Range<Int>, key: String) {
    elementType = kind.rawValue
    self.kind = kind
    self.count = count
    self.key = key
    path = file.path
    storage = .mapped(file, range)
  }

  private init(kind: GGUFKind, count: Int, bytes: [UInt8]) {
    elementType = kind.rawValue
    self.kind = kind
    self.count = count
    key = ""
    path = "<array>"
    storage = .owned(bytes)
  }

  /// An array of strings.
  public init(_ strings: [String]) {
    var bytes: [UInt8] = []
    for string in strings {
      withUnsafeBytes(of: UInt64(string.utf8.count).littleEndian) { bytes.append(contentsOf: $0) }
      bytes.append(contentsOf: string.utf8)
    }
    self.init(kind: .string, count: strings.count, bytes: bytes)
  }

  /// An array of 32-bit integers.
  public init(_ integers: [Int32]) {
    self.init(kind: .int32, count: integers.count, bytes: integers.withUnsafeBytes { Array($0) })
  }

  /// An array of 32-bit floating-point numbers.
  public init(_ floats: [Float]) {
    self.init(kind: .float32, count: floats.count, bytes: floats.withUnsafeBytes { Array($0) })
  }

  /// The elements as strings.
  ///
  /// - Throws: `FileError` when they are of another kind, or one is not UTF-8.
  public func strings() throws -> [String] {
    guard kind == .string else { throw error("has elements of kind \(kind) where strings are expected") }
    return try withBytes { bytes in
      var cursor = GGUFCursor(bytes, path: path)
      var strings: [String] = []
      strings.reserveCapacity(count)
      for index in 0..<count {
        guard let text = String(validating: try cursor.stringBytes("element"), as: UTF8.self) else {
          throw error("element \(index) is not valid UTF-8")
        }
        strings.append(text)
      }
      return strings
    }
  }

  /// The elements as integers; booleans as 0 and 1.
  ///
  /// - Throws: `FileError` when they are not integers, or one does not fit.
  public func ints() throws -> [Int] {
    switch kind {
    case .uint8: return map(UInt8.self) { Int($0) }
    case .int8: return map(Int8.self) { Int($0) }
    case .uint16: return map(UInt16.self) { Int($0) }
    case .int16: return map(Int16.self) { Int($0) }
    case .uint32: return map(UInt32.self) { Int($0) }
    case .int32: return map(Int32.self) { Int($0) }
    case .int64: return map(Int64.self) { Int($0) }
    case .bool: return map(UInt8.self) { $0 == 0 ? 0 : 1 }
    case .uint64:
      let values = map(UInt64.self) { $0 }
      guard let largest = values.max(), Int(exactly: largest) == nil else { return values.map { Int($0) } }
      throw error("the element \(largest) does not fit 64 signed bits")
    case .float32, .float64, .string, .array:
      throw error("has elements of kind \(kind) where integers are expected")
    }
  }

  /// The elements as floating-point numbers, rounded to `Float`; integers too.
  ///
  /// - Throws: `FileError` when they are not numbers.
  public func floats() throws -> [Float] {
    switch kind {
    case .float32: map(Float.self) { $0 }
    case .float64: map(Double.self) { Float($0) }
    default: try ints().map { Float($0) }
    }
  }

  /// Gives the elements' bytes as they stand in a file.
  func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    switch storage {
    case .owned(let bytes): try bytes.withUnsafeBytes(body)
    case .mapped(let file, let range):
      try withExtendedLifetime(file) { try body(UnsafeRawBufferPointer(rebasing: file.bytes[range])) }
    }
  }

  private func map<Stored: BitwiseCopyable, Element>(
    _ stored: Stored.Type, _ convert: (Stored) -> Element
  ) -> [Element] {
    withBytes { bytes in
      (0..<count).map { index in
        convert(bytes.loadUnaligned(fromByteOffset: index * MemoryLayout<Stored>.size, as: stored))
      }
    }
  }

  private func error(_ problem: String) -> FileError {
    FileError(path, at: "key \(quoted(key))", problem)
  }
}
