/// Reads one JSON text from bytes by recursive descent.
struct JSONParser {
  private let bytes: UnsafeRawBufferPointer
  private let path: String
  private let depthLimit: Int
  private var position = 0
  private var depth = 0

  init(_ bytes: UnsafeRawBufferPointer, path: String, depthLimit: Int) {
    self.bytes = bytes
    self.path = path
    self.depthLimit = depthLimit
  }

  /// One value with nothing but white space around it.
  mutating func document() throws -> JSON {
    skipSpace()
    let value = try value()
    skipSpace()
    guard position == bytes.count else { throw error("text follows the end of the JSON value") }
    return value
  }

  /// The byte at the position; 0, which no grammar rule accepts, at the end.
  private var current: UInt8 { position < bytes.count ? bytes[position] : 0 }

  private mutating func skipSpace() {
    while position < bytes.count {
      switch bytes[position] {
      case 0x20, 0x0a, 0x0d, 0x09: position += 1
      default: return
      }
    }
  }

  private mutating func value() throws -> JSON {
    switch current {
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "{"): return try nested { try $0.object() }
    case UInt8(ascii: "["): return try nested { try $0.array() }
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
    default: return try word()
    }
  }

  private mutating func nested(_ body: (inout JSONParser) throws -> JSON) throws -> JSON {
    guard depth < depthLimit else { throw error("values are nested more than \(depthLimit) deep") }
    depth += 1
    defer { depth -= 1 }
    return try body(&self)
  }

  private mutating func word() throws -> JSON {
    let start = position
    while position < bytes.count, position - start < 16, isLetter(bytes[position]) { position += 1 }
    let found = String(decoding: bytes[start..<position], as: UTF8.self)
    switch found {
    case "true": return .bool(true)
    case "false": return .bool(false)
    case "null": return .null
    case "":
      throw error("expected a value, found \(foundHere)")
    default:
      throw error("\(quoted(found)) is not a JSON value", at: start)
    }
  }

  private mutating func array() throws -> JSON {
    position += 1
    var elements: [JSON] = []
    skipSpace()
    if current == UInt8(ascii: "]") {
      position += 1
      return .array(elements)
    }
    while true {
      skipSpace()
      elements.append(try value())
      skipSpace()
      switch current {
      case UInt8(ascii: ","): position += 1
      case UInt8(ascii: "]"):
        position += 1
        return .array(elements)
      default: throw error("expected ',' or ']', found \(foundHere)")
      }
    }
  }

  private mutating func object() throws -> JSON {
    position += 1
    var object = JSONObjectBuilder()
    skipSpace()
    if current == UInt8(ascii: "}") {
      position += 1
      return object.json
    }
    while true {
      skipSpace()
      let start = position
      guard current == UInt8(ascii: "\"") else { throw error("expected a key in double quotes, found \(foundHere)") }
      let key = try string()
      skipSpace()
      guard current == UInt8(ascii: ":") else { throw error("expected ':', found \(foundHere)") }
      position += 1
      skipSpace()
      guard object.insert(key, try value()) else { throw error("duplicate key \(quoted(key))", at: start) }
      skipSpace()
      switch current {
      case UInt8(ascii: ","): position += 1
      case UInt8(ascii: "}"):
        position += 1
        return object.json
      default: throw error("expected ',' or '}', found \(foundHere)")
      }
    }
  }

  private mutating func string() throws -> String {
    let start = position
    position += 1
    var hasEscapes = false
    while position < bytes.count {
      let byte = bytes[position]
      if byte == UInt8(ascii: "\"") {
        let content = start + 1..<position
        position += 1
        return try hasEscapes ? unescaped(content) : text(bytes[content], at: start)
      }
      guard byte >= 0x20 else { throw error("a control character in a string must be written as an escape") }
      if byte == UInt8(ascii: "\\") {
        hasEscapes = true
        position += 1
      }
      position += 1
    }
    throw error("the string is not closed", at: start)
  }

  private func text(_ content: some Collection<UInt8>, at start: Int) throws -> String {
    guard let text = String(validating: content, as: UTF8.self) else {
      throw error("the string is not valid UTF-8", at: start)
    }
    return text
  }

  private func unescaped(_ content: Range<Int>) throws -> String {
    var output: [UInt8] = []
    output.reserveCapacity(content.count)
    var index = content.lowerBound
    while index < content.upperBound {
      let byte = bytes[index]
      index += 1
      guard byte == UInt8(ascii: "\\"), index < content.upperBound else {
        output.append(byte)
        continue
      }
      let escape = bytes[index]
      index += 1
      switch escape {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): output.append(escape)
      case UInt8(ascii: "b"): output.append(0x08)
      case UInt8(ascii: "f"): output.append(0x0c)
      case UInt8(ascii: "n"): output.append(0x0a)
      case UInt8(ascii: "r"): output.append(0x0d)
      case UInt8(ascii: "t"): output.append(0x09)
      case UInt8(ascii: "u"):
        let scalar = try escapedScalar(&index, end: content.upperBound)
        output.append(contentsOf: Character(scalar).utf8)
      default:
        throw error("unknown escape in a string", at: index - 2)
      }
    }
    return try text(output, at: content.lowerBound - 1)
  }

  /// The scalar after `\u`, taking the second half of a surrogate pair along.
  private func escapedScalar(_ index: inout Int, end: Int) throws -> Unicode.Scalar {
    let start = index - 2
    let high = try hexadecimal(&index, end: end)
    if let scalar = Unicode.Scalar(high) { return scalar }
    // Made only when thrown: finding its line takes time in proportion to all that comes before.
    func lone() -> FileError { error("half of a surrogate pair stands alone", at: start) }
    guard high < 0xdc00, index + 2 <= end else { throw lone() }
    guard bytes[index] == UInt8(ascii: "\\"), bytes[index + 1] == UInt8(ascii: "u") else { throw lone() }
    index += 2
    let low = try hexadecimal(&index, end: end)
    guard (0xdc00...0xdfff).contains(low) else { throw lone() }
    guard let scalar = Unicode.Scalar(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)) else { throw lone() }
    return scalar
  }

  private func hexadecimal(_ index: inout Int, end: Int) throws -> UInt32 {
    guard end - index >= 4 else { throw error("\\u needs four hexadecimal digits", at: index) }
    var value: UInt32 = 0
    for _ in 0..<4 {
      let byte = bytes[index]
      let digit: UInt8
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0")
      case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte - UInt8(ascii: "a") + 10
      case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = byte - UInt8(ascii: "A") + 10
      default: throw error("\\u needs four hexadecimal digits", at: index)
      }
      value = value << 4 | UInt32(digit)
      index += 1
    }
    return value
  }

  private mutating func number() throws -> JSON {
    let start = position
    let isNegative = current == UInt8(ascii: "-")
    if isNegative { position += 1 }
    let digits = position
    var magnitude: UInt64 = 0
    var fits = true
    while let digit = digit(current) {
      let (product, high) = magnitude.multipliedReportingOverflow(by: 10)
      let (sum, carry) = product.addingReportingOverflow(digit)
      if high || carry { fits = false }
      magnitude = sum
      position += 1
    }
    guard position > digits else { throw error("expected a digit, found \(foundHere)") }
    guard position == digits + 1 || bytes[digits] != UInt8(ascii: "0") else {
      throw error("a number cannot start with a needless 0", at: start)
    }
    var isInteger = true
    if current == UInt8(ascii: ".") {
      isInteger = false
      position += 1
      try skipDigits()
    }
    if current | 0x20 == UInt8(ascii: "e") {
      isInteger = false
      position += 1
      if current == UInt8(ascii: "+") || current == UInt8(ascii: "-") { position += 1 }
      try skipDigits()
    }
    // -0 stays a Double, the only type here that can hold it.
    if isInteger, fits, !(isNegative && magnitude == 0) {
      if !isNegative, let value = Int(exactly: magnitude) { return .integer(value) }
      if isNegative, magnitude <= 1 << 63 { return .integer(Int(truncatingIfNeeded: 0 &- magnitude)) }
    }
    let literal = String(decoding: bytes[start..<position], as: UTF8.self)
    guard let value = Double(literal), value.isFinite else {
      throw error("the number \(quoted(literal)) is out of range", at: start)
    }
    return .number(value)
  }

  private func digit(_ byte: UInt8) -> UInt64? {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) ? UInt64(byte - UInt8(ascii: "0")) : nil
  }

  private mutating func skipDigits() throws {
    guard digit(current) != nil else { throw error("expected a digit, found \(foundHere)") }
    while digit(current) != nil { position += 1 }
  }

  private func isLetter(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
  }

  /// What stands at the position, for a message.
  private var foundHere: String {
    guard position < bytes.count else { return "the end of the text" }
    let byte = bytes[position]
    return (0x21..<0x7f).contains(byte) ? quoted(String(UnicodeScalar(byte))) : "byte \(byte)"
  }

  /// An error at the position, or at another offset; columns count characters.
  private func error(_ problem: String, at offset: Int? = nil) -> FileError {
    var line = 1
    var column = 1
    for byte in bytes[..<min(offset ?? position, bytes.count)] {
      if byte == 0x0a {
        line += 1
        column = 1
      } else if byte & 0xc0 != 0x80 {
        column += 1
      }
    }
    return FileError(path, line: line, column: column, problem)
  }
}

/// Gathers the members of an object as a dictionary, or as a list once two keys are equal to Swift but not as bytes.
private struct JSONObjectBuilder {
  private var dictionary: [String: JSON] = [:]
  private var members: [JSON.Member] = []
  private var keys: Set<[UInt8]> = []

  var json: JSON { members.isEmpty ? .object(dictionary) : .members(members) }

  /// Adds a member; false when its key is there already.
  mutating func insert(_ key: String, _ value: JSON) -> Bool {
    if members.isEmpty {
      guard let index = dictionary.index(forKey: key) else {
        dictionary[key] = value
        return true
      }
      guard !dictionary[index].key.utf8.elementsEqual(key.utf8) else { return false }
      members = dictionary.map { JSON.Member(key: $0.key, value: $0.value) }
      keys = Set(dictionary.keys.map { Array($0.utf8) })
    }
    guard keys.insert(Array(key.utf8)).inserted else { return false }
    members.append(JSON.Member(key: key, value: value))
    return true
  }
}
