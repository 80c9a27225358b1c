import Files

/// Turns tokens back into text.
///
/// Every step maps a list of texts to another; the result is their concatenation.
indirect enum TokenDecoder: Sendable {
  case byteLevel
  case wordPiece(prefix: String, cleansUp: Bool)
  case metaspace(replacement: Unicode.Scalar, dropsFirst: Bool)
  case byteFallback
  case fuse
  case strip(Unicode.Scalar, start: Int, stop: Int)
  case replace(Separator, [Unicode.Scalar])
  case sequence([TokenDecoder])

  /// - Throws: `FileError` naming a kind of decoder that is not supported.
  init(_ component: TokenizerComponent) throws {
    let type = try component.type()
    switch type {
    case "ByteLevel": self = .byteLevel
    case "WordPiece":
      self = .wordPiece(
        prefix: try component.string("prefix"), cleansUp: try component.bool("cleanup", default: true))
    case "Metaspace":
      let scalar = try Self.scalar("replacement", component)
      self = .metaspace(
        replacement: scalar, dropsFirst: try PreTokenizer.MetaspacePrefix(component) != .never)
    case "ByteFallback": self = .byteFallback
    case "Fuse": self = .fuse
    case "Strip":
      self = .strip(
        try Self.scalar("content", component), start: try component.count("start"), stop: try component.count("stop"))
    case "Replace":
      guard let pattern = component.child("pattern") else { throw component.error("needs a 'pattern'") }
      self = .replace(try Separator(pattern), Array(try component.string("content").unicodeScalars))
    case "Sequence": self = .sequence(try component.children("decoders").map(TokenDecoder.init))
    default: throw component.unknown(type)
    }
  }

  private static func scalar(_ key: String, _ component: TokenizerComponent) throws -> Unicode.Scalar {
    let scalars = Array(try component.string(key).unicodeScalars)
    guard scalars.count == 1 else { throw component.error("'\(key)' must be one character") }
    return scalars[0]
  }

  func decoded(_ tokens: [String]) -> [String] {
    switch self {
    case .sequence(let steps): return steps.reduce(tokens) { $1.decoded($0) }
    case .byteLevel: return [String(decoding: tokens.flatMap(ByteAlphabet.bytes), as: UTF8.self)]
    case .wordPiece(let prefix, let cleansUp):
      return tokens.enumerated().map { index, token in
        var token = token
        if index > 0 {
          let isInside = token.utf8.starts(with: prefix.utf8)
          token = isInside ? String(scalars: token.unicodeScalars.dropFirst(prefix.unicodeScalars.count)) : " " + token
        }
        return cleansUp ? Self.cleanedUp(token) : token
      }
    case .metaspace(let replacement, let dropsFirst):
      return tokens.enumerated().map { index, token in
        String(
          scalars: token.unicodeScalars.compactMap { scalar -> Unicode.Scalar? in
            guard scalar == replacement else { return scalar }
            return index == 0 && dropsFirst ? nil : " "
          })
      }
    case .byteFallback: return Self.joiningBytes(tokens)
    case .fuse: return [tokens.joined()]
    case .strip(let scalar, let start, let stop):
      return tokens.map { token in
        var scalars = Array(token.unicodeScalars)[...]
        for _ in 0..<start where scalars.first == scalar { scalars.removeFirst() }
        for _ in 0..<stop where scalars.last == scalar { scalars.removeLast() }
        return String(scalars: scalars)
      }
    case .replace(let separator, let content):
      return tokens.map { String(scalars: separator.replacing(in: Array($0.unicodeScalars), with: content)) }
    }
  }

  /// Takes away the spaces that English does not put before punctuation.
  private static func cleanedUp(_ token: String) -> String {
    let replacements = [
      (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
      (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
    ]
    let scalars = replacements.reduce(Array(token.unicodeScalars)) { text, replacement in
      Separator.literal(Array(replacement.0.unicodeScalars))
        .replacing(in: text, with: Array(replacement.1.unicodeScalars))
    }
    return String(scalars: scalars)
  }

  /// Joins runs of tokens `<0x..>` into text; runs that are not UTF-8 become one U+FFFD a byte.
  private static func joiningBytes(_ tokens: [String]) -> [String] {
    var result: [String] = []
    var bytes: [UInt8] = []
    func flush() {
      guard !bytes.isEmpty else { return }
      if let text = String(validating: bytes, as: UTF8.self) {
        result.append(text)
      } else {
        result += bytes.map { _ in "\u{fffd}" }
      }
      bytes = []
    }
    for token in tokens {
      if token.utf8.count == 6, token.hasPrefix("<0x"), token.hasSuffix(">"),
        let byte = UInt8(token.dropFirst(3).dropLast(), radix: 16)
      {
        bytes.append(byte)
      } else {
        flush()
        result.append(token)
      }
    }
    flush()
    return result
  }
}

extension TokenDecoder {
  /// How many times longer a text may become, at most.
  var growth: Double {
    switch self {
    case .byteLevel, .metaspace, .byteFallback, .fuse, .strip: 1
    case .wordPiece: 2
    case .replace(let separator, let content): separator.growth(replacedBy: content)
    case .sequence(let steps): steps.reduce(1) { $0 * $1.growth }
    }
  }
}
