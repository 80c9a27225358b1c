import Files

/// Rewrites a text before it is cut into words.
indirect enum Normalizer: Sendable {
  case form(NormalizationForm)
  case lowercase
  case stripAccents
  case strip(left: Bool, right: Bool)
  case prepend([Unicode.Scalar])
  case replace(Separator, [Unicode.Scalar])
  case bert(BertNormalizer)
  case sequence([Normalizer])

  /// - Throws: `FileError` naming a kind of normalizer that is not supported.
  init(_ component: TokenizerComponent) throws {
    let type = try component.type()
    switch type {
    case "NFC": self = .form(.nfc)
    case "NFD": self = .form(.nfd)
    case "NFKC": self = .form(.nfkc)
    case "NFKD": self = .form(.nfkd)
    case "Lowercase": self = .lowercase
    case "StripAccents": self = .stripAccents
    case "Strip":
      self = .strip(
        left: try component.bool("strip_left", default: true), right: try component.bool("strip_right", default: true))
    case "Prepend": self = .prepend(Array(try component.string("prepend").unicodeScalars))
    case "Replace":
      guard let pattern = component.child("pattern") else { throw component.error("needs a 'pattern'") }
      self = .replace(try Separator(pattern), Array(try component.string("content").unicodeScalars))
    case "BertNormalizer": self = .bert(try BertNormalizer(component))
    case "Sequence": self = .sequence(try component.children("normalizers").map(Normalizer.init))
    default: throw component.unknown(type)
    }
  }

  func normalized(_ text: [Unicode.Scalar]) -> [Unicode.Scalar] {
    switch self {
    case .form(let form): return form.normalized(text)
    case .lowercase: return text.flatMap { $0.properties.lowercaseMapping.unicodeScalars }
    case .stripAccents: return text.filter { !Self.isMark($0) }
    case .strip(let left, let right):
      var slice = text[...]
      if left { slice = slice.drop { $0.properties.isWhitespace } }
      while right, let last = slice.last, last.properties.isWhitespace { slice.removeLast() }
      return Array(slice)
    case .prepend(let prefix): return text.isEmpty ? text : prefix + text
    case .replace(let separator, let content): return separator.replacing(in: text, with: content)
    case .bert(let normalizer): return normalizer.normalized(text)
    case .sequence(let normalizers): return normalizers.reduce(text) { $1.normalized($0) }
    }
  }

  /// Whether the scalar was a mark in Unicode 9; three have changed their category since.
  private static func isMark(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x1cf2, 0x1cf3: true
    case 0x111c9: false
    default: scalar.isIn(ScalarSet.marks) && scalar.isAssigned(by: 9)
    }
  }
}

extension Normalizer {
  /// How many times longer a text may become, at most.
  var growth: Double {
    switch self {
    // Of all characters U+FDFA becomes the most: 18.
    case .form: 18
    case .lowercase: 3
    case .stripAccents, .strip: 1
    case .prepend(let prefix): Double(1 + prefix.count)
    case .replace(let separator, let content): separator.growth(replacedBy: content)
    case .bert: 18 * 3
    case .sequence(let normalizers): normalizers.reduce(1) { $0 * $1.growth }
    }
  }
}

/// BERT's cleaning: control characters go, Chinese characters stand alone, accents and case may go.
struct BertNormalizer: Sendable {
  private let cleans: Bool
  private let separatesChinese: Bool
  private let stripsAccents: Bool
  private let lowercases: Bool

  init(_ component: TokenizerComponent) throws {
    cleans = try component.bool("clean_text", default: true)
    separatesChinese = try component.bool("handle_chinese_chars", default: true)
    lowercases = try component.bool("lowercase", default: true)
    stripsAccents = try component.bool("strip_accents", default: lowercases)
  }

  func normalized(_ text: [Unicode.Scalar]) -> [Unicode.Scalar] {
    var text = text
    if cleans {
      text = text.compactMap { scalar in
        if Self.isDropped(scalar) { return nil }
        return scalar.properties.isWhitespace ? " " : scalar
      }
    }
    if separatesChinese { text = text.flatMap { Self.isChinese($0) ? [" ", $0, " "] : [$0] } }
    if stripsAccents {
      text = NormalizationForm.nfd.normalized(text).filter { !Self.isNonspacingMark($0) }
    }
    if lowercases { text = text.flatMap { $0.properties.lowercaseMapping.unicodeScalars } }
    return text
  }

  private static func isDropped(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar {
    case "\t", "\n", "\r": false
    case "\0", "\u{fffd}": true
    default:
      switch scalar.properties.generalCategory {
      case .control, .format, .privateUse: scalar.isAssigned(by: 8) || scalar.properties.generalCategory == .privateUse
      default: false
      }
    }
  }

  /// Whether the scalar was a nonspacing mark in Unicode 8; six have changed their category since.
  private static func isNonspacingMark(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x1734, 0x1171e: true
    case 0x1885, 0x1886, 0xa9bd, 0x111c9: false
    default: scalar.properties.generalCategory == .nonspacingMark && scalar.isAssigned(by: 8)
    }
  }

  private static func isChinese(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x4e00...0x9fff, 0x3400...0x4dbf, 0x20000...0x2a6df, 0x2a700...0x2b73f, 0x2b740...0x2b81f, 0x2b920...0x2ceaf,
      0xf900...0xfaff, 0x2f800...0x2fa1f:
      true
    default: false
    }
  }
}
