import Files

/// What a template may use before it is stopped.
struct JinjaLimits: Sendable {
  /// Expressions, statements and turns of loops evaluated.
  var steps = 1_000_000

  /// Bytes of text and lists made along the way, and of the result.
  var bytes = 256 << 20

  /// Expressions, blocks and macros inside each other while running.
  var depth = 600
}

/// Runs the statements of a template.
///
/// Every step and every byte made is counted against ``JinjaLimits``, so a hostile template ends with an error.
final class JinjaInterpreter {
  let path: String
  let limits: JinjaLimits

  /// Seconds since 1970 that `strftime_now` tells; nothing for the clock's.
  let now: Int?

  /// The line being evaluated, for messages.
  var line = 1

  var output = ""
  private var steps = 0
  private var bytes = 0
  var depth = 0
  private var loopDepth = 0

  /// Scopes that macros close over; each holds the macro that holds it, so they are emptied at the end.
  private var closures: [JinjaScope] = []

  private enum Flow {
    case onward
    case leaveLoop
    case nextTurn
  }

  init(path: String, limits: JinjaLimits, now: Int?) {
    self.path = path
    self.limits = limits
    self.now = now
  }

  func run(_ template: [JinjaStatement], _ variables: [String: JinjaValue]) throws -> String {
    var globals = Dictionary(
      uniqueKeysWithValues: JinjaFunction.allCases.map { ($0.rawValue, JinjaValue.function($0)) })
    globals.merge(variables) { $1 }
    let scope = JinjaScope(globals)
    defer { for closure in closures { closure.values = [:] } }
    _ = try execute(template, scope)
    return output
  }

  func fail(_ problem: String, remedy: String? = nil) -> FileError {
    FileError(path, line: line, problem, remedy: remedy)
  }

  func tooLarge() -> FileError { fail("the template makes more than \(limits.bytes) bytes of text") }

  /// Counts one step.
  func step() throws {
    steps += 1
    guard steps <= limits.steps else { throw fail("the template takes more than \(limits.steps) steps") }
  }

  /// Counts bytes about to be made or read.
  func spend(_ count: Int) throws {
    let (sum, overflow) = bytes.addingReportingOverflow(count)
    bytes = sum
    guard !overflow, sum <= limits.bytes else { throw tooLarge() }
  }

  /// Goes one level deeper for the time of `body`.
  func nested<Result>(_ body: () throws -> Result) throws -> Result {
    guard depth < limits.depth else { throw fail("the template runs more than \(limits.depth) levels deep") }
    depth += 1
    defer { depth -= 1 }
    return try body()
  }

  private func write(_ text: String) throws {
    try spend(text.utf8.count)
    output += text
  }

  private func execute(_ statements: [JinjaStatement], _ scope: JinjaScope) throws -> Flow {
    try nested {
      for statement in statements {
        try step()
        let flow = try execute(statement, scope)
        guard case .onward = flow else { return flow }
      }
      return .onward
    }
  }

  private func execute(_ statement: JinjaStatement, _ scope: JinjaScope) throws -> Flow {
    switch statement {
    case .text(let text): try write(text)
    case .output(let expression): try write(try text(try evaluate(expression, scope)))
    case .conditional(let branches, let otherwise):
      for branch in branches where try evaluate(branch.test, scope).isTrue {
        return try execute(branch.body, scope)
      }
      return try execute(otherwise, scope)
    case .loop(let loop): return try run(loop, scope)
    case .assignment(let target, let expression):
      line = expression.line
      try assign(try evaluate(expression, scope), to: target, scope)
    case .capture(let target, let filters, let body, let start):
      var value = JinjaValue.string(try captured(body, JinjaScope(parent: scope)))
      line = start
      for (name, arguments) in filters {
        value = try filter(name, value, try evaluate(arguments, scope), scope)
      }
      try assign(value, to: target, scope)
    case .macro(let definition):
      closures.append(scope)
      scope.values[definition.name] = .macro(JinjaMacro(definition, scope: scope))
    case .generation(let body): return try execute(body, scope)
    case .leaveLoop: return .leaveLoop
    case .nextTurn: return .nextTurn
    }
    return .onward
  }

  /// What statements print.
  private func captured(_ body: [JinjaStatement], _ scope: JinjaScope) throws -> String {
    let outer = output
    output = ""
    defer { output = outer }
    _ = try execute(body, scope)
    return output
  }

