/// A GGUF file taken apart, so that each part can be made to lie.
struct GGUFParts: Sendable {
  struct Key: Sendable {
    var name: [UInt8]
    var kind: UInt32
    var value: [UInt8]
  }

  struct Tensor: Sendable {
    var name: [UInt8]
    /// As it is claimed; the number of dimensions where nil.
    var rank: UInt32?
    /// Innermost first, as the file has them.
    var dimensions: [UInt64]
    var type: UInt32
    var offset: UInt64
  }

  var version: UInt32 = 3
  var tensorCount: UInt64?
  var keyCount: UInt64?
  var keys: [Key] = []
  var tensors: [Tensor] = []
  var data: [UInt8] = []

  init(_ bytes: [UInt8]) {
    var cursor = 8
    func number<Value: FixedWidthInteger>(_ type: Value.Type) -> Value {
      defer { cursor += type.bitWidth / 8 }
      return bytes[cursor..<cursor + type.bitWidth / 8].reversed().reduce(0) { $0 << 8 | Value(truncatingIfNeeded: $1) }
    }
    func text() -> [UInt8] {
      let count = Int(number(UInt64.self))
      defer { cursor += count }
      return Array(bytes[cursor..<cursor + count])
    }
    func skip(_ kind: UInt32) {
      let sizes: [UInt32: Int] = [0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8]
      switch kind {
      case 8: _ = text()
      case 9:
        let element = number(UInt32.self)
        for _ in 0..<number(UInt64.self) { skip(element) }
      default: cursor += sizes[kind] ?? 0
      }
    }
    let (tensorCount, keyCount) = (number(UInt64.self), number(UInt64.self))
    for _ in 0..<keyCount {
      let (name, kind, start) = (text(), number(UInt32.self), cursor)
      skip(kind)
      keys.append(Key(name: name, kind: kind, value: Array(bytes[start..<cursor])))
    }
    for _ in 0..<tensorCount {
      let name = text(), dimensions = (0..<number(UInt32.self)).map { _ in number(UInt64.self) }
      tensors.append(
        Tensor(name: name, dimensions: dimensions, type: number(UInt32.self), offset: number(UInt64.self)))
    }
    data = Array(bytes[((cursor + 31) / 32 * 32)...])
  }

  var bytes: [UInt8] {
    var bytes = Array("GGUF".utf8) + Self.number(version)
    bytes += Self.number(tensorCount ?? UInt64(tensors.count)) + Self.number(keyCount ?? UInt64(keys.count))
    for key in keys { bytes += Self.text(key.name) + Self.number(key.kind) + key.value }
    for tensor in tensors {
      bytes += Self.text(tensor.name) + Self.number(tensor.rank ?? UInt32(tensor.dimensions.count))
      bytes += tensor.dimensions.flatMap(Self.number) + Self.number(tensor.type) + Self.number(tensor.offset)
    }
    while bytes.count % 32 != 0 { bytes.append(0) }
    return bytes + data
  }

  /// Gives a key another value, or adds it.
  mutating func set(_ name: String, _ kind: UInt32, _ value: [UInt8]) {
    let key = Key(name: Array(name.utf8), kind: kind, value: value)
    if let index = keys.firstIndex(where: { $0.name == key.name }) { keys[index] = key } else { keys.append(key) }
  }

  /// Adds a tensor behind the others.
  mutating func add(_ name: String, _ dimensions: [UInt64], type: UInt32, _ bytes: [UInt8]) {
    while data.count % 32 != 0 { data.append(0) }
    tensors.append(
      Tensor(name: Array(name.utf8), dimensions: dimensions, type: type, offset: UInt64(data.count)))
    data += bytes
  }

  static func number(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
  }

  static func number(_ value: Float) -> [UInt8] { number(value.bitPattern) }

  static func text(_ bytes: [UInt8]) -> [UInt8] { number(UInt64(bytes.count)) + bytes }

  static func text(_ text: String) -> [UInt8] { self.text(Array(text.utf8)) }

  /// An array's value: the kind of its elements, how many it claims, their bytes.
  static func array(_ kind: UInt32, claiming count: UInt64, _ bytes: [UInt8]) -> [UInt8] {
    number(kind) + number(count) + bytes
  }
}
