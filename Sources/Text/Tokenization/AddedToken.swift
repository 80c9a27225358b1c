import Files

/// A token that is found in a text before it is cut into words.
struct AddedToken: Sendable {
  var id: Int
  var content: String

  /// Whether it counts only where no word character touches it.
  var isSingleWord = false

  /// Whether it takes the whitespace to its left, or to its right, with it.
  var stripsLeft = false
  var stripsRight = false

  /// Whether it is looked for in the normalized text, rather than in the text as written.
  var isNormalized = false

  /// Whether it is a control token, which decoding may leave out.
  var isSpecial = true

  init(id: Int, content: String, isSpecial: Bool) {
    self.id = id
    self.content = content
    self.isSpecial = isSpecial
  }

  init(_ component: TokenizerComponent) throws {
    id = try component.count("id")
    content = try component.string("content")
    isSingleWord = try component.bool("single_word", default: false)
    stripsLeft = try component.bool("lstrip", default: false)
    stripsRight = try component.bool("rstrip", default: false)
    isSpecial = try component.bool("special", default: false)
    isNormalized = try component.bool("normalized", default: !isSpecial)
  }

  var json: JSON {
    .object([
      "id": .integer(id), "content": .string(content), "single_word": .bool(isSingleWord), "lstrip": .bool(stripsLeft),
      "rstrip": .bool(stripsRight), "normalized": .bool(isNormalized), "special": .bool(isSpecial),
    ])
  }
}

/// The added tokens of a vocabulary, ready to be found in a text.
struct AddedTokens: Sendable {
  /// In the order of the file.
  private(set) var tokens: [AddedToken] = []

  private var indices: [Int: Int] = [:]
  private var written = PrefixTree()
  private var normalized = PrefixTree()

  init(_ tokens: [AddedToken], normalizer: Normalizer?) {
    self.tokens = tokens
    for (index, token) in tokens.enumerated() { indices[token.id] = index }
    // Of two tokens with the same text the special one is found.
    for special in [true, false] {
      for (index, token) in tokens.enumerated() where token.isSpecial == special {
        let content = Array(token.content.unicodeScalars)
        if token.isNormalized {
          normalized.insert(normalizer?.normalized(content) ?? content, value: index)
        } else {
          written.insert(content, value: index)
        }
      }
    }
  }

  subscript(_ id: Int) -> AddedToken? { indices[id].map { tokens[$0] } }

  /// A stretch of text, or an added token found between two such.
  enum Part {
    case text(ArraySlice<Unicode.Scalar>)
    case token(Int)
  }

  /// Cuts a text at the tokens that are looked for as written, or at those looked for after normalization.
  ///
  /// At each place the longest token counts, and the leftmost place comes first.
  func parts(of text: ArraySlice<Unicode.Scalar>, normalized isNormalized: Bool, skippingSpecial: Bool) -> [Part] {
    let tree = isNormalized ? normalized : written
    guard !tree.isEmpty else { return text.isEmpty ? [] : [.text(text)] }
    var parts: [Part] = []
    var done = text.startIndex
    var position = text.startIndex
    while position < text.endIndex {
      guard let match = tree.longestPrefix(of: text, from: position) else {
        position += 1
        continue
      }
      let token = tokens[match.value]
      let standsAlone =
        !token.isSingleWord
        || (!(position > text.startIndex && text[position - 1].isWord)
          && !(match.end < text.endIndex && text[match.end].isWord))
      if standsAlone, !(skippingSpecial && token.isSpecial) {
        var start = position
        var end = match.end
        while token.stripsLeft, start > done, text[start - 1].properties.isWhitespace { start -= 1 }
        while token.stripsRight, end < text.endIndex, text[end].properties.isWhitespace { end += 1 }
        if start > done { parts.append(.text(text[done..<start])) }
        parts.append(.token(token.id))
        done = end
        position = end
      } else {
        position = match.end
      }
    }
    if done < text.endIndex { parts.append(.text(text[done...])) }
    return parts
  }
}
