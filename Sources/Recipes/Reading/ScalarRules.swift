/// What an unquoted scalar means.
///
/// These are the rules of YAML 1.2 without its other bases, infinities and leading zeros, so that `1e-5`
/// is a number, `no` is text and `010` is neither eight nor ten.
enum ScalarRules {
  static func isNull(_ text: String) -> Bool {
    text.isEmpty || text == "~" || text == "null" || text == "Null" || text == "NULL"
  }

  /// The truth value of `true` and `false`; nil for everything else.
  static func boolean(_ text: String) -> Bool? {
    switch text {
    case "true": true
    case "false": false
    default: nil
    }
  }

  /// The number, if every character is a digit after an optional sign; nil when it does not fit.
  static func integer(_ text: String) -> Int? {
    guard let parts = NumberParts(text), parts.isWhole else { return nil }
    return Int(text)
  }

  /// The number, whole or not; nil for infinities and for what is too large.
  static func number(_ text: String) -> Double? {
    guard let parts = NumberParts(text), let value = Double(parts.canonical), value.isFinite else { return nil }
    return value
  }

  /// What to do about text where a number belongs, when the text looks like one in another language.
  static func remedy(forNumber text: String) -> String? {
    let digits = text.utf8.drop { $0 == UInt8(ascii: "+") || $0 == UInt8(ascii: "-") }
    guard let first = digits.first, first < 0x80 else { return nil }
    let isDigit = { (byte: UInt8) in byte >= 0x30 && byte <= 0x39 }
    let lower = text.lowercased()
    if lower.hasSuffix(".inf") || lower.hasSuffix(".nan") || lower == "inf" || lower == "nan" {
      return "only finite numbers are allowed"
    }
    guard isDigit(first) else { return nil }
    if text.contains("_") {
      let bare = String(text.filter { $0 != "_" })
      return number(bare) == nil ? nil : "write \(bare)"
    }
    if first == UInt8(ascii: "0"), let second = digits.dropFirst().first, second != UInt8(ascii: ".") {
      return "write it in decimal, without a leading zero"
    }
    if number(text) == nil, NumberParts(text) != nil { return "the number is too large" }
    return nil
  }

  /// What to do about text where a truth value belongs.
  static func remedy(forBoolean text: String) -> String? {
    switch text.lowercased() {
    case "yes", "on", "y", "true", "1": "write true; only the words true and false are truth values here"
    case "no", "off", "n", "false", "0": "write false; only the words true and false are truth values here"
    default: nil
    }
  }
}

/// The parts of a decimal number: sign, digits, fraction, exponent.
private struct NumberParts {
  var isWhole = false
  /// The number as every reader of numbers takes it: digits on both sides of the point.
  var canonical = ""

  init?(_ text: String) {
    // Longer numbers exist, but nobody writes them in a recipe.
    guard text.utf8.count <= 64 else { return nil }
    var rest = text.utf8[...]
    func digits() -> String {
      let run = rest.prefix { $0 >= 0x30 && $0 <= 0x39 }
      rest = rest.dropFirst(run.count)
      return String(decoding: run, as: UTF8.self)
    }
    func take(_ characters: String) -> Character? {
      guard let byte = rest.first, byte < 0x80, characters.utf8.contains(byte) else { return nil }
      rest = rest.dropFirst()
      return Character(Unicode.Scalar(byte))
    }
    let sign = take("+-") == "-" ? "-" : ""
    let whole = digits()
    let hasPoint = take(".") != nil
    let fraction = hasPoint ? digits() : ""
    guard !whole.isEmpty || !fraction.isEmpty else { return nil }
    guard whole.utf8.count < 2 || whole.utf8.first != UInt8(ascii: "0") else { return nil }
    var exponent = ""
    if take("eE") != nil {
      let exponentSign = take("+-") == "-" ? "-" : ""
      let power = digits()
      guard !power.isEmpty else { return nil }
      exponent = "e\(exponentSign)\(power)"
    }
    guard rest.isEmpty else { return nil }
    isWhole = !hasPoint && exponent.isEmpty
    canonical = "\(sign)\(whole.isEmpty ? "0" : whole).\(fraction.isEmpty ? "0" : fraction)\(exponent)"
  }
}
