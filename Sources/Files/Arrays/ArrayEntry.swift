/// One array of a file: its name, type and shape, and a way to its elements.
public protocol ArrayEntry: Sendable {
  /// The name in the file.
  var name: String { get }

  /// The type of the elements.
  var type: ElementType { get }

  /// Outermost dimension first; empty for a scalar.
  var shape: [Int] { get }

  /// The file, for messages.
  var path: String { get }

  /// Gives the elements to `body`, row-major and little-endian, not necessarily aligned.
  ///
  /// - Throws: what `body` throws, or `FileError` when the bytes turn out to be damaged.
  func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) throws -> Result
}

extension ArrayEntry {
  /// The elements as `Float`: exact for `f32`, `f16` and `bf16`, rounded for other types, `bool` as 0 and 1.
  ///
  /// - Throws: `FileError` when the bytes turn out to be damaged.
  public func floats() throws -> [Float] {
    switch type {
    case .f64: try map(Double.self) { Float($0) }
    case .f32: try map(Float.self) { $0 }
    case .f16: try map(UInt16.self) { Half.float(UInt16(littleEndian: $0)) }
    case .bf16: try map(UInt16.self) { BFloat16.float(UInt16(littleEndian: $0)) }
    case .i64: try map(Int64.self) { Float($0) }
    case .i32: try map(Int32.self) { Float($0) }
    case .i16: try map(Int16.self) { Float($0) }
    case .i8: try map(Int8.self) { Float($0) }
    case .u64: try map(UInt64.self) { Float($0) }
    case .u32: try map(UInt32.self) { Float($0) }
    case .u16: try map(UInt16.self) { Float($0) }
    case .u8: try map(UInt8.self) { Float($0) }
    case .bool: try map(UInt8.self) { $0 == 0 ? 0 : 1 }
    }
  }

  /// The elements as `Int`, `bool` as 0 and 1.
  ///
  /// - Throws: `FileError` when the elements are not integers, or one does not fit.
  public func integers() throws -> [Int] {
    switch type {
    case .i64: return try map(Int64.self) { Int($0) }
    case .i32: return try map(Int32.self) { Int($0) }
    case .i16: return try map(Int16.self) { Int($0) }
    case .i8: return try map(Int8.self) { Int($0) }
    case .u64:
      let values = try map(UInt64.self) { $0 }
      guard let largest = values.max(), Int(exactly: largest) == nil else { return values.map { Int($0) } }
      throw FileError(path, at: "tensor \(quoted(name))", "the element \(largest) does not fit 64 signed bits")
    case .u32: return try map(UInt32.self) { Int($0) }
    case .u16: return try map(UInt16.self) { Int($0) }
    case .u8: return try map(UInt8.self) { Int($0) }
    case .bool: return try map(UInt8.self) { $0 == 0 ? 0 : 1 }
    case .f64, .f32, .f16, .bf16:
      throw FileError(
        path, at: "tensor \(quoted(name))", "has elements of type \(type.rawValue) where integers are expected")
    }
  }

  /// Loads every element from its bytes, wherever they lie, and converts it.
  @inline(__always)
  private func map<Stored: BitwiseCopyable, Element>(
    _ stored: Stored.Type, _ convert: (Stored) -> Element
  ) throws -> [Element] {
    try withBytes { bytes in
      let count = bytes.count / MemoryLayout<Stored>.size
      return [Element](unsafeUninitializedCapacity: count) { buffer, initialised in
        for index in 0..<count {
          let value = bytes.loadUnaligned(fromByteOffset: index * MemoryLayout<Stored>.size, as: stored)
          buffer.initializeElement(at: index, to: convert(value))
        }
        initialised = count
      }
    }
  }
}
