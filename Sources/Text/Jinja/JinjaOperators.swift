import Files

extension JinjaInterpreter {
  func mismatch(_ operation: String, _ value: JinjaValue) -> FileError {
    if case .undefined(let what) = value { return fail("\(what) is undefined; '\(operation)' needs a value") }
    return fail("'\(operation)' does not work on \(value.kindName)")
  }

  private func overflow(_ operation: String) -> FileError { fail("the result of '\(operation)' is out of range") }

  func negated(_ value: JinjaValue) throws -> JinjaValue {
    if case .float(let number) = value { return .float(-number) }
    guard let number = value.index else { throw mismatch("-", value) }
    let (result, overflows) = 0.subtractingReportingOverflow(number)
    guard !overflows else { throw overflow("-") }
    return .integer(result)
  }

  func arithmetic(_ operation: JinjaArithmetic, _ left: JinjaValue, _ right: JinjaValue) throws -> JinjaValue {
    if let a = left.index, let b = right.index { return try integers(operation, a, b) }
    if let a = left.number, let b = right.number { return try floats(operation, a, b) }
    switch (operation, left, right) {
    case (.add, .string(let a), .string(let b)):
      try spend(a.utf8.count + b.utf8.count)
      return .string(a + b)
    case (.add, .list(let a), .list(let b)) where a.isTuple == b.isTuple:
      return try list(a.elements + b.elements, isTuple: a.isTuple)
    case (.multiply, .string(let text), _):
      guard let count = right.index else { break }
      return .string(try repeated(text, count))
    case (.multiply, _, .string(let text)):
      guard let count = left.index else { break }
      return .string(try repeated(text, count))
    default: break
    }
    for value in [left, right] where value.isUndefined { throw mismatch(operation.rawValue, value) }
    throw fail("'\(operation.rawValue)' does not work on \(left.kindName) and \(right.kindName)")
  }

  private func repeated(_ text: String, _ count: Int) throws -> String {
    let count = max(0, count)
    let (bytes, overflows) = text.utf8.count.multipliedReportingOverflow(by: count)
    guard !overflows else { throw tooLarge() }
    try spend(bytes)
    return text.isEmpty ? "" : String(repeating: text, count: count)
  }

  private func integers(_ operation: JinjaArithmetic, _ a: Int, _ b: Int) throws -> JinjaValue {
    let result: (partialValue: Int, overflow: Bool)
    switch operation {
    case .add: result = a.addingReportingOverflow(b)
    case .subtract: result = a.subtractingReportingOverflow(b)
    case .multiply: result = a.multipliedReportingOverflow(by: b)
    case .power where b >= 0: return .integer(try power(a, b))
    case .floorDivide, .remainder:
      guard b != 0 else { throw fail("division by zero") }
      let (quotient, overflows) = a.dividedReportingOverflow(by: b)
      guard !overflows else { throw overflow(operation.rawValue) }
      let remainder = a % b
      let isBelow = remainder != 0 && (remainder < 0) != (b < 0)
      if operation == .remainder { return .integer(isBelow ? remainder + b : remainder) }
      return .integer(isBelow ? quotient - 1 : quotient)
    case .divide, .power: return try floats(operation, Double(a), Double(b))
    }
    guard !result.overflow else { throw overflow(operation.rawValue) }
    return .integer(result.partialValue)
  }

  private func power(_ base: Int, _ exponent: Int) throws -> Int {
    guard abs(Double(base)) > 1 else {
      return exponent == 0 || base == 1 ? 1 : base == 0 ? 0 : exponent.isMultiple(of: 2) ? 1 : -1
    }
    guard exponent < 64 else { throw overflow("**") }
    var product = 1
    for _ in 0..<exponent {
      let (next, overflows) = product.multipliedReportingOverflow(by: base)
      guard !overflows else { throw overflow("**") }
      product = next
    }
    return product
  }

  private func floats(_ operation: JinjaArithmetic, _ a: Double, _ b: Double) throws -> JinjaValue {
    switch operation {
    case .add: return .float(a + b)
    case .subtract: return .float(a - b)
    case .multiply: return .float(a * b)
    case .power: throw fail("'**' needs two integers, the second not negative")
    case .divide, .floorDivide, .remainder:
      guard b != 0 else { throw fail("division by zero") }
      let quotient = a / b
      if operation == .divide { return .float(quotient) }
      if operation == .floorDivide { return .float(quotient.rounded(.down)) }
      let remainder = a.truncatingRemainder(dividingBy: b)
      return .float(remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder)
    }
  }

