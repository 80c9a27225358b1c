import Files

/// How the numbers lie in a file that does not say so itself: bytes of images somewhere in it, and labels in another.
///
/// This reads arrays out of files of any kind whose layout is known, such as arrays that Python has pickled, of which
/// nothing is run.
public struct RawLayout: Sendable, Equatable {
  /// `[count, height, width]` or `[count, height, width, channels]`.
  public var shape: [Int]
  /// The place of the first byte of the first image, after unpacking.
  public var offset = 0
  /// The place of the first label, after unpacking.
  public var labelOffset = 0
  /// The type of a label, least significant byte first.
  public var labelType = LabelType.byte

  /// How labels are stored.
  public enum LabelType: String, Sendable, CaseIterable {
    case byte = "u8"
    case int32 = "i32"
    case int64 = "i64"

    var type: NumberType {
      switch self {
      case .byte: .byte
      case .int32: NumberType(kind: .signed, size: 4, isBigEndian: false)
      case .int64: NumberType(kind: .signed, size: 8, isBigEndian: false)
      }
    }
  }

  /// Images of bytes from the start of a file.
  public init(shape: [Int]) { self.shape = shape }

  /// The images in `path`.
  func images(_ path: String) throws -> NumberArray {
    let stream = try ByteStream(path)
    try stream.skip(offset, "what stands before the images")
    return NumberArray(shape: shape, type: .byte, stream: stream, allowsRest: true)
  }

  /// The labels in `path`.
  func labels(_ path: String) throws -> NumberArray {
    let stream = try ByteStream(path)
    try stream.skip(labelOffset, "what stands before the labels")
    return NumberArray(shape: [shape[0]], type: labelType.type, stream: stream, allowsRest: true)
  }
}
