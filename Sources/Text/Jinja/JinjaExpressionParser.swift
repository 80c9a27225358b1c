import Files

/// Expressions, from the loosest operator to the tightest.
extension JinjaParser {
  /// An expression, or several with commas between: a tuple.
  mutating func tupleOrExpression(allowsConditional: Bool = true) throws -> JinjaExpression {
    let line = line
    let first = try allowsConditional ? expression() : disjunction()
    guard isSymbol(",") else { return first }
    var elements = [first]
    while skipSymbol(",") {
      switch current.kind {
      case .blockEnd, .outputEnd, .symbol(")"): break
      default: elements.append(try allowsConditional ? expression() : disjunction())
      }
    }
    return try node(.tuple(elements), line, over: elements)
  }

  /// `a if b else c`, or anything tighter.
  mutating func expression() throws -> JinjaExpression {
    expressionDepth += 1
    defer { expressionDepth -= 1 }
    guard expressionDepth <= Self.depthLimit else { throw tooDeep() }
    var value = try disjunction()
    while isName("if") {
      let line = line
      advance()
      let test = try disjunction()
      let otherwise = skipName("else") ? try expression() : nil
      value = try node(
        .conditional(then: value, test: test, otherwise: otherwise), line,
        over: [value, test] + (otherwise.map { [$0] } ?? []))
    }
    return value
  }

  /// An expression one level above its parts.
  private func node(_ kind: JinjaExpression.Kind, _ line: Int, over parts: [JinjaExpression]) throws -> JinjaExpression
  {
    let depth = 1 + (parts.map(\.depth).max() ?? 0)
    guard depth <= Self.depthLimit else { throw tooDeep() }
    return JinjaExpression(kind: kind, line: line, depth: depth)
  }

  private func tooDeep() -> FileError { error("expressions are nested more than \(Self.depthLimit) deep") }

  private mutating func disjunction() throws -> JinjaExpression {
    var left = try conjunction()
    while isName("or") {
      let line = line
      advance()
      let right = try conjunction()
      left = try node(.or(left, right), line, over: [left, right])
    }
    return left
  }

  private mutating func conjunction() throws -> JinjaExpression {
    var left = try negation()
    while isName("and") {
      let line = line
      advance()
      let right = try negation()
      left = try node(.and(left, right), line, over: [left, right])
    }
    return left
  }

  private mutating func negation() throws -> JinjaExpression {
    guard isName("not") else { return try comparison() }
    expressionDepth += 1
    defer { expressionDepth -= 1 }
    guard expressionDepth <= Self.depthLimit else { throw tooDeep() }
    let line = line
    advance()
    let operand = try negation()
    return try node(.not(operand), line, over: [operand])
  }

  private mutating func comparison() throws -> JinjaExpression {
    let line = line
    let left = try sum()
    var rest: [(operation: JinjaComparison, right: JinjaExpression)] = []
    while let operation = comparisonOperator() { rest.append((operation, try sum())) }
    return rest.isEmpty ? left : try node(.comparison(left, rest), line, over: [left] + rest.map(\.right))
  }

  private mutating func comparisonOperator() -> JinjaComparison? {
    if case .symbol(let symbol) = current.kind, let operation = JinjaComparison(rawValue: symbol) {
      advance()
      return operation
    }
    if skipName("in") { return .isIn }
    guard isName("not"), following == .name("in") else { return nil }
    advance()
    advance()
    return .isNotIn
  }

  private mutating func sum() throws -> JinjaExpression {
    var left = try concatenation()
    while let operation = arithmetic(among: ["+", "-"]) {
      let line = line
      let right = try concatenation()
      left = try node(.arithmetic(operation, left, right), line, over: [left, right])
    }
    return left
  }

  private mutating func concatenation() throws -> JinjaExpression {
    let line = line
    let first = try product()
    guard isSymbol("~") else { return first }
    var parts = [first]
    while skipSymbol("~") { parts.append(try product()) }
    return try node(.concatenation(parts), line, over: parts)
  }