  private func run(_ loop: JinjaForLoop, _ scope: JinjaScope) throws -> Flow {
    var elements = try iterate(try evaluate(loop.iterable, scope))
    if let condition = loop.condition {
      elements = try elements.filter { element in
        try step()
        let turn = JinjaScope(parent: scope)
        try assign(element, to: loop.target, turn)
        return try evaluate(condition, turn).isTrue
      }
    }
    guard !elements.isEmpty else { return try execute(loop.otherwise, JinjaScope(parent: scope)) }
    loopDepth += 1
    defer { loopDepth -= 1 }
    let state = JinjaLoop(elements, depth: loopDepth)
    for (index, element) in elements.enumerated() {
      try step()
      state.index = index
      let turn = JinjaScope(["loop": .loop(state)], parent: scope)
      try assign(element, to: loop.target, turn)
      if case .leaveLoop = try execute(loop.body, turn) { break }
    }
    return .onward
  }

  private func assign(_ value: JinjaValue, to target: JinjaTarget, _ scope: JinjaScope) throws {
    switch target {
    case .name(let name): scope.values[name] = value
    case .attribute(let name, let attribute):
      guard case .namespace(let namespace)? = scope.value(of: name) else {
        throw fail("'\(name).\(attribute)' cannot be set: '\(name)' is not a namespace")
      }
      guard value.depth < JinjaList.depthLimit else {
        throw fail("\(value.kindName) cannot be stored in a namespace: it is nested too deep")
      }
      namespace.attributes.set(attribute, value)
    case .tuple(let targets):
      let elements = try iterate(value)
      guard elements.count == targets.count else {
        throw fail("\(elements.count) values cannot be unpacked into \(targets.count) names")
      }
      for (target, element) in zip(targets, elements) { try assign(element, to: target, scope) }
    }
  }

  /// The elements a `for` sees.
  func iterate(_ value: JinjaValue) throws -> [JinjaValue] {
    switch value {
    case .undefined: return []
    case .list(let list): return list.elements
    case .dictionary(let dictionary):
      try spend(dictionary.members.count * 16)
      return dictionary.members.map(\.key)
    case .string(let text):
      try spend(text.utf8.count * 16)
      return text.unicodeScalars.map { .string(String($0)) }
    default: throw fail("\(value.kindName) cannot be iterated over")
    }
  }

  /// A list, unless it would be nested too deep.
  func list(_ elements: [JinjaValue], isTuple: Bool = false) throws -> JinjaValue {
    try spend(elements.count * 16)
    let list = JinjaList(elements, isTuple: isTuple)
    guard list.depth <= JinjaList.depthLimit else { throw tooDeep(elements) }
    return .list(list)
  }

  /// A dictionary, unless it would be nested too deep or a key cannot be one.
  func dictionary(_ members: [(key: JinjaValue, value: JinjaValue)]) throws -> JinjaValue {
    try spend(members.count * 32)
    var dictionary = JinjaDictionary()
    for (key, value) in members {
      guard dictionary.set(key, value) else { throw fail("\(key.kindName) cannot be a key of a dictionary") }
    }
    guard dictionary.depth <= JinjaList.depthLimit else { throw tooDeep(members.map(\.value)) }
    return .dictionary(dictionary)
  }

  private func tooDeep(_ elements: [JinjaValue]) -> FileError {
    for element in elements {
      switch element {
      case .namespace, .loop, .method, .macro: return fail("\(element.kindName) cannot be stored in another value")
      default: continue
      }
    }
    return fail("values are nested more than \(JinjaList.depthLimit) deep")
  }

  /// Runs a macro and gives what it prints.
  func call(_ macro: JinjaMacro, _ arguments: JinjaActualArguments) throws -> JinjaValue {
    let parameters = macro.definition.parameters
    let bound = try bind(parameters.map(\.name), arguments, "macro '\(macro.definition.name)'")
    let scope = JinjaScope(parent: macro.scope)
    for (parameter, value) in zip(parameters, bound) {
      if let value {
        scope.values[parameter.name] = value
      } else if let expression = parameter.defaultValue {
        scope.values[parameter.name] = try evaluate(expression, scope)
      } else {
        scope.values[parameter.name] = .undefined("'\(parameter.name)'")
      }
    }
    return .string(try captured(macro.definition.body, scope))
  }
}
