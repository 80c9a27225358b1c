/// A GGUF file: metadata under keys, and tensors that may be packed.
///
/// Opening reads and checks everything but the tensors' elements, which stay in the mapped file. Versions 2 and 3 are
/// read, little-endian; a file has to be laid out as llama.cpp demands, each tensor right after the one before.
///
/// Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>
public struct GGUF: Sendable {
  /// The file, as the caller named it.
  public let path: String

  /// The metadata.
  public let metadata: [String: GGUFValue]

  /// The metadata's keys in file order.
  public let keys: [String]

  /// The tensors' names in file order.
  public let names: [String]

  private let tensors: [String: GGUFTensor]

  /// Opens a file.
  ///
  /// - Throws: `FileError` when the file is missing, departs from the format, or holds packings not known here.
  public init(_ path: String) throws {
    let file = try MappedFile(path)
    var reader = GGUFReader(file)
    (self.keys, self.metadata, self.names, self.tensors) = try withExtendedLifetime(file) {
      let counts = try reader.preamble()
      let (keys, metadata) = try reader.metadata(counts.keys)
      let (names, tensors) = try reader.tensors(counts.tensors, alignment: metadata["general.alignment"])
      return (keys, metadata, names, tensors)
    }
    self.path = path
  }

  /// The tensor of this name, if there is one.
  public subscript(_ name: String) -> GGUFTensor? { tensors[name] }

  /// The tensor of this name.
  ///
  /// - Throws: `FileError` when there is none, with the name most like it.
  public func tensor(_ name: String) throws -> GGUFTensor {
    if let tensor = tensors[name] { return tensor }
    let remedy = nearest(to: name, among: names).map { "did you mean \(quoted($0))?" }
    throw FileError(path, at: "tensor \(quoted(name))", "is not in the file", remedy: remedy)
  }

  /// The alignment of tensors that `general.alignment` asks for; 32 when it is absent.
  static func alignment(_ value: GGUFValue?, _ path: String) throws -> Int {
    guard let value else { return 32 }
    guard case .uint32(let number) = value, number.nonzeroBitCount == 1, number <= 1 << 20 else {
      throw FileError(
        path, at: "key 'general.alignment'", "must be a 32-bit unsigned power of two of at most 1048576")
    }
    return Int(number)
  }
}

/// A tensor inside a mapped GGUF file.
public struct GGUFTensor: Sendable {
  /// The name in the file.
  public let name: String

  /// How the elements are stored.
  public let type: GGUFType

  /// Outermost dimension first, the reverse of the file's order: `[outputs, inputs]` for a layer's weight.
  public let shape: [Int]

  /// The file that holds the bytes.
  public let file: MappedFile

  /// The place of the bytes in the file.
  public let range: Range<Int>

  /// The blocks, row after row; valid while `file` lives.
  public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: file.bytes[range]) }

  /// Gives the blocks to `body` and keeps the file mapped until `body` returns.
  public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    try withExtendedLifetime(file) { try body(bytes) }
  }
}
