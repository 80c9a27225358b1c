@_spi(_Unicode) import Swift

/// A Unicode normalization form (UAX 15).
enum NormalizationForm: Sendable {
  case nfc
  case nfd
  case nfkc
  case nfkd

  func normalized(_ text: [Unicode.Scalar]) -> [Unicode.Scalar] {
    if text.allSatisfy(\.isASCII) { return text }
    // The standard library composes and decomposes but has no compatibility mappings; those come first.
    switch self {
    case .nfc: return Array(String(scalars: text)._nfc)
    case .nfd: return Array(String(scalars: text)._nfd)
    case .nfkc: return Array(String(scalars: Self.compatible(text))._nfc)
    case .nfkd: return Array(String(scalars: Self.compatible(text))._nfd)
    }
  }

  /// The text with every scalar that has a compatibility mapping replaced by it.
  private static func compatible(_ text: [Unicode.Scalar]) -> [Unicode.Scalar] {
    text.flatMap { scalar in compatibilityMappings[scalar] ?? [scalar] }
  }

  private static let compatibilityMappings = CompatibilityMappings.parsed()
}
