/// GPT-2's way to write bytes as text: every byte is one printable character.
///
/// Printable Latin-1 characters stand for themselves; the other 68 bytes are the characters from U+0100 on, in order.
enum ByteAlphabet {
  private static let characters: [Unicode.Scalar] = {
    var characters: [Unicode.Scalar] = []
    var next: UInt32 = 0x100
    for byte in UInt8.min...UInt8.max {
      switch byte {
      case 0x21...0x7e, 0xa1...0xac, 0xae...0xff: characters.append(Unicode.Scalar(byte))
      default:
        characters.append(Unicode.Scalar(next) ?? " ")
        next += 1
      }
    }
    return characters
  }()

  private static let bytes = Dictionary(
    uniqueKeysWithValues: zip(characters, UInt8.min...UInt8.max))

  /// The bytes of `text` in UTF-8, each as its character.
  static func characters(for text: ArraySlice<Unicode.Scalar>) -> [Unicode.Scalar] {
    [UInt8](utf8: text).map { characters[Int($0)] }
  }

  /// The bytes a token stands for; its own UTF-8 when some character of it stands for none.
  static func bytes(of token: String) -> [UInt8] {
    var result: [UInt8] = []
    for scalar in token.unicodeScalars {
      guard let byte = bytes[scalar] else { return Array(token.utf8) }
      result.append(byte)
    }
    return result
  }
}
