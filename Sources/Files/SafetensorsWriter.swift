/// A tensor about to be written: what the header says of it, and a way to produce its bytes when their turn comes.
public struct TensorToWrite {
  let name: String
  let type: ElementType
  let shape: [Int]
  let write: (inout FileWriter) throws -> Void

  /// A tensor whose bytes `write` produces: row-major, little-endian, exactly as many as type and shape need.
  public init(name: String, type: ElementType, shape: [Int], write: @escaping (inout FileWriter) throws -> Void) {
    self.name = name
    self.type = type
    self.shape = shape
    self.write = write
  }

  /// A tensor of type `f32`.
  public init(name: String, floats: [Float], shape: [Int]) {
    self.init(name: name, type: .f32, shape: shape) { writer in
      try floats.withUnsafeBytes { try writer.write($0) }
    }
  }
}

extension Safetensors {
  /// Writes a file, whole or not at all.
  ///
  /// Tensors are laid down by falling element size, otherwise in the order given, so that each is aligned to its
  /// elements. The data begins at a multiple of 8 bytes.
  ///
  /// - Throws: `FileError` when a name is given twice or reserved, when a tensor produces another number of bytes than
  ///   its type and shape need, or when the file cannot be written.
  public static func write(_ tensors: [TensorToWrite], metadata: [String: String] = [:], to path: String) throws {
    let ordered = ElementType.sizes.flatMap { size in tensors.filter { $0.type.size == size } }
    var header: [String: JSON] = [:]
    var ends: [Int] = []
    var end = 0
    for tensor in ordered {
      func error(_ problem: String) -> FileError { FileError(path, at: "tensor \(quoted(tensor.name))", problem) }
      guard tensor.name != "__metadata__", header[tensor.name] == nil else {
        throw error("the name is reserved or already taken")
      }
      guard let count = tensor.type.byteCount(tensor.shape), count <= Int.max - end else {
        throw error("shape \(tensor.shape) is negative or too large")
      }
      header[tensor.name] = .object([
        "dtype": .string(tensor.type.rawValue),
        "shape": .array(tensor.shape.map { .integer($0) }),
        "data_offsets": .array([.integer(end), .integer(end + count)]),
      ])
      end += count
      ends.append(end)
    }
    if !metadata.isEmpty { header["__metadata__"] = .object(metadata.mapValues { .string($0) }) }
    var text = JSON.object(header).text()
    text += String(repeating: " ", count: (8 - text.utf8.count % 8) % 8)
    guard text.utf8.count <= SafetensorsHeader.largestHeader else {
      throw FileError(path, "would need a header of more than \(SafetensorsHeader.largestHeader) bytes")
    }
    try AtomicFile.write(path) { writer in
      try writer.write(UInt64(text.utf8.count))
      try writer.write(text)
      let dataStart = writer.position
      for (tensor, end) in zip(ordered, ends) {
        let start = writer.position - dataStart
        try tensor.write(&writer)
        let written = writer.position - dataStart - start
        guard start + written == end else {
          throw FileError(
            path, at: "tensor \(quoted(tensor.name))", "wrote \(written) bytes where its shape needs \(end - start)")
        }
      }
    }
  }
}

extension ElementType {
  /// All element sizes, largest first.
  fileprivate static let sizes = [8, 4, 2, 1]
}
