import Files

/// Builds the statements of a template from its tokens.
///
/// Whatever is not in the subset is refused here, with the construct's name and its line.
struct JinjaParser {
  /// Deepest nesting of statements and of expressions; real templates stay below 40.
  static let depthLimit = 200

  let path: String
  private let tokens: [JinjaToken]
  private var index = 0
  private var statementDepth = 0
  private var loopDepth = 0
  var expressionDepth = 0

  init(_ source: String, path: String) throws {
    var lexer = JinjaLexer(source, path: path)
    tokens = try lexer.scan()
    self.path = path
  }

  /// The whole template.
  mutating func template() throws -> [JinjaStatement] {
    let (body, _) = try statements(until: [], opened: 1, by: "")
    return body
  }

  var current: JinjaToken { tokens[index] }

  var line: Int { current.line }

  /// The current token when it is a name.
  var currentName: String? {
    if case .name(let name) = current.kind { name } else { nil }
  }

  /// The kind of the token after the current one.
  var following: JinjaToken.Kind { tokens[min(index + 1, tokens.count - 1)].kind }

  mutating func advance() { index = min(index + 1, tokens.count - 1) }

  func isSymbol(_ symbol: String) -> Bool { current.kind == .symbol(symbol) }

  func isName(_ name: String) -> Bool { current.kind == .name(name) }

  mutating func skipSymbol(_ symbol: String) -> Bool {
    guard isSymbol(symbol) else { return false }
    advance()
    return true
  }

  mutating func skipName(_ name: String) -> Bool {
    guard isName(name) else { return false }
    advance()
    return true
  }

  mutating func expectSymbol(_ symbol: String) throws {
    guard skipSymbol(symbol) else { throw error("expected '\(symbol)', found \(found)") }
  }

  mutating func expectName() throws -> String {
    guard let name = currentName else { throw error("expected a name, found \(found)") }
    advance()
    return name
  }

  func error(_ problem: String, line: Int? = nil, remedy: String? = nil) -> FileError {
    FileError(path, line: line ?? current.line, problem, remedy: remedy)
  }

  /// The current token, for a message.
  var found: String { Self.describe(current.kind) }

  /// A token, for a message.
  static func describe(_ kind: JinjaToken.Kind) -> String {
    switch kind {
    case .name(let name): quoted(name)
    case .symbol(let symbol): "'\(symbol)'"
    case .string: "a string"
    case .integer, .float: "a number"
    case .outputEnd: "'}}'"
    case .blockEnd: "'%}'"
    case .outputBegin: "'{{'"
    case .blockBegin: "'{%'"
    case .text: "text"
    case .end: "the end of the template"
    }
  }

  private mutating func endBlock() throws {
    guard current.kind == .blockEnd else { throw error("expected '%}', found \(found)") }
    advance()
  }

  /// Statements up to one of the closing tags, which is taken along with its name; `%}` is left to the caller.
  private mutating func statements(
    until closings: Set<String>, opened: Int, by opener: String
  ) throws -> ([JinjaStatement], closing: String) {
    statementDepth += 1
    defer { statementDepth -= 1 }
    guard statementDepth <= Self.depthLimit else { throw error("tags are nested more than \(Self.depthLimit) deep") }
    var body: [JinjaStatement] = []
    while true {
      switch current.kind {
      case .text(let text):
        body.append(.text(text))
        advance()
      case .outputBegin:
        advance()
        body.append(.output(try tupleOrExpression()))
        guard current.kind == .outputEnd else { throw error("expected '}}', found \(found)") }
        advance()
      case .blockBegin:
        advance()
        let line = line
        let tag = try expectName()
        if closings.contains(tag) { return (body, tag) }
        body.append(try statement(tag, line: line))
      default:
        guard closings.isEmpty else { throw error("tag '\(opener)' is not closed", line: opened) }
        return (body, "")
      }
    }
  }

