import Files

extension JinjaInterpreter {
  /// What printing a value gives: Python's `str`.
  func text(_ value: JinjaValue) throws -> String {
    switch value {
    case .undefined: return ""
    case .string(let text): return text
    default:
      var output = ""
      try represent(value, into: &output)
      try spend(output.utf8.count)
      return output
    }
  }

  /// Appends Python's `repr` of a value.
  private func represent(_ value: JinjaValue, into output: inout String) throws {
    guard output.utf8.count < limits.bytes else { throw tooLarge() }
    switch value {
    case .undefined: output += "Undefined"
    case .none: output += "None"
    case .boolean(let value): output += value ? "True" : "False"
    case .integer(let value): output += String(value)
    case .float(let value): output += value.description
    case .string(let text): output += Self.pythonLiteral(text)
    case .list(let list):
      output += list.isTuple ? "(" : "["
      for (index, element) in list.elements.enumerated() {
        if index > 0 { output += ", " }
        try represent(element, into: &output)
      }
      if list.isTuple, list.elements.count == 1 { output += "," }
      output += list.isTuple ? ")" : "]"
    case .dictionary(let dictionary):
      output += "{"
      for (index, member) in dictionary.members.enumerated() {
        if index > 0 { output += ", " }
        try represent(member.key, into: &output)
        output += ": "
        try represent(member.value, into: &output)
      }
      output += "}"
    case .namespace, .loop, .function, .method, .macro: throw fail("\(value.kindName) cannot be printed")
    }
  }

  private static func pythonLiteral(_ text: String) -> String {
    let quote: Unicode.Scalar = text.utf8.contains(0x27) && !text.utf8.contains(0x22) ? "\"" : "'"
    var output = String.UnicodeScalarView()
    output.append(quote)
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\n": output.append(contentsOf: "\\n".unicodeScalars)
      case "\r": output.append(contentsOf: "\\r".unicodeScalars)
      case "\t": output.append(contentsOf: "\\t".unicodeScalars)
      case "\\", quote:
        output.append("\\")
        output.append(scalar)
      case _ where scalar.value < 0x20 || scalar.value == 0x7f:
        let digits = String(scalar.value, radix: 16)
        output.append(contentsOf: ("\\x" + (digits.utf8.count == 1 ? "0" : "") + digits).unicodeScalars)
      default: output.append(scalar)
      }
    }
    output.append(quote)
    return String(output)
  }

  /// JSON as Python's `json.dumps` writes it with `ensure_ascii=False`.
  func json(_ value: JinjaValue, _ style: JinjaJSONStyle) throws -> String {
    var output = ""
    try writeJSON(value, style, level: 1, into: &output)
    try spend(output.utf8.count)
    return output
  }

  private func writeJSON(
    _ value: JinjaValue, _ style: JinjaJSONStyle, level: Int, into output: inout String
  ) throws {
    guard output.utf8.count < limits.bytes else { throw tooLarge() }
    func newline(_ level: Int) {
      if let indent = style.indent { output += "\n" + String(repeating: " ", count: indent * level) }
    }
    switch value {
    case .none: output += "null"
    case .boolean(let value): output += value ? "true" : "false"
    case .integer(let value): output += String(value)
    case .float(let value):
      output += value.isNaN ? "NaN" : value.isInfinite ? (value > 0 ? "Infinity" : "-Infinity") : value.description
    case .string(let text): Self.appendJSON(text, to: &output)
    case .list(let list):
      guard !list.elements.isEmpty else { return output += "[]" }
      output += "["
      for (index, element) in list.elements.enumerated() {
        if index > 0 { output += style.itemSeparator }
        newline(level)
        try writeJSON(element, style, level: level + 1, into: &output)
      }
      newline(level - 1)
      output += "]"
    case .dictionary(let dictionary):
      guard !dictionary.members.isEmpty else { return output += "{}" }
      var members = try dictionary.members.map { (key: try key($0.key), value: $0.value) }
      if style.sortsKeys { members.sort { $0.key.unicodeScalars.lexicographicallyPrecedes($1.key.unicodeScalars) } }
      output += "{"
      for (index, member) in members.enumerated() {
        if index > 0 { output += style.itemSeparator }
        newline(level)
        Self.appendJSON(member.key, to: &output)
        output += style.keySeparator
        try writeJSON(member.value, style, level: level + 1, into: &output)
      }
      newline(level - 1)
      output += "}"
    case .undefined(let what): throw fail("\(what) is undefined and cannot be written as JSON")
    case .namespace, .loop, .function, .method, .macro:
      throw fail("\(value.kindName) cannot be written as JSON")
    }
  }

  private func key(_ value: JinjaValue) throws -> String {
    switch value {
    case .string(let text): text
    case .none: "null"
    case .boolean(let value): value ? "true" : "false"
    default: try text(value)
    }
  }

  private static func appendJSON(_ text: String, to output: inout String) {
    var scalars = String.UnicodeScalarView()
    scalars.append("\"")
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": scalars.append(contentsOf: "\\\"".unicodeScalars)
      case "\\": scalars.append(contentsOf: "\\\\".unicodeScalars)
      case "\n": scalars.append(contentsOf: "\\n".unicodeScalars)
      case "\r": scalars.append(contentsOf: "\\r".unicodeScalars)
      case "\t": scalars.append(contentsOf: "\\t".unicodeScalars)
      case "\u{8}": scalars.append(contentsOf: "\\b".unicodeScalars)
      case "\u{c}": scalars.append(contentsOf: "\\f".unicodeScalars)
      case _ where scalar.value < 0x20:
        let digits = String(scalar.value, radix: 16)
        scalars.append(
          contentsOf: ("\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits).unicodeScalars)
      default: scalars.append(scalar)
      }
    }
    scalars.append("\"")
    output += String(scalars)
  }
}

/// How `tojson` writes.
struct JinjaJSONStyle {
  let indent: Int?
  let sortsKeys: Bool
  var itemSeparator: String
  var keySeparator = ": "

  init(indent: Int?, sortsKeys: Bool) {
    self.indent = indent.map { max(0, min($0, 64)) }
    self.sortsKeys = sortsKeys
    itemSeparator = indent == nil ? ", " : ","
  }
}
