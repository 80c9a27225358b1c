/// A tensor inside a mapped file: its name, type and shape, and where its bytes are.
public struct TensorEntry: Sendable {
  /// The name in the file.
  public let name: String

  /// The type of the elements.
  public let type: ElementType

  /// Outermost dimension first; empty for a scalar.
  public let shape: [Int]

  /// The file that holds the bytes.
  public let file: MappedFile

  /// The place of the bytes in the file.
  public let range: Range<Int>

  /// The elements, row-major and little-endian, not necessarily aligned; valid while `file` lives.
  public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: file.bytes[range]) }

  /// Gives the elements' bytes to `body` and keeps the file mapped until `body` returns.
  public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    try withExtendedLifetime(file) { try body(bytes) }
  }

  /// How many elements there are.
  public var count: Int { range.count / type.size }

  /// The elements as `Float`: exact for `f32`, `f16` and `bf16`, rounded for other types, `bool` as 0 and 1.
  ///
  /// - Throws: nothing today; a later element type may have no such reading.
  public func floats() throws -> [Float] {
    switch type {
    case .f64: map(Double.self) { Float($0) }
    case .f32: map(Float.self) { $0 }
    case .f16: map(UInt16.self) { Half.float(UInt16(littleEndian: $0)) }
    case .bf16: map(UInt16.self) { BFloat16.float(UInt16(littleEndian: $0)) }
    case .i64: map(Int64.self) { Float($0) }
    case .i32: map(Int32.self) { Float($0) }
    case .i16: map(Int16.self) { Float($0) }
    case .i8: map(Int8.self) { Float($0) }
    case .u64: map(UInt64.self) { Float($0) }
    case .u32: map(UInt32.self) { Float($0) }
    case .u16: map(UInt16.self) { Float($0) }
    case .u8: map(UInt8.self) { Float($0) }
    case .bool: map(UInt8.self) { $0 == 0 ? 0 : 1 }
    }
  }

  /// The elements as `Int`, `bool` as 0 and 1.
  ///
  /// - Throws: `FileError` when the elements are not integers, or one does not fit.
  public func integers() throws -> [Int] {
    switch type {
    case .i64: return map(Int64.self) { Int($0) }
    case .i32: return map(Int32.self) { Int($0) }
    case .i16: return map(Int16.self) { Int($0) }
    case .i8: return map(Int8.self) { Int($0) }
    case .u64:
      let values = map(UInt64.self) { $0 }
      guard let largest = values.max(), Int(exactly: largest) == nil else { return values.map { Int($0) } }
      throw FileError(file.path, at: "tensor \(quoted(name))", "the element \(largest) does not fit 64 signed bits")
    case .u32: return map(UInt32.self) { Int($0) }
    case .u16: return map(UInt16.self) { Int($0) }
    case .u8: return map(UInt8.self) { Int($0) }
    case .bool: return map(UInt8.self) { $0 == 0 ? 0 : 1 }
    case .f64, .f32, .f16, .bf16:
      throw FileError(
        file.path, at: "tensor \(quoted(name))", "has elements of type \(type.rawValue) where integers are expected")
    }
  }

  /// Loads every element from its bytes, wherever they lie, and converts it.
  @inline(__always)
  private func map<Stored: BitwiseCopyable, Element>(
    _ stored: Stored.Type, _ convert: (Stored) -> Element
  ) -> [Element] {
    withBytes { bytes in
      [Element](unsafeUninitializedCapacity: count) { buffer, initialised in
        for index in 0..<count {
          let value = bytes.loadUnaligned(fromByteOffset: index * MemoryLayout<Stored>.size, as: stored)
          buffer.initializeElement(at: index, to: convert(value))
        }
        initialised = count
      }
    }
  }
}
