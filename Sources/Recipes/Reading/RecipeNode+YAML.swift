extension RecipeNode {
  /// One line of YAML that reads as the same value.
  var yaml: String {
    switch content {
    case .scalar(let text, true): text
    case .scalar(let text, false): Self.scalar(text)
    case .sequence(let items): "[\(items.map(\.yaml).joined(separator: ", "))]"
    case .mapping(let pairs): "{\(pairs.map { "\(Self.scalar($0.key)): \($0.value.yaml)" }.joined(separator: ", "))}"
    }
  }

  /// Text, quoted unless every YAML reader takes it as text anyway.
  static func scalar(_ text: String) -> String {
    let isPlain =
      !text.isEmpty && text.utf8.count <= 100
      && text.utf8.allSatisfy { byte in
        let lower = byte | 0x20
        return lower >= 0x61 && lower <= 0x7A || byte >= 0x30 && byte <= 0x39 || "_-./".utf8.contains(byte)
      } && text.utf8.first.map { $0 == UInt8(ascii: "/") || ($0 | 0x20) >= 0x61 && ($0 | 0x20) <= 0x7A } == true
    let words = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"]
    if isPlain && !words.contains(text.lowercased()) { return text }
    var line = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": line += "\\\""
      case "\\": line += "\\\\"
      case "\n": line += "\\n"
      case "\t": line += "\\t"
      default:
        if scalar.isPrintableInYAML {
          line.unicodeScalars.append(scalar)
        } else {
          let digits = String(scalar.value, radix: 16)
          let width = scalar.value > 0xFFFF ? 8 : 4
          line += (width == 8 ? "\\U" : "\\u") + String(repeating: "0", count: width - digits.count) + digits
        }
      }
    }
    return line + "\""
  }
}

extension Unicode.Scalar {
  /// Whether it may stand in quotes as it is.
  fileprivate var isPrintableInYAML: Bool {
    switch value {
    case 0x20...0x7E, 0xA0...0x2027, 0x202A...0xD7FF, 0xE000...0xFEFE, 0xFF00...0xFFFD, 0x10000...0x10FFFF: true
    default: false
    }
  }
}