  private mutating func product() throws -> JinjaExpression {
    var left = try power()
    while let operation = arithmetic(among: ["*", "/", "//", "%"]) {
      let line = line
      let right = try power()
      left = try node(.arithmetic(operation, left, right), line, over: [left, right])
    }
    return left
  }

  private mutating func power() throws -> JinjaExpression {
    var left = try signed(takesFilters: true)
    while let operation = arithmetic(among: ["**"]) {
      let line = line
      let right = try signed(takesFilters: true)
      left = try node(.arithmetic(operation, left, right), line, over: [left, right])
    }
    return left
  }

  private mutating func arithmetic(among symbols: [String]) -> JinjaArithmetic? {
    guard case .symbol(let symbol) = current.kind, symbols.contains(symbol) else { return nil }
    advance()
    return JinjaArithmetic(rawValue: symbol)
  }

  private mutating func signed(takesFilters: Bool) throws -> JinjaExpression {
    expressionDepth += 1
    defer { expressionDepth -= 1 }
    guard expressionDepth <= Self.depthLimit else { throw tooDeep() }
    let line = line
    var value: JinjaExpression
    if skipSymbol("-") {
      let operand = try signed(takesFilters: false)
      value = try node(.negative(operand), line, over: [operand])
    } else if skipSymbol("+") {
      let operand = try signed(takesFilters: false)
      value = try node(.positive(operand), line, over: [operand])
    } else {
      value = try postfix(try primary())
    }
    return takesFilters ? try filtersAndTests(value) : value
  }

  private mutating func primary() throws -> JinjaExpression {
    let token = current
    advance()
    switch token.kind {
    case .name("true"), .name("True"): return try node(.boolean(true), token.line, over: [])
    case .name("false"), .name("False"): return try node(.boolean(false), token.line, over: [])
    case .name("none"), .name("None"): return try node(.none, token.line, over: [])
    case .name(let name): return try node(.name(name), token.line, over: [])
    case .integer(let value): return try node(.integer(value), token.line, over: [])
    case .float(let value): return try node(.float(value), token.line, over: [])
    case .string(var text):
      while case .string(let more) = current.kind {
        text += more
        advance()
      }
      return try node(.string(text), token.line, over: [])
    case .symbol("("):
      if skipSymbol(")") { return try node(.tuple([]), token.line, over: []) }
      let value = try tupleOrExpression()
      try expectSymbol(")")
      return value
    case .symbol("["):
      let elements = try elements(until: "]") { try $0.expression() }
      return try node(.list(elements), token.line, over: elements)
    case .symbol("{"):
      let members = try elements(until: "}") { parser in
        let key = try parser.expression()
        try parser.expectSymbol(":")
        return (key: key, value: try parser.expression())
      }
      return try node(.dictionary(members), token.line, over: members.flatMap { [$0.key, $0.value] })
    default:
      throw error("expected a value, found \(Self.describe(token.kind))", line: token.line)
    }
  }

  private mutating func elements<Element>(
    until closing: String, _ element: (inout JinjaParser) throws -> Element
  ) throws -> [Element] {
    var elements: [Element] = []
    while !isSymbol(closing) {
      elements.append(try element(&self))
      guard skipSymbol(",") else { break }
    }
    try expectSymbol(closing)
    return elements
  }

  private mutating func postfix(_ start: JinjaExpression) throws -> JinjaExpression {
    var value = start
    while true {
      let line = line
      if skipSymbol(".") {
        if case .integer(let position) = current.kind {
          advance()
          let item = try node(.integer(position), line, over: [])
          value = try node(.item(value, item), line, over: [value, item])
        } else {
          value = try node(.attribute(value, try expectName()), line, over: [value])
        }
      } else if skipSymbol("[") {
        value = try subscripted(value, line)
      } else if isSymbol("(") {
        let arguments = try arguments()
        value = try node(.call(value, arguments), line, over: [value] + arguments.expressions)
      } else {
        return value
      }
    }
  }

