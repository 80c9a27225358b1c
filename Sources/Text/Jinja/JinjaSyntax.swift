/// An expression of a template, as parsed.
struct JinjaExpression: Sendable {
  let kind: Kind
  let line: Int

  /// Levels of expressions below and including this one; the parser keeps it small, so recursion over it is safe.
  let depth: Int

  indirect enum Kind: Sendable {
    case string(String)
    case integer(Int)
    case float(Double)
    case boolean(Bool)
    case none
    case name(String)
    case list([JinjaExpression])
    case tuple([JinjaExpression])
    case dictionary([(key: JinjaExpression, value: JinjaExpression)])
    case attribute(JinjaExpression, String)
    case item(JinjaExpression, JinjaExpression)
    case slice(JinjaExpression, start: JinjaExpression?, stop: JinjaExpression?, step: JinjaExpression?)
    case call(JinjaExpression, JinjaArguments)
    case filter(JinjaExpression, JinjaFilter, JinjaArguments)
    case test(JinjaExpression, JinjaTest, JinjaArguments)
    case negative(JinjaExpression)
    case positive(JinjaExpression)
    case arithmetic(JinjaArithmetic, JinjaExpression, JinjaExpression)
    case concatenation([JinjaExpression])
    case comparison(JinjaExpression, [(operation: JinjaComparison, right: JinjaExpression)])
    case and(JinjaExpression, JinjaExpression)
    case or(JinjaExpression, JinjaExpression)
    case not(JinjaExpression)
    case conditional(then: JinjaExpression, test: JinjaExpression, otherwise: JinjaExpression?)
  }
}

/// What stands between the parentheses of a call, a filter or a test.
struct JinjaArguments: Sendable {
  var positional: [JinjaExpression] = []
  var named: [(name: String, value: JinjaExpression)] = []

  /// Every argument's expression.
  var expressions: [JinjaExpression] { positional + named.map(\.value) }
}

/// An operator on two numbers; some also join or repeat texts and lists.
enum JinjaArithmetic: String, Sendable {
  case add = "+"
  case subtract = "-"
  case multiply = "*"
  case divide = "/"
  case floorDivide = "//"
  case remainder = "%"
  case power = "**"
}

/// An operator that compares two values.
enum JinjaComparison: String, Sendable {
  case equal = "=="
  case notEqual = "!="
  case less = "<"
  case lessOrEqual = "<="
  case greater = ">"
  case greaterOrEqual = ">="
  case isIn = "in"
  case isNotIn = "not in"
}

/// What a `for` or `set` assigns to.
indirect enum JinjaTarget: Sendable {
  case name(String)
  case attribute(of: String, String)
  case tuple([JinjaTarget])
}

/// One statement of a template, or the text between two.
indirect enum JinjaStatement: Sendable {
  case text(String)
  case output(JinjaExpression)
  case conditional([(test: JinjaExpression, body: [JinjaStatement])], otherwise: [JinjaStatement])
  case loop(JinjaForLoop)
  case assignment(JinjaTarget, JinjaExpression)
  case capture(JinjaTarget, filters: [(filter: JinjaFilter, arguments: JinjaArguments)], [JinjaStatement], line: Int)
  case macro(JinjaMacroDefinition)
  case generation([JinjaStatement])
  case leaveLoop
  case nextTurn
}

/// `{% for target in iterable if condition %} body {% else %} otherwise {% endfor %}`.
struct JinjaForLoop: Sendable {
  let target: JinjaTarget
  let iterable: JinjaExpression
  let condition: JinjaExpression?
  let body: [JinjaStatement]
  let otherwise: [JinjaStatement]
}

/// `{% macro name(parameters) %} body {% endmacro %}`.
struct JinjaMacroDefinition: Sendable {
  let name: String
  let parameters: [(name: String, defaultValue: JinjaExpression?)]
  let body: [JinjaStatement]
}

/// The filters a template may use; any other is refused when the template is parsed.
enum JinjaFilter: String, Sendable, CaseIterable {
  case abs, capitalize, count, d, `default`, dictsort, first, float, indent, int, items, join, last, length, list
  case lower, map, max, min, reject, rejectattr, replace, reverse, round, safe, select, selectattr, sort, string, sum
  case title, tojson, trim, unique, upper
}

/// The tests a template may use after `is`; any other is refused when the template is parsed.
enum JinjaTest: String, Sendable, CaseIterable {
  case boolean, callable, defined, divisibleby, eq, equalto, even, `false`, float, ge, greaterthan, gt, `in`, integer
  case iterable, le, lessthan, lower, lt, mapping, ne, none, number, odd, sameas, sequence, string, `true`
  case undefined, upper
}
