/// A tensor inside a mapped file: its name, type and shape, and where its bytes are.
public struct TensorEntry: ArrayEntry {
  /// The name in the file.
  public let name: String

  /// The type of the elements.
  public let type: ElementType

  /// Outermost dimension first; empty for a scalar.
  public let shape: [Int]

  /// The file that holds the bytes.
  public let file: MappedFile

  /// The file, for messages.
  public var path: String { file.path }

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
}
