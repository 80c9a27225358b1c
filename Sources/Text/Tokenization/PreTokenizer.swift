import Files

/// A part of a text on its way to becoming words.
struct TextPiece {
  var text: ArraySlice<Unicode.Scalar>

  /// Whether it begins where the whole text does.
  var isFirst: Bool
}

/// Cuts a text into the words that a ``TokenModel`` encodes one by one.
indirect enum PreTokenizer: Sendable {
  case split(Separator, SplitBehavior, isInverted: Bool)
  /// Puts the scalar in front of a text that does not begin with it.
  case prefix(Unicode.Scalar)
  /// Writes every byte as a printable character.
  case byteLevel
  case metaspace(replacement: Unicode.Scalar, prepends: MetaspacePrefix, splits: Bool)
  case sequence([PreTokenizer])

  /// When `Metaspace` puts its mark in front of a text.
  enum MetaspacePrefix: String {
    case always, first, never

    /// Reads `prepend_scheme`, or `add_prefix_space` of older files.
    init(_ component: TokenizerComponent) throws {
      guard let name = try component.optionalString("prepend_scheme") else {
        self = try component.bool("add_prefix_space", default: true) ? .always : .never
        return
      }
      guard let scheme = MetaspacePrefix(rawValue: name) else {
        throw component.error("'prepend_scheme' must be 'always', 'first' or 'never'; got \(quoted(name))")
      }
      self = scheme
    }
  }

  /// The expression of GPT-2's words, which `ByteLevel` applies unless told otherwise.
  static let gpt2Pattern =
    #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

  /// - Throws: `FileError` naming a kind of pre-tokenizer that is not supported.
  init(_ component: TokenizerComponent) throws {
    let type = try component.type()
    switch type {
    case "ByteLevel":
      var steps: [PreTokenizer] = []
      if try component.bool("add_prefix_space", default: true) { steps.append(.prefix(" ")) }
      if try component.bool("use_regex", default: true) {
        let pattern = try Pattern(Self.gpt2Pattern, path: component.path, place: component.place)
        steps.append(.split(.pattern(pattern), .isolated, isInverted: false))
      }
      self = .sequence(steps + [.byteLevel])
    case "Split":
      guard let pattern = component.child("pattern") else { throw component.error("needs a 'pattern'") }
      self = .split(
        try Separator(pattern), try Self.behavior(component), isInverted: try component.bool("invert", default: false))
    case "Digits":
      let isIndividual = try component.bool("individual_digits", default: false)
      self = .split(.scalars { $0.isIn(ScalarSet.numbers) }, isIndividual ? .isolated : .contiguous, isInverted: false)
    case "Whitespace":
      self = .sequence([
        .split(.scalars { $0.properties.isWhitespace }, .removed, isInverted: false),
        .split(.scalars { $0.isWord }, .contiguous, isInverted: false),
      ])
    case "WhitespaceSplit": self = .split(.scalars { $0.properties.isWhitespace }, .removed, isInverted: false)
    case "Punctuation":
      self = .split(.scalars(Self.isPunctuation), try Self.behavior(component, default: .isolated), isInverted: false)
    case "BertPreTokenizer":
      self = .sequence([
        .split(.scalars { $0.properties.isWhitespace }, .removed, isInverted: false),
        .split(.scalars(Self.isPunctuation), .isolated, isInverted: false),
      ])
    case "Metaspace":
      let replacement = Array(try component.string("replacement").unicodeScalars)
      guard replacement.count == 1 else { throw component.error("'replacement' must be one character") }
      self = .metaspace(
        replacement: replacement[0], prepends: try MetaspacePrefix(component),
        splits: try component.bool("split", default: true))
    case "Sequence": self = .sequence(try component.children("pretokenizers").map(PreTokenizer.init))
    default: throw component.unknown(type)
    }
  }

  private static func behavior(
    _ component: TokenizerComponent, default fallback: SplitBehavior? = nil
  ) throws -> SplitBehavior {
    if component.json["behavior"] == nil, let fallback { return fallback }
    let name = try component.string("behavior")
    guard let behavior = SplitBehavior(rawValue: name) else {
      throw component.error("unknown behavior \(quoted(name))")
    }
    return behavior
  }

  /// BERT's punctuation: every ASCII sign, and what was punctuation in Unicode 8.
  @Sendable private static func isPunctuation(_ scalar: Unicode.Scalar) -> Bool {
    if scalar.isASCII { return ("!"..."~").contains(scalar) && !(scalar.isWord && scalar != "_") }
    return (scalar.isIn(ScalarSet.punctuation) && scalar.isAssigned(by: 8)) || scalar == "\u{166d}"
      || scalar == "\u{111c9}"
  }

  func pieces(of pieces: [TextPiece]) -> [TextPiece] {
    switch self {
    case .sequence(let steps): return steps.reduce(pieces) { $1.pieces(of: $0) }
    case .split(let separator, let behavior, let isInverted):
      return pieces.flatMap { piece in
        behavior.pieces(of: piece.text, at: separator, isInverted: isInverted).map { range in
          TextPiece(text: piece.text[range], isFirst: piece.isFirst && range.lowerBound == piece.text.startIndex)
        }
      }
    case .prefix(let scalar):
      return pieces.map { piece in
        piece.text.first == scalar ? piece : TextPiece(text: [scalar] + piece.text, isFirst: piece.isFirst)
      }
    case .byteLevel:
      return pieces.map { piece in
        TextPiece(text: ByteAlphabet.characters(for: piece.text)[...], isFirst: piece.isFirst)
      }
    case .metaspace(let mark, let prefix, let splits):
      return pieces.flatMap { piece in
        var text = piece.text.map { $0 == " " ? mark : $0 }
        if text.first != mark, prefix == .always || (prefix == .first && piece.isFirst) { text.insert(mark, at: 0) }
        guard splits else { return [TextPiece(text: text[...], isFirst: piece.isFirst)] }
        return SplitBehavior.mergedWithNext.pieces(of: text[...], at: .literal([mark])).map { range in
          TextPiece(text: text[range], isFirst: piece.isFirst && range.lowerBound == 0)
        }
      }
    }
  }
}

extension PreTokenizer {
  /// How many times longer a text may become, at most.
  var growth: Double {
    switch self {
    case .split: 1
    case .prefix, .metaspace: 2
    case .byteLevel: 4
    case .sequence(let steps): steps.reduce(1) { $0 * $1.growth }
    }
  }
}
