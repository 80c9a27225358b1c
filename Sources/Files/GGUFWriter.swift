/// A tensor about to be written to a GGUF file, and a way to produce its bytes when their turn comes.
public struct GGUFTensorToWrite {
  let name: String
  let type: GGUFType
  let shape: [Int]
  let write: (inout FileWriter) throws -> Void

  /// A tensor whose blocks `write` produces, row after row; `shape` has the outermost dimension first.
  public init(name: String, type: GGUFType, shape: [Int], write: @escaping (inout FileWriter) throws -> Void) {
    self.name = name
    self.type = type
    self.shape = shape
    self.write = write
  }
}

extension GGUF {
  /// Writes a version 3 file, whole or not at all.
  ///
  /// Tensors are aligned to 32 bytes unless the metadata has a `general.alignment`.
  ///
  /// - Parameter check: reads the file under its temporary name before it takes its own; what it throws is thrown.
  /// - Throws: `FileError` when a key or name is given twice or has a length the format does not allow, when a shape
  ///   cannot be stored, when a tensor produces another number of bytes than its type and shape need, or when the file
  ///   cannot be written.
  public static func write(
    metadata: [(String, GGUFValue)], tensors: [GGUFTensorToWrite], to path: String,
    checking check: (_ temporary: String) throws -> Void = { _ in }
  ) throws {
    var keys: Set<String> = []
    for (key, _) in metadata {
      guard (1...GGUFReader.longestKey).contains(key.utf8.count), keys.insert(key).inserted else {
        throw FileError(path, at: "key \(quoted(key))", "is there twice, empty or too long")
      }
    }
    let alignment = try alignment(metadata.first { $0.0 == "general.alignment" }?.1, path)
    let (counts, offsets) = try layout(tensors, alignment: alignment, path)
    func body(_ writer: inout FileWriter) throws {
      try writer.write("GGUF")
      try writer.write(UInt32(3))
      try writer.write(UInt64(tensors.count))
      try writer.write(UInt64(metadata.count))
      for (key, value) in metadata {
        try writer.writeGGUF(key)
        try writer.write(value.kind.rawValue)
        try writer.writeGGUF(value)
      }
      for (tensor, offset) in zip(tensors, offsets) {
        try writer.writeGGUF(tensor.name)
        try writer.write(UInt32(tensor.shape.count))
        for dimension in tensor.shape.reversed() { try writer.write(UInt64(dimension)) }
        try writer.write(tensor.type.rawValue)
        try writer.write(UInt64(offset))
      }
      try writer.pad(to: alignment)
      for (tensor, count) in zip(tensors, counts) {
        let start = writer.position
        try tensor.write(&writer)
        guard writer.position - start == count else {
          throw FileError(
            path, at: "tensor \(quoted(tensor.name))",
            "wrote \(writer.position - start) bytes where its shape needs \(count)")
        }
        try writer.pad(to: alignment)
      }
    }
    try AtomicFile.write(path, body, checking: check)
  }

  /// The bytes each tensor takes, and where each begins in the data.
  private static func layout(
    _ tensors: [GGUFTensorToWrite], alignment: Int, _ path: String
  ) throws -> (counts: [Int], offsets: [Int]) {
    var names: Set<String> = []
    var counts: [Int] = []
    var offsets: [Int] = []
    var offset = 0
    for tensor in tensors {
      func error(_ problem: String) -> FileError { FileError(path, at: "tensor \(quoted(tensor.name))", problem) }
      guard (1...GGUFReader.longestName).contains(tensor.name.utf8.count), names.insert(tensor.name).inserted else {
        throw error("is there twice, or its name is empty or too long")
      }
      let count: Int
      do {
        count = try tensor.type.byteCount(tensor.shape)
      } catch let problem {
        throw error(problem.text)
      }
      counts.append(count)
      offsets.append(offset)
      let (sum, overflow) = offset.addingReportingOverflow(count)
      guard !overflow, sum <= Int.max - alignment else { throw error("makes the file too large to address") }
      offset = (sum + alignment - 1) / alignment * alignment
    }
    return (counts, offsets)
  }
}

extension FileWriter {
  fileprivate mutating func writeGGUF(_ text: String) throws {
    try write(UInt64(text.utf8.count))
    try write(text)
  }

  fileprivate mutating func writeGGUF(_ value: GGUFValue) throws {
    switch value {
    case .uint8(let value): try write(value)
    case .int8(let value): try write(value)
    case .uint16(let value): try write(value)
    case .int16(let value): try write(value)
    case .uint32(let value): try write(value)
    case .int32(let value): try write(value)
    case .float32(let value): try write(value.bitPattern)
    case .bool(let value): try write(UInt8(value ? 1 : 0))
    case .string(let value): try writeGGUF(value)
    case .uint64(let value): try write(value)
    case .int64(let value): try write(value)
    case .float64(let value): try write(value.bitPattern)
    case .array(let array):
      try write(array.elementType)
      try write(UInt64(array.count))
      try array.withBytes { try write($0) }
    }
  }
}
