import Files

/// Arguments with their values.
struct JinjaActualArguments {
  var positional: [JinjaValue] = []
  var named: [(name: String, value: JinjaValue)] = []
}

extension JinjaInterpreter {
  /// The value of an expression.
  func evaluate(_ expression: JinjaExpression, _ scope: JinjaScope) throws -> JinjaValue {
    try step()
    let outer = line
    line = expression.line
    defer { line = outer }
    return try nested { try value(of: expression, scope) }
  }

  private func value(of expression: JinjaExpression, _ scope: JinjaScope) throws -> JinjaValue {
    switch expression.kind {
    case .string(let text): return .string(text)
    case .integer(let value): return .integer(value)
    case .float(let value): return .float(value)
    case .boolean(let value): return .boolean(value)
    case .none: return .none
    case .name(let name): return scope.value(of: name) ?? .undefined(quoted(name))
    case .list(let elements): return try list(try elements.map { try evaluate($0, scope) })
    case .tuple(let elements): return try list(try elements.map { try evaluate($0, scope) }, isTuple: true)
    case .dictionary(let members):
      return try dictionary(try members.map { (try evaluate($0.key, scope), try evaluate($0.value, scope)) })
    case .attribute(let base, let name): return try attribute(name, of: try evaluate(base, scope))
    case .item(let base, let key): return try item(try evaluate(key, scope), of: try evaluate(base, scope))
    case .slice(let base, let start, let stop, let step):
      return try slice(
        try evaluate(base, scope), start: try bound(start, scope), stop: try bound(stop, scope),
        step: try bound(step, scope))
    case .call(let callee, let arguments): return try call(callee, arguments, scope)
    case .filter(let base, let name, let arguments):
      return try filter(name, try evaluate(base, scope), try evaluate(arguments, scope), scope)
    case .test(let base, let name, let arguments):
      return .boolean(try test(name, try evaluate(base, scope), try evaluate(arguments, scope)))
    case .negative(let operand): return try negated(try evaluate(operand, scope))
    case .positive(let operand):
      let value = try evaluate(operand, scope)
      guard value.number != nil else { throw mismatch("+", value) }
      return value
    case .arithmetic(let operation, let left, let right):
      return try arithmetic(operation, try evaluate(left, scope), try evaluate(right, scope))
    case .concatenation(let parts):
      var joined = ""
      for part in parts { joined += try text(try evaluate(part, scope)) }
      try spend(joined.utf8.count)
      return .string(joined)
    case .comparison(let first, let rest):
      var left = try evaluate(first, scope)
      for (operation, expression) in rest {
        let right = try evaluate(expression, scope)
        guard try compare(operation, left, right) else { return .boolean(false) }
        left = right
      }
      return .boolean(true)
    case .and(let left, let right):
      let value = try evaluate(left, scope)
      return value.isTrue ? try evaluate(right, scope) : value
    case .or(let left, let right):
      let value = try evaluate(left, scope)
      return value.isTrue ? value : try evaluate(right, scope)
    case .not(let operand): return .boolean(!(try evaluate(operand, scope).isTrue))
    case .conditional(let then, let test, let otherwise):
      if try evaluate(test, scope).isTrue { return try evaluate(then, scope) }
      return try otherwise.map { try evaluate($0, scope) } ?? .undefined("the value of an 'if' without 'else'")
    }
  }

  func evaluate(_ arguments: JinjaArguments, _ scope: JinjaScope) throws -> JinjaActualArguments {
    JinjaActualArguments(
      positional: try arguments.positional.map { try evaluate($0, scope) },
      named: try arguments.named.map { ($0.name, try evaluate($0.value, scope)) })
  }

  private func bound(_ expression: JinjaExpression?, _ scope: JinjaScope) throws -> Int? {
    guard let expression else { return nil }
    let value = try evaluate(expression, scope)
    if case .none = value { return nil }
    guard let index = value.index else { throw fail("a slice needs integers, found \(value.kindName)") }
    return index
  }

  private func call(_ callee: JinjaExpression, _ arguments: JinjaArguments, _ scope: JinjaScope) throws -> JinjaValue {
    let function = try evaluate(callee, scope)
    let actual = try evaluate(arguments, scope)
    switch function {
    case .function(let function): return try call(function, actual)
    case .method(let method): return try call(method, actual)
    case .macro(let macro): return try nested { try call(macro, actual) }
    case .undefined(let what): throw fail("\(what) is undefined and cannot be called")
    default: throw fail("\(function.kindName) cannot be called")
    }
  }

  /// Values in the order of `names`, from arguments by place and by name.
  func bind(_ names: [String], _ arguments: JinjaActualArguments, _ callee: String) throws -> [JinjaValue?] {
    guard arguments.positional.count <= names.count else {
      throw fail("\(callee) takes at most \(names.count) arguments, found \(arguments.positional.count)")
    }
    var values: [JinjaValue?] = arguments.positional
    values += [JinjaValue?](repeating: nil, count: names.count - values.count)
    for (name, value) in arguments.named {
      guard let index = names.firstIndex(of: name) else { throw fail("\(callee) has no argument \(quoted(name))") }
      guard values[index] == nil else { throw fail("\(callee) is given its argument '\(name)' twice") }
      values[index] = value
    }
    return values
  }

