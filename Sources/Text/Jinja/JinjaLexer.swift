import Files

/// A piece of a template.
struct JinjaToken: Equatable {
  enum Kind: Equatable {
    case text(String)
    case outputBegin
    case outputEnd
    case blockBegin
    case blockEnd
    case name(String)
    case string(String)
    case integer(Int)
    case float(Double)
    case symbol(String)
    case end
  }

  let kind: Kind
  let line: Int
}

/// Splits a template into text and tokens, with the white-space rules transformers sets: the newline after a tag and
/// the indentation before one are dropped (`trim_blocks`, `lstrip_blocks`), `-` drops all white space on its side,
/// `+` keeps it, and one newline at the very end of the template does not count.
struct JinjaLexer {
  private let source: [Unicode.Scalar]
  private let path: String
  private var position = 0
  private var line = 1
  private var tokens: [JinjaToken] = []

  init(_ text: String, path: String) {
    self.path = path
    var scalars: [Unicode.Scalar] = []
    scalars.reserveCapacity(text.utf8.count)
    for scalar in text.unicodeScalars {
      if scalar == "\n", scalars.last == "\r" { scalars.removeLast() }
      scalars.append(scalar)
    }
    for index in scalars.indices where scalars[index] == "\r" { scalars[index] = "\n" }
    if scalars.last == "\n" { scalars.removeLast() }
    source = scalars
  }

  /// All tokens; the last is `.end`.
  mutating func scan() throws -> [JinjaToken] {
    var startsLine = true
    while let opening = nextOpening() {
      let kind = source[opening + 1]
      let sign = opening + 2 < source.count ? source[opening + 2] : " "
      emitText(upTo: opening, sign: sign, isOutput: kind == "{", startsLine: startsLine)
      advance(to: opening + (sign == "-" || sign == "+" ? 3 : 2))
      switch kind {
      case "#": try skipComment()
      case "{":
        tokens.append(JinjaToken(kind: .outputBegin, line: line))
        try scanTag(closing: "}", end: .outputEnd)
      default:
        tokens.append(JinjaToken(kind: .blockBegin, line: line))
        try scanTag(closing: "%", end: .blockEnd)
      }
      startsLine = source[position - 1] == "\n"
    }
    emit(source[position...])
    tokens.append(JinjaToken(kind: .end, line: line))
    return tokens
  }

  /// Where the next `{{`, `{%` or `{#` stands.
  private func nextOpening() -> Int? {
    var index = position
    while index + 1 < source.count {
      if source[index] == "{", "{%#".unicodeScalars.contains(source[index + 1]) { return index }
      index += 1
    }
    return nil
  }

  private mutating func emitText(upTo end: Int, sign: Unicode.Scalar, isOutput: Bool, startsLine: Bool) {
    var text = source[position..<end]
    if sign == "-" {
      while let last = text.last, last.isJinjaSpace { text.removeLast() }
    } else if sign != "+", !isOutput {
      let indentation = text.suffix(while: { $0 != "\n" })
      if startsLine || indentation.startIndex > text.startIndex, indentation.allSatisfy(\.isJinjaSpace) {
        text = text[..<indentation.startIndex]
      }
    }
    emit(text)
  }

  private mutating func emit(_ text: ArraySlice<Unicode.Scalar>) {
    guard !text.isEmpty else { return }
    tokens.append(JinjaToken(kind: .text(String(String.UnicodeScalarView(text))), line: line))
  }

  /// Moves on, counting lines.
  private mutating func advance(to target: Int) {
    for scalar in source[position..<min(target, source.count)] where scalar == "\n" { line += 1 }
    position = min(target, source.count)
  }

  private func matches(_ text: String, at index: Int) -> Bool {
    source[min(index, source.count)...].starts(with: text.unicodeScalars)
  }

  private mutating func skipComment() throws {
    let start = position
    var index = position
    while !matches("#}", at: index) {
      guard index < source.count else { throw FileError(path, line: line, "the comment is not closed by '#}'") }
      index += 1
    }
    let sign: Unicode.Scalar = index > start ? source[index - 1] : " "
    advance(to: index + 2)
    skipSpace(after: sign, trimsNewline: true)
  }

  /// Drops what the closing of a tag takes along.
  private mutating func skipSpace(after sign: Unicode.Scalar, trimsNewline: Bool) {
    if sign == "-" {
      while position < source.count, source[position].isJinjaSpace { advance(to: position + 1) }
    } else if sign != "+", trimsNewline, position < source.count, source[position] == "\n" {
      advance(to: position + 1)
    }
  }

  /// Tokens up to the closing of a tag, whose first character is given; the second is `}`.
  private mutating func scanTag(closing: Unicode.Scalar, end: JinjaToken.Kind) throws {
    let opened = line
    var brackets: [Unicode.Scalar] = []
    let isBlock = closing == "%"
    while position < source.count {
      let scalar = source[position]
      if brackets.isEmpty {
        let hasSign = scalar == "-" || (scalar == "+" && isBlock)
        if matches("\(closing)}", at: position + (hasSign ? 1 : 0)) {
          advance(to: position + (hasSign ? 3 : 2))
          skipSpace(after: hasSign ? scalar : " ", trimsNewline: isBlock)
          tokens.append(JinjaToken(kind: end, line: line))
          return
        }
      }
      if scalar.isJinjaSpace {
        advance(to: position + 1)
      } else if scalar == "'" || scalar == "\"" {
        try scanString(quote: scalar)
      } else if scalar.isDigit {
        try scanNumber()
      } else if scalar.isNamePart {
        let start = position
        while position < source.count, source[position].isNamePart { position += 1 }
        append(.name(slice(start)))
      } else {
        try scanSymbol(&brackets)
      }
    }
    throw FileError(path, line: opened, "the tag is not closed by '\(closing)}'")
  }

