import Files

/// The numbers in an array file: how wide they are and how to read them.
struct NumberType: Equatable {
  enum Kind { case unsigned, signed, float }
  let kind: Kind
  /// Bytes a number.
  let size: Int
  let isBigEndian: Bool

  static let byte = NumberType(kind: .unsigned, size: 1, isBigEndian: false)

  /// The numbers that `bytes` hold.
  func numbers(_ bytes: [UInt8]) -> [Double] {
    stride(from: 0, to: bytes.count - size + 1, by: size).map { start in
      let part = bytes[start..<start + size]
      let bits =
        isBigEndian
        ? part.reduce(UInt64(0)) { $0 << 8 | UInt64($1) } : part.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
      switch kind {
      case .unsigned: return Double(bits)
      case .signed:
        let shift = UInt64(64 - 8 * size)
        return Double(Int64(bitPattern: bits << shift) >> Int64(shift))
      case .float:
        if size == 2 { return Double(Half.float(UInt16(truncatingIfNeeded: bits))) }
        return size == 4 ? Double(Float(bitPattern: UInt32(truncatingIfNeeded: bits))) : Double(bitPattern: bits)
      }
    }
  }
}

/// An array in a file: its shape, the type of its numbers, and the bytes from the first number on.
struct NumberArray {
  let shape: [Int]
  let type: NumberType
  let stream: ByteStream
  /// What is left to read behind the last number: nothing in the formats that are arrays alone.
  var allowsRest = false

  var path: String { stream.path }

  /// An array in a file that says itself what it is: IDX or NumPy, plain or packed by gzip.
  ///
  /// - Throws: a ``FileError`` when it is neither, or its header cannot be true.
  init(_ path: String) throws {
    let start = try ByteStream(path).read(6, "its first bytes")
    let stream = try ByteStream(path)
    if start.starts(with: NumPyHeader.magic) {
      self = try NumberArray(numPy: stream)
    } else if start[0] == 0, start[1] == 0, (1...4).contains(start[3]) {
      self = try NumberArray(idx: stream)
    } else {
      throw FileError(path, "is no IDX and no NumPy file", remedy: "say how it is laid out with --raw")
    }
  }

  init(shape: [Int], type: NumberType, stream: ByteStream, allowsRest: Bool = false) {
    (self.shape, self.type, self.stream, self.allowsRest) = (shape, type, stream, allowsRest)
  }

  /// An array of the IDX format: two zero bytes, a type, the number of axes, their sizes and the numbers, all with the
  /// most significant byte first.
  ///
  /// Format: <https://yann.lecun.com/exdb/mnist/>
  init(idx stream: ByteStream) throws {
    let header = try stream.read(4, "the header")
    let types: [UInt8: (NumberType.Kind, Int)] = [
      0x08: (.unsigned, 1), 0x09: (.signed, 1), 0x0b: (.signed, 2), 0x0c: (.signed, 4), 0x0d: (.float, 4),
      0x0e: (.float, 8),
    ]
    guard let (kind, size) = types[header[2]] else {
      throw FileError(stream.path, "has IDX numbers of type 0x\(String(header[2], radix: 16)), which is none")
    }
    let sizes = try stream.read(4 * Int(header[3]), "the sizes")
    let shape = stride(from: 0, to: sizes.count, by: 4).map { start in
      sizes[start..<start + 4].reduce(0) { $0 << 8 | Int($1) }
    }
    self.init(shape: shape, type: NumberType(kind: kind, size: size, isBigEndian: true), stream: stream)
  }

  /// An array of NumPy's format, in C order.
  init(numPy stream: ByteStream) throws {
    let header = try NumPyHeader(stream)
    self.init(shape: header.shape, type: header.type, stream: stream)
  }

  /// All numbers of an array of one axis that must be whole: labels.
  ///
  /// - Throws: a ``FileError`` for other shapes, and for numbers that are not whole.
  func integers() throws -> [Int] {
    guard shape.count == 1 else {
      throw FileError(path, "has shape \(described(shape: shape)); expected one axis, a label for each image")
    }
    var integers: [Int] = []
    while integers.count < shape[0] {
      let part = min(shape[0] - integers.count, 1 << 16)
      for value in type.numbers(try stream.read(part * type.size, "label \(integers.count)")) {
        guard let label = Int(exactly: value) else {
          throw FileError(path, "label \(integers.count) is \(value), which is no class")
        }
        integers.append(label)
      }
    }
    if !allowsRest { try stream.expectEnd() }
    return integers
  }
}
