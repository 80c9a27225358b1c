/// A GGUF file put together by hand, so that each part can be wrong.
struct GGUFBytes {
  struct Key {
    var name = "k"
    var kind: UInt32 = 4
    var value: [UInt8] = littleEndian(UInt32(7))
  }

  struct Tensor {
    var name = "t"
    var rank: UInt32?
    var dimensions: [UInt64] = [2, 3]
    var type: UInt32 = 0
    var offset: UInt64 = 0
  }

  var magic = Array("GGUF".utf8)
  var version: UInt32 = 3
  var tensorCount: UInt64?
  var keyCount: UInt64?
  var keys: [Key] = [Key()]
  var tensors: [Tensor] = [Tensor()]
  var alignment = 32
  var data = 24

  static func string(_ text: String) -> [UInt8] { littleEndian(UInt64(text.utf8.count)) + Array(text.utf8) }

  /// An array's value: the elements' kind, their number, their bytes.
  static func array(_ kind: UInt32, _ count: UInt64, _ bytes: [UInt8]) -> [UInt8] {
    littleEndian(kind) + littleEndian(count) + bytes
  }

  var bytes: [UInt8] {
    var bytes = magic + littleEndian(version)
    bytes += littleEndian(tensorCount ?? UInt64(tensors.count)) + littleEndian(keyCount ?? UInt64(keys.count))
    for key in keys { bytes += Self.string(key.name) + littleEndian(key.kind) + key.value }
    for tensor in tensors {
      bytes += Self.string(tensor.name) + littleEndian(tensor.rank ?? UInt32(tensor.dimensions.count))
      for dimension in tensor.dimensions { bytes += littleEndian(dimension) }
      bytes += littleEndian(tensor.type) + littleEndian(tensor.offset)
    }
    while bytes.count % alignment != 0 { bytes.append(0) }
    return bytes + (0..<data).map { UInt8(truncatingIfNeeded: $0) }
  }
}
