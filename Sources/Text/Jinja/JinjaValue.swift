/// A value while a template runs, with Python's meaning.
enum JinjaValue {
  /// What a missing variable or member gives; the text says what was missing, for messages.
  case undefined(String)
  case none
  case boolean(Bool)
  case integer(Int)
  case float(Double)
  case string(String)
  case list(JinjaList)
  case dictionary(JinjaDictionary)
  case namespace(JinjaNamespace)
  case loop(JinjaLoop)
  case function(JinjaFunction)
  case method(JinjaMethod)
  case macro(JinjaMacro)

  /// What Python would call this value's type, for messages.
  var kindName: String {
    switch self {
    case .undefined: "an undefined value"
    case .none: "none"
    case .boolean: "a boolean"
    case .integer: "an integer"
    case .float: "a float"
    case .string: "a string"
    case .list(let list): list.isTuple ? "a tuple" : "a list"
    case .dictionary: "a dictionary"
    case .namespace: "a namespace"
    case .loop: "the loop variable"
    case .function, .method, .macro: "a function"
    }
  }

  /// Whether a condition with this value holds.
  var isTrue: Bool {
    switch self {
    case .undefined, .none: false
    case .boolean(let value): value
    case .integer(let value): value != 0
    case .float(let value): value != 0
    case .string(let text): !text.isEmpty
    case .list(let list): !list.elements.isEmpty
    case .dictionary(let dictionary): !dictionary.members.isEmpty
    case .namespace, .loop, .function, .method, .macro: true
    }
  }

  var isUndefined: Bool {
    if case .undefined = self { true } else { false }
  }

  /// The number an integer or boolean stands for.
  var index: Int? {
    switch self {
    case .integer(let value): value
    case .boolean(let value): value ? 1 : 0
    default: nil
    }
  }

  /// The value of any number, or of a boolean.
  var number: Double? {
    if case .float(let value) = self { value } else { index.map(Double.init) }
  }

  /// Levels of lists and dictionaries inside this value. Namespaces and what closes over variables can hold
  /// anything, so they count as too deep to be put into another value.
  var depth: Int {
    switch self {
    case .list(let list): list.depth
    case .dictionary(let dictionary): dictionary.depth
    case .namespace, .loop, .method, .macro: JinjaList.depthLimit
    default: 0
    }
  }

  /// Equality as Python has it: numbers by value, texts scalar by scalar.
  func equals(_ other: JinjaValue) -> Bool {
    switch (self, other) {
    case (.undefined, .undefined), (.none, .none): true
    case (.string(let a), .string(let b)): a.utf8.elementsEqual(b.utf8)
    case (.list(let a), .list(let b)):
      a.isTuple == b.isTuple && a.elements.count == b.elements.count
        && zip(a.elements, b.elements).allSatisfy { $0.equals($1) }
    case (.dictionary(let a), .dictionary(let b)):
      a.members.count == b.members.count
        && a.members.allSatisfy { member in b[member.key].map { $0.equals(member.value) } ?? false }
    case (.namespace(let a), .namespace(let b)): a === b
    default:
      if let a = index, let b = other.index {
        a == b
      } else if let a = number, let b = other.number {
        a == b
      } else {
        false
      }
    }
  }
}

/// A list or tuple.
struct JinjaList {
  /// Deepest nesting of lists and dictionaries, so recursion over values is safe.
  static let depthLimit = 100

  let elements: [JinjaValue]
  var isTuple = false
  let depth: Int

  init(_ elements: [JinjaValue], isTuple: Bool = false) {
    self.elements = elements
    self.isTuple = isTuple
    depth = 1 + (elements.lazy.map(\.depth).max() ?? 0)
  }
}

/// A dictionary, in order of insertion.
struct JinjaDictionary {
  private(set) var members: [(key: JinjaValue, value: JinjaValue)] = []
  private(set) var depth = 1
  private var places: [Key: Int] = [:]

  /// What a value is as a key. Texts are compared scalar by scalar, so their bytes stand for them.
  private enum Key: Hashable {
    case none
    case integer(Int)
    case float(Double)
    case text([UInt8])

    init?(_ value: JinjaValue) {
      switch value {
      case .none: self = .none
      case .boolean(let value): self = .integer(value ? 1 : 0)
      case .integer(let value): self = .integer(value)
      case .float(let value): self = Int(exactly: value).map { .integer($0) } ?? .float(value)
      case .string(let text): self = .text(Array(text.utf8))
      default: return nil
      }
    }
  }

  subscript(_ key: JinjaValue) -> JinjaValue? {
    Key(key).flatMap { places[$0] }.map { members[$0].value }
  }

  subscript(_ key: String) -> JinjaValue? { self[.string(key)] }

  /// Sets a member; false when such a key cannot be one.
  @discardableResult
  mutating func set(_ key: JinjaValue, _ value: JinjaValue) -> Bool {
    guard let place = Key(key) else { return false }
    depth = max(depth, 1 + value.depth)
    if let index = places[place] {
      members[index].value = value
    } else {
      places[place] = members.count
      members.append((key, value))
    }
    return true
  }

  mutating func set(_ key: String, _ value: JinjaValue) { set(.string(key), value) }
}

/// What `namespace(…)` makes: the one value whose attributes `set` can change.
final class JinjaNamespace {
  var attributes: JinjaDictionary
  init(_ attributes: JinjaDictionary) { self.attributes = attributes }
}

/// The `loop` variable of one pass over a `for`.
final class JinjaLoop {
  let elements: [JinjaValue]
  let depth: Int
  var index = 0

  /// The arguments of the last call of `loop.changed`.
  var lastSeen: JinjaList?

  init(_ elements: [JinjaValue], depth: Int) {
    self.elements = elements
    self.depth = depth
  }
}

/// A function of every template.
enum JinjaFunction: String, CaseIterable {
  case range, namespace, dict
  case strftimeNow = "strftime_now"
  case raiseException = "raise_exception"
}

/// A method together with the value it belongs to.
final class JinjaMethod {
  let receiver: JinjaValue
  let name: String

  init(_ receiver: JinjaValue, _ name: String) {
    self.receiver = receiver
    self.name = name
  }
}

/// A macro and the variables it sees.
final class JinjaMacro {
  let definition: JinjaMacroDefinition
  let scope: JinjaScope

  init(_ definition: JinjaMacroDefinition, scope: JinjaScope) {
    self.definition = definition
    self.scope = scope
  }
}

/// Variables, and the scope around them.
final class JinjaScope {
  var values: [String: JinjaValue]
  let parent: JinjaScope?

  init(_ values: [String: JinjaValue] = [:], parent: JinjaScope? = nil) {
    self.values = values
    self.parent = parent
  }

  func value(of name: String) -> JinjaValue? {
    var scope: JinjaScope? = self
    while let here = scope {
      if let value = here.values[name] { return value }
      scope = here.parent
    }
    return nil
  }
}