  func compare(_ operation: JinjaComparison, _ left: JinjaValue, _ right: JinjaValue) throws -> Bool {
    switch operation {
    case .equal: return left.equals(right)
    case .notEqual: return !left.equals(right)
    case .isIn: return try contains(right, left)
    case .isNotIn: return !(try contains(right, left))
    case .less: return try precedes(left, right, operation)
    case .greater: return try precedes(right, left, operation)
    case .lessOrEqual: return !(try precedes(right, left, operation))
    case .greaterOrEqual: return !(try precedes(left, right, operation))
    }
  }

  private func contains(_ container: JinjaValue, _ value: JinjaValue) throws -> Bool {
    switch container {
    case .undefined: return false
    case .list(let list):
      try spend(list.elements.count)
      return list.elements.contains { $0.equals(value) }
    case .dictionary(let dictionary): return dictionary[value] != nil
    case .string(let text):
      guard case .string(let part) = value else {
        throw fail("'in' looks for a string in a string, found \(value.kindName)")
      }
      try spend(text.utf8.count)
      return !JinjaScalars.places(of: part, in: text, limit: 1).isEmpty
    default: throw fail("'in' does not work on \(container.kindName)")
    }
  }

  /// Whether `left` comes before `right`.
  func precedes(_ left: JinjaValue, _ right: JinjaValue, _ operation: JinjaComparison) throws -> Bool {
    if let a = left.index, let b = right.index { return a < b }
    if let a = left.number, let b = right.number { return a < b }
    switch (left, right) {
    case (.string(let a), .string(let b)):
      return a.unicodeScalars.lexicographicallyPrecedes(b.unicodeScalars)
    case (.list(let a), .list(let b)) where a.isTuple == b.isTuple:
      for (x, y) in zip(a.elements, b.elements) where !x.equals(y) { return try precedes(x, y, operation) }
      return a.elements.count < b.elements.count
    default:
      for value in [left, right] where value.isUndefined { throw mismatch(operation.rawValue, value) }
      throw fail("'\(operation.rawValue)' does not work on \(left.kindName) and \(right.kindName)")
    }
  }
}

/// Searching in texts scalar by scalar, as Python does; Swift's own search treats equivalent spellings as equal.
enum JinjaScalars {
  /// Byte offsets where `part` stands in `text`, not overlapping.
  static func places(of part: String, in text: String, limit: Int = .max) -> [Int] {
    let needle = Array(part.utf8)
    let haystack = Array(text.utf8)
    guard let first = needle.first else { return [0] }
    var found: [Int] = []
    var index = 0
    while index + needle.count <= haystack.count, found.count < limit {
      if haystack[index] == first, haystack[index..<index + needle.count].elementsEqual(needle) {
        found.append(index)
        index += needle.count
      } else {
        index += 1
      }
    }
    return found
  }

  /// The pieces of `text` between the places of `separator`, which is not empty.
  static func split(_ text: String, _ separator: String, limit: Int = .max) -> [String] {
    let bytes = Array(text.utf8)
    var pieces: [String] = []
    var start = 0
    for place in places(of: separator, in: text, limit: limit) {
      pieces.append(String(decoding: bytes[start..<place], as: UTF8.self))
      start = place + separator.utf8.count
    }
    pieces.append(String(decoding: bytes[start...], as: UTF8.self))
    return pieces
  }

  /// `text` without white space, or without the characters of a set, at its start, its end or both.
  static func stripped(_ text: String, of set: String?, start: Bool = true, end: Bool = true) -> String {
    let chosen = set.map { Set($0.unicodeScalars) }
    func isStripped(_ scalar: Unicode.Scalar) -> Bool { chosen?.contains(scalar) ?? scalar.isJinjaSpace }
    var scalars = text.unicodeScalars[...]
    if start { scalars = scalars.drop(while: isStripped) }
    if end { while let last = scalars.last, isStripped(last) { scalars.removeLast() } }
    return String(scalars)
  }
}
