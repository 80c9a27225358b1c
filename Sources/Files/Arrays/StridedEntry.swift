/// An array in a mapped file whose elements may lie apart, as those of a transposed tensor do.
public struct StridedEntry: ArrayEntry {
  /// The name in the file.
  public let name: String

  /// The type of the elements.
  public let type: ElementType

  /// Outermost dimension first; empty for a scalar.
  public var shape: [Int] { layout.shape }

  /// The file, for messages.
  public var path: String { file.path }

  let layout: StridedLayout
  let file: MappedFile
  /// From the first element to the last, in bytes of the file.
  let range: Range<Int>

  /// Gives the elements to `body`: the file's own bytes where they lie row after row, else a copy of them.
  public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) throws -> Result {
    try file.withBytes { all in
      let bytes = UnsafeRawBufferPointer(rebasing: all[range])
      if layout.isRowMajor { return try body(bytes) }
      return try layout.gathered(bytes, size: type.size).withUnsafeBytes(body)
    }
  }
}