  private func slice(_ start: Int) -> String { String(String.UnicodeScalarView(source[start..<position])) }

  private mutating func append(_ kind: JinjaToken.Kind) { tokens.append(JinjaToken(kind: kind, line: line)) }

  private mutating func scanSymbol(_ brackets: inout [Unicode.Scalar]) throws {
    for symbol in ["//", "**", "==", "!=", ">=", "<="] where matches(symbol, at: position) {
      append(.symbol(symbol))
      position += 2
      return
    }
    let scalar = source[position]
    guard "+-/*%~[](){}><=.:|,".unicodeScalars.contains(scalar) else {
      throw FileError(path, line: line, "unexpected character \(quoted(String(scalar)))")
    }
    switch scalar {
    case "(", "[", "{": brackets.append(scalar)
    case ")", "]", "}":
      let opening: Unicode.Scalar = scalar == ")" ? "(" : scalar == "]" ? "[" : "{"
      guard brackets.popLast() == opening else {
        throw FileError(path, line: line, "'\(scalar)' closes nothing that was opened")
      }
    default: break
    }
    append(.symbol(String(scalar)))
    position += 1
  }

  private mutating func scanNumber() throws {
    let start = position
    let follows = start > 0 && source[start - 1] == "."
    skipDigits()
    var isFloat = false
    if !follows, matches(".", at: position), position + 1 < source.count, source[position + 1].isDigit {
      isFloat = true
      position += 1
      skipDigits()
    }
    if !follows, matches("e", at: position) || matches("E", at: position) {
      var exponent = position + 1
      if matches("+", at: exponent) || matches("-", at: exponent) { exponent += 1 }
      if exponent < source.count, source[exponent].isDigit {
        isFloat = true
        position = exponent
        skipDigits()
      }
    }
    let digits = slice(start).filter { $0 != "_" }
    if isFloat, let value = Double(digits) {
      append(.float(value))
    } else if !isFloat, let value = Int(digits) {
      append(.integer(value))
    } else {
      throw FileError(path, line: line, "the number \(quoted(digits)) is too large")
    }
  }

  private mutating func skipDigits() {
    while position < source.count, source[position].isDigit || source[position] == "_" { position += 1 }
  }

  private mutating func scanString(quote: Unicode.Scalar) throws {
    let opened = line
    var text = String.UnicodeScalarView()
    advance(to: position + 1)
    while position < source.count, source[position] != quote {
      if source[position] == "\\" {
        try scanEscape(into: &text)
      } else {
        text.append(source[position])
        advance(to: position + 1)
      }
    }
    guard position < source.count else { throw FileError(path, line: opened, "the string is not closed") }
    position += 1
    tokens.append(JinjaToken(kind: .string(String(text)), line: opened))
  }

  /// One escape as Python reads it; an unknown one keeps its backslash.
  private mutating func scanEscape(into text: inout String.UnicodeScalarView) throws {
    guard position + 1 < source.count else {
      advance(to: position + 1)
      return
    }
    let escape = source[position + 1]
    let simple: [Unicode.Scalar: Unicode.Scalar] = [
      "n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", "\"": "\"", "a": "\u{7}", "b": "\u{8}", "f": "\u{c}",
      "v": "\u{b}", "0": "\0",
    ]
    advance(to: position + 2)
    if let scalar = simple[escape] {
      text.append(scalar)
    } else if let count = ["x": 2, "u": 4, "U": 8][String(escape)] {
      let digits = String(String.UnicodeScalarView(source[position..<min(position + count, source.count)]))
      guard digits.utf8.count == count, let value = UInt32(digits, radix: 16), let scalar = Unicode.Scalar(value) else {
        throw FileError(path, line: line, "the escape \(quoted("\\\(escape)\(digits)")) names no character")
      }
      text.append(scalar)
      position += count
    } else if escape != "\n" {
      text.append("\\")
      text.append(escape)
    }
  }
}

extension Unicode.Scalar {
  /// White space as Python's `str.isspace` has it.
  var isJinjaSpace: Bool { properties.isWhitespace || (0x1c...0x1f).contains(value) }

  fileprivate var isDigit: Bool { (0x30...0x39).contains(value) }

  fileprivate var isNamePart: Bool {
    self == "_" || isDigit || (isASCII ? properties.isAlphabetic : properties.isXIDContinue)
  }
}

extension BidirectionalCollection {
  /// The longest end of the collection whose elements all satisfy the condition.
  fileprivate func suffix(while condition: (Element) -> Bool) -> SubSequence {
    var start = endIndex
    while start > startIndex, condition(self[index(before: start)]) { start = index(before: start) }
    return self[start...]
  }
}
