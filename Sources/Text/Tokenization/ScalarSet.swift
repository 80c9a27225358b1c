/// A set of Unicode scalars, as a class of a ``Pattern`` such as `[^\s\p{L}]` describes it.
struct ScalarSet: Sendable {
  /// One thing a class lists.
  enum Item: Sendable {
    case range(ClosedRange<UInt32>)
    /// General categories, one bit each: see ``bit(of:)``.
    case categories(UInt32)
    case whitespace
    case word
    case set(ScalarSet)
  }

  private let items: [Item]
  private let isNegated: Bool

  /// Membership of the 128 ASCII scalars, which most text is made of.
  private let ascii: (low: UInt64, high: UInt64)

  init(_ items: [Item], isNegated: Bool = false) {
    self.items = items
    self.isNegated = isNegated
    var low: UInt64 = 0
    var high: UInt64 = 0
    for value in UInt8(0)..<128 {
      let scalar = Unicode.Scalar(value)
      guard items.contains(where: { $0.contains(scalar) }) != isNegated else { continue }
      if value < 64 { low |= 1 << UInt64(value) } else { high |= 1 << UInt64(value - 64) }
    }
    ascii = (low, high)
  }

  func contains(_ scalar: Unicode.Scalar) -> Bool {
    let value = scalar.value
    if value < 64 { return ascii.low >> UInt64(value) & 1 == 1 }
    if value < 128 { return ascii.high >> UInt64(value - 64) & 1 == 1 }
    return items.contains { $0.contains(scalar) } != isNegated
  }

  /// The set of `scalar` in both its cases.
  ///
  /// Two letters outside ASCII count as cases of ASCII ones: U+017F of `s` and the Kelvin sign of `k`.
  static func anyCase(_ scalar: Unicode.Scalar) -> ScalarSet {
    ScalarSet(cases(of: scalar).map { .range($0.value...$0.value) })
  }

  /// This set widened by the other cases of the ranges it lists.
  func ignoringCase() -> ScalarSet {
    var widened = items
    for case .range(let range) in items where range.count <= 0x400 {
      for value in range {
        guard let scalar = Unicode.Scalar(value) else { continue }
        widened += Self.cases(of: scalar).map { .range($0.value...$0.value) }
      }
    }
    return ScalarSet(widened, isNegated: isNegated)
  }

  private static func cases(of scalar: Unicode.Scalar) -> [Unicode.Scalar] {
    var cases = [scalar]
    for mapping in [scalar.properties.lowercaseMapping, scalar.properties.uppercaseMapping] {
      let scalars = Array(mapping.unicodeScalars)
      if scalars.count == 1 { cases.append(scalars[0]) }
    }
    if cases.contains("s") { cases.append("\u{17f}") }
    if cases.contains("k") { cases.append("\u{212a}") }
    return cases
  }
}

extension ScalarSet.Item {
  func contains(_ scalar: Unicode.Scalar) -> Bool {
    switch self {
    case .range(let range): range.contains(scalar.value)
    case .categories(let mask):
      (scalar.isAssigned(by: 16) ? ScalarSet.bit(of: scalar.properties.generalCategory) : ScalarSet.unassigned) & mask
        != 0
    case .whitespace: scalar.properties.isWhitespace
    // Oniguruma, unlike the rules for whole words, leaves joiners out.
    case .word: scalar.isWord && !scalar.properties.isJoinControl
    case .set(let set): set.contains(scalar)
    }
  }
}

extension ScalarSet {
  /// The scalars of general categories, by the short names of the Unicode standard: `L`, `Lu`, `N`, `Nd`, …
  static func categories(named name: String) -> UInt32? {
    let mask = categoryNames.enumerated().reduce(UInt32(0)) { mask, entry in
      entry.element == name || (name.utf8.count == 1 && entry.element.hasPrefix(name)) ? mask | 1 << entry.offset : mask
    }
    return mask == 0 ? nil : mask
  }

  static let letters: UInt32 = 0x1f
  static let marks: UInt32 = 0xe0
  static let numbers: UInt32 = 0x700
  static let punctuation: UInt32 = 0x3f800
  static let unassigned: UInt32 = 1 << 29

  private static let categoryNames = [
    "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm",
    "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn",
  ]

  /// The bit that stands for a general category; bits run in the order of the standard's table.
  static func bit(of category: Unicode.GeneralCategory) -> UInt32 {
    let index =
      switch category {
      case .uppercaseLetter: 0
      case .lowercaseLetter: 1
      case .titlecaseLetter: 2
      case .modifierLetter: 3
      case .otherLetter: 4
      case .nonspacingMark: 5
      case .spacingMark: 6
      case .enclosingMark: 7
      case .decimalNumber: 8
      case .letterNumber: 9
      case .otherNumber: 10
      case .connectorPunctuation: 11
      case .dashPunctuation: 12
      case .openPunctuation: 13
      case .closePunctuation: 14
      case .initialPunctuation: 15
      case .finalPunctuation: 16
      case .otherPunctuation: 17
      case .mathSymbol: 18
      case .currencySymbol: 19
      case .modifierSymbol: 20
      case .otherSymbol: 21
      case .spaceSeparator: 22
      case .lineSeparator: 23
      case .paragraphSeparator: 24
      case .control: 25
      case .format: 26
      case .surrogate: 27
      case .privateUse: 28
      default: 29
      }
    return 1 << UInt32(index)
  }
}

extension Unicode.Scalar {
  func isIn(_ categories: UInt32) -> Bool {
    categories & ScalarSet.bit(of: properties.generalCategory) != 0
  }

  /// Whether the scalar may be part of a word: a letter, mark, decimal digit, connector or joiner.
  var isWord: Bool {
    if isASCII { return ("a"..."z").contains(self) || ("A"..."Z").contains(self) || isASCIIDigit || self == "_" }
    guard isAssigned(by: 16) else { return false }
    return properties.isAlphabetic || properties.isJoinControl || isIn(ScalarSet.marks | 0x900)
  }

  var isASCIIDigit: Bool { ("0"..."9").contains(self) }

  /// Whether Unicode assigned the scalar by the given major version.
  ///
  /// The reference implementation holds tables of several versions, and models were trained with those: expressions
  /// know Unicode 16, BERT's rules Unicode 8, normalization forms and the stripping of accents Unicode 9.
  func isAssigned(by version: Int) -> Bool {
    isASCII || (properties.age.map { ($0.major, $0.minor) <= (version, 0) } ?? false)
  }
}