  private mutating func statement(_ tag: String, line: Int) throws -> JinjaStatement {
    switch tag {
    case "if": return try conditional(line)
    case "for": return try forLoop(line)
    case "set": return try assignment(line)
    case "macro": return try macro(line)
    case "generation":
      try endBlock()
      let (body, _) = try statements(until: ["endgeneration"], opened: line, by: tag)
      try endBlock()
      return .generation(body)
    case "break", "continue":
      guard loopDepth > 0 else { throw error("'\(tag)' stands outside a for loop", line: line) }
      try endBlock()
      return tag == "break" ? .leaveLoop : .nextTurn
    case "else", "elif", "endif", "endfor", "endset", "endmacro", "endgeneration":
      throw error("tag '\(tag)' closes nothing that was opened", line: line)
    default:
      throw error(
        "tag \(quoted(tag)) is not supported", line: line,
        remedy: "tags are if, for, set, macro, generation, break and continue")
    }
  }

  private mutating func conditional(_ line: Int) throws -> JinjaStatement {
    var branches: [(test: JinjaExpression, body: [JinjaStatement])] = []
    while true {
      let test = try tupleOrExpression()
      try endBlock()
      let (body, closing) = try statements(until: ["elif", "else", "endif"], opened: line, by: "if")
      branches.append((test, body))
      guard closing != "elif" else { continue }
      try endBlock()
      guard closing == "else" else { return .conditional(branches, otherwise: []) }
      let (otherwise, _) = try statements(until: ["endif"], opened: line, by: "if")
      try endBlock()
      return .conditional(branches, otherwise: otherwise)
    }
  }

  private mutating func forLoop(_ line: Int) throws -> JinjaStatement {
    let target = try target()
    guard skipName("in") else { throw error("expected 'in', found \(found)") }
    let iterable = try tupleOrExpression(allowsConditional: false)
    let condition = skipName("if") ? try expression() : nil
    guard !isName("recursive") else { throw error("recursive for loops are not supported") }
    try endBlock()
    loopDepth += 1
    let (body, closing) = try statements(until: ["else", "endfor"], opened: line, by: "for")
    loopDepth -= 1
    try endBlock()
    var otherwise: [JinjaStatement] = []
    if closing == "else" {
      otherwise = try statements(until: ["endfor"], opened: line, by: "for").0
      try endBlock()
    }
    return .loop(
      JinjaForLoop(target: target, iterable: iterable, condition: condition, body: body, otherwise: otherwise))
  }

  private mutating func assignment(_ line: Int) throws -> JinjaStatement {
    let target = try target()
    if skipSymbol("=") {
      let value = try tupleOrExpression()
      try endBlock()
      return .assignment(target, value)
    }
    var filters: [(filter: JinjaFilter, arguments: JinjaArguments)] = []
    while skipSymbol("|") { filters.append(try filterCall()) }
    try endBlock()
    let (body, _) = try statements(until: ["endset"], opened: line, by: "set")
    try endBlock()
    return .capture(target, filters: filters, body, line: line)
  }

  private mutating func target() throws -> JinjaTarget {
    let line = line
    let isParenthesised = skipSymbol("(")
    var targets: [JinjaTarget] = []
    var isTuple = false
    repeat {
      guard currentName != nil, !isName("in") else { break }
      let name = try expectName()
      guard !["true", "false", "none", "True", "False", "None", "loop"].contains(name) else {
        throw error("'\(name)' cannot be assigned to", line: line)
      }
      targets.append(skipSymbol(".") ? .attribute(of: name, try expectName()) : .name(name))
      guard skipSymbol(",") else { break }
      isTuple = true
    } while true
    if isParenthesised { try expectSymbol(")") }
    guard let first = targets.first else { throw error("expected a name, found \(found)") }
    return isTuple ? .tuple(targets) : first
  }

  private mutating func macro(_ line: Int) throws -> JinjaStatement {
    let name = try expectName()
    try expectSymbol("(")
    var parameters: [(name: String, defaultValue: JinjaExpression?)] = []
    while !isSymbol(")") {
      let parameter = try expectName()
      guard !parameters.contains(where: { $0.name == parameter }) else {
        throw error("macro '\(name)' has two parameters '\(parameter)'", line: line)
      }
      parameters.append((parameter, skipSymbol("=") ? try expression() : nil))
      guard skipSymbol(",") else { break }
    }
    try expectSymbol(")")
    try endBlock()
    let outerLoops = loopDepth
    loopDepth = 0
    let (body, _) = try statements(until: ["endmacro"], opened: line, by: "macro")
    loopDepth = outerLoops
    try endBlock()
    return .macro(JinjaMacroDefinition(name: name, parameters: parameters, body: body))
  }
}