  private mutating func subscripted(_ value: JinjaExpression, _ line: Int) throws -> JinjaExpression {
    var parts: [JinjaExpression?] = [nil]
    while !isSymbol("]") {
      if skipSymbol(":") {
        parts.append(nil)
      } else {
        guard parts[parts.count - 1] == nil else { throw error("expected ']', found \(found)") }
        parts[parts.count - 1] = try expression()
      }
    }
    try expectSymbol("]")
    guard parts.count <= 3 else { throw error("a slice has at most three parts", line: line) }
    if parts.count == 1 {
      guard let item = parts[0] else { throw error("the brackets hold no index", line: line) }
      return try node(.item(value, item), line, over: [value, item])
    }
    return try node(
      .slice(value, start: parts[0], stop: parts[1], step: parts.count == 3 ? parts[2] : nil), line,
      over: [value] + parts.compactMap { $0 })
  }

  private mutating func arguments() throws -> JinjaArguments {
    try expectSymbol("(")
    var arguments = JinjaArguments()
    while !isSymbol(")") {
      guard !isSymbol("*"), !isSymbol("**") else { throw error("arguments with * or ** are not supported") }
      if let name = currentName, following == .symbol("=") {
        advance()
        advance()
        guard !arguments.named.contains(where: { $0.name == name }) else {
          throw error("argument '\(name)' is given twice")
        }
        arguments.named.append((name, try expression()))
      } else {
        guard arguments.named.isEmpty else { throw error("an argument without name follows one with a name") }
        arguments.positional.append(try expression())
      }
      guard skipSymbol(",") else { break }
    }
    try expectSymbol(")")
    return arguments
  }

  private mutating func filtersAndTests(_ start: JinjaExpression) throws -> JinjaExpression {
    var value = start
    while true {
      let line = line
      if skipSymbol("|") {
        let (filter, arguments) = try filterCall()
        value = try node(.filter(value, filter, arguments), line, over: [value] + arguments.expressions)
      } else if skipName("is") {
        let isNegated = skipName("not")
        let (test, arguments) = try testCall()
        value = try node(.test(value, test, arguments), line, over: [value] + arguments.expressions)
        if isNegated { value = try node(.not(value), line, over: [value]) }
      } else if isSymbol("(") {
        let arguments = try arguments()
        value = try node(.call(value, arguments), line, over: [value] + arguments.expressions)
      } else {
        return value
      }
    }
  }

  /// A filter's name and arguments, after `|`.
  mutating func filterCall() throws -> (filter: JinjaFilter, arguments: JinjaArguments) {
    let line = line
    let name = try expectName()
    guard let filter = JinjaFilter(rawValue: name) else {
      let meant = nearest(to: name, among: JinjaFilter.allCases.map(\.rawValue))
      throw error("filter \(quoted(name)) is not supported", line: line, remedy: meant.map { "did you mean '\($0)'?" })
    }
    return (filter, isSymbol("(") ? try arguments() : JinjaArguments())
  }

  /// A test's name and arguments, after `is`; one plain argument may go without parentheses.
  private mutating func testCall() throws -> (test: JinjaTest, arguments: JinjaArguments) {
    let line = line
    let name = try expectName()
    guard let test = JinjaTest(rawValue: name) else {
      let meant = nearest(to: name, among: JinjaTest.allCases.map(\.rawValue))
      throw error("test \(quoted(name)) is not supported", line: line, remedy: meant.map { "did you mean '\($0)'?" })
    }
    if isSymbol("(") { return (test, try arguments()) }
    var arguments = JinjaArguments()
    switch current.kind {
    case .name(let word) where ["else", "or", "and", "if", "in", "not", "is"].contains(word): break
    case .name, .string, .integer, .float, .symbol("["), .symbol("{"):
      arguments.positional.append(try postfix(try primary()))
    default: break
    }
    return (test, arguments)
  }
}
