import Files

extension JinjaTest {
  /// The test a name or an operator stands for, as `selectattr` takes them.
  init?(operatorOrName name: String) {
    let operators = ["==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"]
    self.init(rawValue: operators[name] ?? name)
  }
}

extension JinjaInterpreter {
  /// Whether `value is name(arguments)` holds.
  func test(_ name: JinjaTest, _ value: JinjaValue, _ arguments: JinjaActualArguments) throws -> Bool {
    let callee = "test '\(name.rawValue)'"
    switch name {
    case .eq, .equalto: return value.equals(try operand(arguments, callee))
    case .ne: return !value.equals(try operand(arguments, callee))
    case .gt, .greaterthan: return try compare(.greater, value, try operand(arguments, callee))
    case .ge: return try compare(.greaterOrEqual, value, try operand(arguments, callee))
    case .lt, .lessthan: return try compare(.less, value, try operand(arguments, callee))
    case .le: return try compare(.lessOrEqual, value, try operand(arguments, callee))
    case .in: return try compare(.isIn, value, try operand(arguments, callee))
    case .sameas: return isSame(value, try operand(arguments, callee))
    case .divisibleby:
      guard let divisor = try operand(arguments, callee).index, divisor != 0, let number = value.index else {
        throw fail("\(callee) needs two integers, the second not 0")
      }
      return number.isMultiple(of: divisor)
    default:
      _ = try bind([], arguments, callee)
      return try plainTest(name, value)
    }
  }

  private func operand(_ arguments: JinjaActualArguments, _ callee: String) throws -> JinjaValue {
    guard let operand = try bind(["other"], arguments, callee)[0] else { throw fail("\(callee) needs an argument") }
    return operand
  }

  /// Identity, which for what templates hold means: of one type and equal.
  private func isSame(_ a: JinjaValue, _ b: JinjaValue) -> Bool { a.kindName == b.kindName && a.equals(b) }

  private func plainTest(_ name: JinjaTest, _ value: JinjaValue) throws -> Bool {
    switch (name, value) {
    case (.defined, _): return !value.isUndefined
    case (.undefined, _): return value.isUndefined
    case (.none, .none), (.boolean, .boolean), (.string, .string), (.mapping, .dictionary): return true
    case (.true, .boolean(let flag)): return flag
    case (.false, .boolean(let flag)): return !flag
    case (.integer, .integer), (.float, .float): return true
    case (.number, _): return value.number != nil
    case (.iterable, .list), (.iterable, .dictionary), (.iterable, .string), (.iterable, .undefined): return true
    case (.sequence, .list), (.sequence, .dictionary), (.sequence, .string), (.sequence, .undefined): return true
    case (.callable, .function), (.callable, .method), (.callable, .macro): return true
    case (.upper, .string(let text)): return text == text.uppercased() && text != text.lowercased()
    case (.lower, .string(let text)): return text == text.lowercased() && text != text.uppercased()
    case (.even, _), (.odd, _):
      guard let number = value.index else { throw fail("test '\(name.rawValue)' needs an integer") }
      return number.isMultiple(of: 2) == (name == .even)
    default: return false
    }
  }
}
