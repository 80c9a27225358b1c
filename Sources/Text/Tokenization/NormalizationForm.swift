@_spi(_Unicode) import Swift

/// A Unicode normalization form (UAX 15).
enum NormalizationForm: Sendable {
  case nfc
  case nfd
  case nfkc
  case nfkd

  func normalized(_ text: [Unicode.Scalar]) -> [Unicode.Scalar] {
    if text.allSatisfy(\.isASCII) { return text }
    // The reference's tables are those of Unicode 9, in which a later scalar does nothing and parts its neighbours.
    var result: [Unicode.Scalar] = []
    result.reserveCapacity(text.count)
    var start = 0
    for index in text.indices where !text[index].isAssigned(by: 9) {
      result += normalized(known: text[start..<index])
      result.append(text[index])
      start = index + 1
    }
    return result + normalized(known: text[start...])
  }

  private func normalized(known text: ArraySlice<Unicode.Scalar>) -> [Unicode.Scalar] {
    let text = Self.apart(text)
    // The standard library composes and decomposes but has no compatibility mappings; those come first.
    switch self {
    case .nfc: return Array(String(scalars: text)._nfc)
    case .nfd: return Array(String(scalars: text)._nfd)
    case .nfkc: return Array(String(scalars: Self.compatible(text))._nfc)
    case .nfkd: return Array(String(scalars: Self.compatible(text))._nfd)
    }
  }

  /// The text with three Tibetan vowel signs in parts, which are never put together again.
  ///
  /// They count as beginning a character while their parts do not; Swift 6.3 takes them as they are and leaves the marks
  /// around them out of order.
  private static func apart(_ text: ArraySlice<Unicode.Scalar>) -> ArraySlice<Unicode.Scalar> {
    let parts: [Unicode.Scalar: [Unicode.Scalar]] = [
      "\u{f73}": ["\u{f71}", "\u{f72}"], "\u{f75}": ["\u{f71}", "\u{f74}"], "\u{f81}": ["\u{f71}", "\u{f80}"],
    ]
    guard text.contains(where: { (0xf73...0xf81).contains($0.value) }) else { return text }
    return text.flatMap { parts[$0] ?? [$0] }[...]
  }

  /// The text with every scalar that has a compatibility mapping replaced by it.
  private static func compatible(_ text: ArraySlice<Unicode.Scalar>) -> [Unicode.Scalar] {
    text.flatMap { scalar in compatibilityMappings[scalar] ?? [scalar] }
  }

  private static let compatibilityMappings = CompatibilityMappings.parsed()
}