  /// `base.name`: a method or a property, then a member.
  func attribute(_ name: String, of base: JinjaValue) throws -> JinjaValue {
    switch base {
    case .undefined(let what): throw fail("\(what) is undefined, so it has no attribute \(quoted(name))")
    case .dictionary(let dictionary):
      if JinjaDictionaryMethod(rawValue: name) != nil { return .method(JinjaMethod(base, name)) }
      return dictionary[name] ?? .undefined("attribute \(quoted(name)) of a dictionary")
    case .string where JinjaStringMethod(rawValue: name) != nil: return .method(JinjaMethod(base, name))
    case .list where JinjaListMethod(rawValue: name) != nil: return .method(JinjaMethod(base, name))
    case .namespace(let namespace):
      return namespace.attributes[name] ?? .undefined("attribute \(quoted(name)) of a namespace")
    case .loop(let loop): return property(name, of: loop)
    default: return .undefined("attribute \(quoted(name)) of \(base.kindName)")
    }
  }

  private func property(_ name: String, of loop: JinjaLoop) -> JinjaValue {
    let count = loop.elements.count
    switch name {
    case "index": return .integer(loop.index + 1)
    case "index0": return .integer(loop.index)
    case "revindex": return .integer(count - loop.index)
    case "revindex0": return .integer(count - loop.index - 1)
    case "first": return .boolean(loop.index == 0)
    case "last": return .boolean(loop.index == count - 1)
    case "length": return .integer(count)
    case "depth": return .integer(loop.depth)
    case "depth0": return .integer(loop.depth - 1)
    case "previtem": return loop.index > 0 ? loop.elements[loop.index - 1] : .undefined("the item before the first")
    case "nextitem":
      return loop.index + 1 < count ? loop.elements[loop.index + 1] : .undefined("the item after the last")
    case "cycle", "changed": return .method(JinjaMethod(.loop(loop), name))
    default: return .undefined("attribute \(quoted(name)) of the loop variable")
    }
  }

  /// `base[key]`: a member, then a method or property.
  func item(_ key: JinjaValue, of base: JinjaValue) throws -> JinjaValue {
    switch base {
    case .undefined(let what): throw fail("\(what) is undefined, so it has no items")
    case .dictionary(let dictionary):
      if let value = dictionary[key] { return value }
    case .list(let list):
      if let index = key.index {
        return element(index, count: list.elements.count).map { list.elements[$0] }
          ?? .undefined("item \(index) of \(base.kindName) of \(list.elements.count)")
      }
    case .string(let text):
      if let index = key.index {
        try spend(text.utf8.count)
        let scalars = Array(text.unicodeScalars)
        return element(index, count: scalars.count).map { .string(String(scalars[$0])) }
          ?? .undefined("item \(index) of a string of \(scalars.count)")
      }
    default: break
    }
    if case .string(let name) = key { return try attribute(name, of: base) }
    return .undefined("item \(try text(key)) of \(base.kindName)")
  }

  /// The place an index means, counted from the end when negative; nothing when outside.
  private func element(_ index: Int, count: Int) -> Int? {
    if index >= 0 { return index < count ? index : nil }
    return index >= -count ? index + count : nil
  }

  private func slice(_ base: JinjaValue, start: Int?, stop: Int?, step: Int?) throws -> JinjaValue {
    switch base {
    case .list(let list):
      let chosen = try places(count: list.elements.count, start: start, stop: stop, step: step)
      return try self.list(chosen.map { list.elements[$0] }, isTuple: list.isTuple)
    case .string(let text):
      try spend(text.utf8.count)
      let scalars = Array(text.unicodeScalars)
      let chosen = try places(count: scalars.count, start: start, stop: stop, step: step)
      var output = String.UnicodeScalarView()
      for index in chosen { output.append(scalars[index]) }
      return .string(String(output))
    case .undefined(let what): throw fail("\(what) is undefined and cannot be sliced")
    default: throw fail("\(base.kindName) cannot be sliced")
    }
  }

  private func places(count: Int, start: Int?, stop: Int?, step: Int?) throws -> [Int] {
    // No stride beyond the length changes what is chosen; bounding it keeps the sums below from overflowing.
    let step = max(-count - 1, min(step ?? 1, count + 1))
    guard step != 0 else { throw fail("the step of a slice cannot be 0") }
    func clamped(_ index: Int, _ range: ClosedRange<Int>) -> Int {
      let place = index < 0 ? max(index, -count - 1) + count : index
      return max(range.lowerBound, min(place, range.upperBound))
    }
    if step > 0 {
      let from = start.map { clamped($0, 0...count) } ?? 0
      let to = stop.map { clamped($0, 0...count) } ?? count
      return Array(Swift.stride(from: from, to: to, by: step))
    }
    let from = start.map { clamped($0, -1...max(count - 1, -1)) } ?? count - 1
    let to = stop.map { clamped($0, -1...max(count - 1, -1)) } ?? -1
    return Array(Swift.stride(from: from, to: to, by: step))
  }
}
