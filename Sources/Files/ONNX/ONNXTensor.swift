/// An array in an ONNX model: an initialiser, or the value of a node's attribute.
public struct ONNXTensor: ArrayEntry {
  /// The name; empty where the file gives none.
  public let name: String

  /// The type of the elements.
  public let type: ElementType

  /// Outermost dimension first; empty for a scalar.
  public let shape: [Int]

  /// The file, for messages.
  public var path: String { file.path }

  private let file: MappedFile
  private let pieces: Pieces

  /// Where the elements are.
  private enum Pieces {
    /// As they are, one after another.
    case plain([Range<Int>])
    /// Each as a number of variable length.
    case varints([Range<Int>])
  }

  /// The most dimensions.
  private static let mostAxes = 16

  /// Reads a TensorProto, all but its elements.
  init(_ file: MappedFile, _ range: Range<Int>, place fallback: String) throws {
    self.file = file
    var message = ProtobufMessage(file, range)
    var name = "", kind = 0, shape: [Int] = [], raw: Range<Int>?, isOutside = false
    var data: [Int: [Range<Int>]] = [:]
    func error(_ problem: String, remedy: String? = nil) -> FileError {
      FileError(file.path, at: name.isEmpty ? fallback : "tensor \(quoted(name))", problem, remedy: remedy)
    }
    func add(_ dimension: UInt64) throws {
      guard let size = Int(exactly: dimension), shape.count < Self.mostAxes else {
        throw error("has a negative dimension, or more than \(Self.mostAxes)")
      }
      shape.append(size)
    }
    while let (number, value, whole) = try message.next() {
      switch (number, value) {
      case (1, .varint(let dimension)): try add(dimension)
      case (1, .bytes(let packed)): try ProtobufMessage.forEachVarint(file, packed, add)
      case (2, .varint(let number)): kind = Int(truncatingIfNeeded: number)
      case (8, .bytes(let text)): name = try ONNXModel.text(file, text, "a tensor's name")
      case (9, .bytes(let bytes)): raw = bytes
      case (14, .varint(let location)): isOutside = location != 0
      case (3, _): throw error("is a part of a larger tensor, which cannot be read")
      case (4, .bytes(let packed)), (4, .fixed32(let packed)), (5, .bytes(let packed)), (7, .bytes(let packed)),
        (10, .bytes(let packed)), (10, .fixed64(let packed)), (11, .bytes(let packed)):
        data[number, default: []].append(packed)
      case (5, .varint), (7, .varint), (11, .varint): data[number, default: []].append(whole)
      case (1, _), (2, _), (4, _), (5, _), (7, _), (8, _), (9, _), (10, _), (11, _), (14, _):
        throw error("has field \(number) in a form that ONNX does not use")
      default: break
      }
    }
    guard !isOutside else {
      throw error("is kept outside the file, which is not followed", remedy: "save the model as one file")
    }
    guard let (type, field) = Self.types[kind] else {
      throw error("has elements of type \(kind), which cannot be read")
    }
    guard let size = type.byteCount(shape) else { throw error("has a shape too large to address") }
    (self.name, self.type, self.shape) = (name, type, shape)
    let stored = data[field] ?? [], isPlain = raw != nil || field == 4 || field == 10
    pieces = isPlain ? .plain(raw.map { [$0] } ?? stored) : .varints(stored)
    let found =
      switch pieces {
      case .plain(let ranges): ranges.reduce(0) { $0 + $1.count }
      case .varints(let ranges): ranges.reduce(0) { $0 + ProtobufMessage.countVarints(file, $1) } * type.size
      }
    guard found == size else { throw error("has \(found) bytes where its shape and type need \(size)") }
  }

  /// The type of a number of ONNX's, and the field that holds its elements unless they are raw.
  private static let types: [Int: (ElementType, field: Int)] = [
    1: (.f32, 4), 2: (.u8, 5), 3: (.i8, 5), 4: (.u16, 5), 5: (.i16, 5), 6: (.i32, 5), 7: (.i64, 7), 9: (.bool, 5),
    10: (.f16, 5), 11: (.f64, 10), 12: (.u32, 11), 13: (.u64, 11), 16: (.bf16, 5),
  ]

  /// Gives the elements to `body`: the file's own bytes where they lie in one piece, else a copy of them.
  public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) throws -> Result {
    try file.withBytes { all in
      switch pieces {
      case .plain(let ranges):
        if ranges.count == 1 { return try body(UnsafeRawBufferPointer(rebasing: all[ranges[0]])) }
        return try ranges.flatMap { all[$0] }.withUnsafeBytes(body)
      case .varints(let ranges):
        var bytes: [UInt8] = []
        bytes.reserveCapacity(shape.reduce(type.size, *))
        for range in ranges { try ProtobufMessage.forEachVarint(file, range) { try append($0, to: &bytes) } }
        return try bytes.withUnsafeBytes(body)
      }
    }
  }

  /// Adds a number's bytes, once it is sure that the element's type holds it.
  private func append(_ number: UInt64, to bytes: inout [UInt8]) throws {
    let bits = 8 * type.size, signed = Int64(bitPattern: number)
    let isSigned = [.i8, .i16, .i32, .i64].contains(type)
    // Negative numbers are written with all 64 bits.
    let fits = isSigned ? signed >> (bits - 1) == 0 || signed >> (bits - 1) == -1 : bits == 64 || number >> bits == 0
    guard fits else {
      throw FileError(path, at: "tensor \(quoted(name))", "has the element \(signed), too large for \(type.rawValue)")
    }
    withUnsafeBytes(of: number.littleEndian) { bytes.append(contentsOf: $0.prefix(type.size)) }
  }
}
