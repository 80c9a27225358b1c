/// Reads the parts of a GGUF file in their order, checking every claim against the file.
struct GGUFReader {
  static let longestKey = 65_535
  static let longestName = 256

  private let file: MappedFile
  private var cursor: GGUFCursor

  init(_ file: MappedFile) {
    self.file = file
    cursor = GGUFCursor(file.bytes, path: file.path)
  }

  /// Checks magic and version, and gives the numbers of tensors and of keys.
  mutating func preamble() throws -> (tensors: Int, keys: Int) {
    let magic = try cursor.read(UInt32.self, "its magic number")
    guard magic == 0x4655_4747 else { throw FileError(file.path, "does not begin with 'GGUF'; is it a GGUF file?") }
    let version = try cursor.read(UInt32.self, "its version")
    guard version == 2 || version == 3 else {
      let isSwapped = version.byteSwapped == 2 || version.byteSwapped == 3
      throw FileError(
        file.path, isSwapped ? "is big-endian, which cannot be read" : "has version \(version); 2 and 3 can be read")
    }
    // A tensor takes at least a name of a byte, one dimension, a type and an offset; a key at least a byte and a value.
    let tensors = try cursor.count(ofSize: 8 + 1 + 4 + 8 + 4 + 8, "a number of tensors")
    let keys = try cursor.count(ofSize: 8 + 1 + 4 + 1, "a number of keys")
    return (tensors, keys)
  }

  mutating func metadata(_ count: Int) throws -> (keys: [String], values: [String: GGUFValue]) {
    var keys: [String] = []
    var values: [String: GGUFValue] = [:]
    keys.reserveCapacity(count)
    values.reserveCapacity(count)
    for index in 0..<count {
      let key = try cursor.string("key \(index)")
      guard (1...Self.longestKey).contains(key.utf8.count) else {
        throw FileError(file.path, at: "key \(index)", "is \(key.utf8.count) bytes long; 1 to 65535 are allowed")
      }
      let value = try value(of: key)
      guard values.updateValue(value, forKey: key) == nil else {
        throw FileError(file.path, at: "key \(quoted(key))", "is there twice")
      }
      keys.append(key)
    }
    return (keys, values)
  }

  private mutating func kind(of key: String) throws -> GGUFKind {
    let number = try cursor.read(UInt32.self, "the kind of key \(quoted(key))")
    guard let kind = GGUFKind(rawValue: number) else {
      throw FileError(file.path, at: "key \(quoted(key))", "has a value of unknown kind \(number)")
    }
    return kind
  }

  private mutating func value(of key: String) throws -> GGUFValue {
    func what() -> String { "the value of key \(quoted(key))" }
    return switch try kind(of: key) {
    case .uint8: .uint8(try cursor.read(UInt8.self, what()))
    case .int8: .int8(try cursor.read(Int8.self, what()))
    case .uint16: .uint16(try cursor.read(UInt16.self, what()))
    case .int16: .int16(try cursor.read(Int16.self, what()))
    case .uint32: .uint32(try cursor.read(UInt32.self, what()))
    case .int32: .int32(try cursor.read(Int32.self, what()))
    case .float32: .float32(try cursor.read(Float.self, what()))
    case .bool: .bool(try cursor.read(UInt8.self, what()) != 0)
    case .string: .string(try cursor.string(what()))
    case .array: .array(try array(of: key))
    case .uint64: .uint64(try cursor.read(UInt64.self, what()))
    case .int64: .int64(try cursor.read(Int64.self, what()))
    case .float64: .float64(try cursor.read(Double.self, what()))
    }
  }

  /// Passes over an array's elements, making sure that all are there.
  private mutating func array(of key: String) throws -> GGUFArray {
    let kind = try kind(of: key)
    guard kind != .array else {
      throw FileError(file.path, at: "key \(quoted(key))", "holds arrays inside an array, which cannot be read")
    }
    // A string takes at least the 8 bytes of its length.
    let count = try cursor.count(ofSize: kind.size ?? 8, "a length of array \(quoted(key))")
    let start = cursor.position
    if let size = kind.size {
      cursor.skip(count * size)
    } else {
      for index in 0..<count {
        _ = try cursor.stringBytes("element \(index) of key \(quoted(key))")
      }
    }
    return GGUFArray(kind: kind, count: count, file: file, range: start..<cursor.position, key: key)
  }

  mutating func tensors(
    _ count: Int, alignment: GGUFValue?
  ) throws -> (names: [String], tensors: [String: GGUFTensor]) {
    let alignment = try GGUF.alignment(alignment, file.path)
    var infos: [Info] = []
    infos.reserveCapacity(count)
    for index in 0..<count { infos.append(try info(index)) }
    // The file is shorter than Int.max by far, so rounding a position in it up cannot overflow.
    let dataStart = (cursor.position + alignment - 1) / alignment * alignment
    var expected = 0
    var tensors: [String: GGUFTensor] = [:]
    tensors.reserveCapacity(count)
    for info in infos {
      func error(_ problem: String, remedy: String? = nil) -> FileError {
        FileError(file.path, at: "tensor \(quoted(info.name))", problem, remedy: remedy)
      }
      guard info.offset == expected else {
        throw error("begins at byte \(info.offset) of the data where \(expected) is expected")
      }
      guard info.byteCount <= file.bytes.count - dataStart - expected else {
        throw error(
          "needs \(info.byteCount) bytes, more than the file has left",
          remedy: "the file may be truncated; fetch it again")
      }
      let range = dataStart + expected..<dataStart + expected + info.byteCount
      let tensor = GGUFTensor(name: info.name, type: info.type, shape: info.shape, file: file, range: range)
      guard tensors.updateValue(tensor, forKey: info.name) == nil else { throw error("is there twice") }
      expected += (info.byteCount + alignment - 1) / alignment * alignment
    }
    return (infos.map(\.name), tensors)
  }

  /// What the file says of a tensor.
  private struct Info {
    let name: String
    let type: GGUFType
    let shape: [Int]
    let offset: UInt64
    let byteCount: Int
  }

  private mutating func info(_ index: Int) throws -> Info {
    let name = try cursor.string("the name of tensor \(index)")
    guard (1...Self.longestName).contains(name.utf8.count) else {
      throw FileError(
        file.path, at: "tensor \(index)", "has a name of \(name.utf8.count) bytes; 1 to \(Self.longestName) are allowed"
      )
    }
    func error(_ problem: String) -> FileError { FileError(file.path, at: "tensor \(quoted(name))", problem) }
    let rank = try cursor.read(UInt32.self, "the dimensions of tensor \(quoted(name))")
    guard (1...4).contains(rank) else { throw error("has \(rank) dimensions where 1 to 4 are allowed") }
    var shape: [Int] = []
    for _ in 0..<rank {
      let dimension = try cursor.read(UInt64.self, "the dimensions of tensor \(quoted(name))")
      guard let dimension = Int(exactly: dimension) else { throw error("has a dimension of \(dimension)") }
      shape.insert(dimension, at: 0)
    }
    let number = try cursor.read(UInt32.self, "the type of tensor \(quoted(name))")
    guard let type = GGUFType(rawValue: number) else {
      throw error("has elements of type \(number), which cannot be read")
    }
    let offset = try cursor.read(UInt64.self, "the offset of tensor \(quoted(name))")
    do {
      let byteCount = try type.byteCount(shape)
      return Info(name: name, type: type, shape: shape, offset: offset, byteCount: byteCount)
    } catch {
      throw FileError(file.path, at: "tensor \(quoted(name))", error.text)
    }
  }
}
