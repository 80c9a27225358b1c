import Files

extension JinjaInterpreter {
  /// The result of `value | name(arguments)`.
  func filter(
    _ name: JinjaFilter, _ value: JinjaValue, _ arguments: JinjaActualArguments, _ scope: JinjaScope
  ) throws -> JinjaValue {
    let callee = "filter '\(name.rawValue)'"
    func bound(_ names: String...) throws -> [JinjaValue?] { try bind(names, arguments, callee) }
    switch name {
    case .trim:
      let set = try bound("chars")[0].map { try text($0) }
      return .string(JinjaScalars.stripped(try spentText(value), of: set))
    case .upper: return .string(try spentText(value, bound()).uppercased())
    case .lower: return .string(try spentText(value, bound()).lowercased())
    case .capitalize: return .string(JinjaScalars.capitalized(try spentText(value, bound())))
    case .title: return .string(JinjaScalars.titled(try spentText(value, bound())))
    case .string, .safe: return .string(try spentText(value, bound()))
    case .replace:
      let values = try bound("old", "new", "count")
      guard let old = values[0], let new = values[1] else { throw fail("\(callee) needs two arguments") }
      return .string(try replaced(try text(value), try text(old), try text(new), values[2]?.index))
    case .indent: return .string(try indented(try text(value), try bound("width", "first", "blank")))
    case .length, .count:
      _ = try bound()
      return .integer(try length(value))
    case .tojson:
      return .string(try json(value, style(try bound("indent", "sort_keys", "separators", "ensure_ascii"))))
    case .join:
      let values = try bound("d", "attribute")
      return .string(try joined(value, by: values[0], attribute: values[1]))
    case .default, .d:
      let values = try bound("default_value", "boolean")
      let isMissing = value.isUndefined || (values[1]?.isTrue ?? false && !value.isTrue)
      return isMissing ? values[0] ?? .string("") : value
    case .abs, .int, .float, .round, .sum, .min, .max: return try numeric(name, value, arguments)
    case .first, .last, .list, .reverse, .unique, .sort, .items, .dictsort:
      return try arranged(name, value, arguments)
    case .map: return try mapped(value, arguments, scope)
    case .select, .reject, .selectattr, .rejectattr: return try selected(name, value, arguments)
    }
  }

  /// The text of a value, counted as read; `values` are arguments already found to be none.
  private func spentText(_ value: JinjaValue, _ values: [JinjaValue?] = []) throws -> String {
    let text = try text(value)
    try spend(text.utf8.count)
    return text
  }

  func length(_ value: JinjaValue) throws -> Int {
    switch value {
    case .undefined: return 0
    case .string(let text):
      try spend(text.utf8.count)
      return text.unicodeScalars.count
    case .list(let list): return list.elements.count
    case .dictionary(let dictionary): return dictionary.members.count
    default: throw fail("\(value.kindName) has no length")
    }
  }

  func replaced(_ text: String, _ old: String, _ new: String, _ count: Int?) throws -> String {
    try spend(text.utf8.count)
    guard !old.isEmpty else { throw fail("an empty text cannot be replaced") }
    let pieces = JinjaScalars.split(text, old, limit: count.map { $0 < 0 ? .max : $0 } ?? .max)
    let (bytes, overflows) = new.utf8.count.multipliedReportingOverflow(by: pieces.count)
    guard !overflows else { throw tooLarge() }
    try spend(bytes)
    return pieces.joined(separator: new)
  }

  /// How `tojson` is to write, from its four arguments.
  private func style(_ values: [JinjaValue?]) throws -> JinjaJSONStyle {
    var style = JinjaJSONStyle(indent: values[0]?.index, sortsKeys: values[1]?.isTrue ?? false)
    if case .list(let separators)? = values[2], separators.elements.count == 2 {
      style.itemSeparator = try text(separators.elements[0])
      style.keySeparator = try text(separators.elements[1])
    }
    guard !(values[3]?.isTrue ?? false) else { throw fail("filter 'tojson' with ensure_ascii is not supported") }
    return style
  }

  private func indented(_ text: String, _ values: [JinjaValue?]) throws -> String {
    let width: String
    if case .string(let prefix)? = values[0] {
      width = prefix
    } else {
      width = String(repeating: " ", count: max(0, min(values[0]?.index ?? 4, 1024)))
    }
    let indentsBlank = values[2]?.isTrue ?? false
    let lines = JinjaScalars.split(text, "\n")
    try spend(text.utf8.count + lines.count * width.utf8.count)
    let rest = lines.dropFirst().map { $0.isEmpty && !indentsBlank ? $0 : width + $0 }
    return ([(values[1]?.isTrue ?? false ? width : "") + lines[0]] + rest).joined(separator: "\n")
  }

  private func joined(_ value: JinjaValue, by separator: JinjaValue?, attribute: JinjaValue?) throws -> String {
    let separator = try separator.map { try text($0) } ?? ""
    var pieces: [String] = []
    for element in try iterate(value) {
      pieces.append(try text(try attribute.map { try member($0, of: element) } ?? element))
      try spend(separator.utf8.count + (pieces.last?.utf8.count ?? 0))
    }
    return pieces.joined(separator: separator)
  }

  /// A member named by an integer, or by names with dots between.
  private func member(_ path: JinjaValue, of value: JinjaValue) throws -> JinjaValue {
    guard case .string(let names) = path else { return try item(path, of: value) }
    var value = value
    for name in JinjaScalars.split(names, ".") {
      value = try item(Int(name).map { .integer($0) } ?? .string(name), of: value)
    }
    return value
  }

  private func numeric(
    _ name: JinjaFilter, _ value: JinjaValue, _ arguments: JinjaActualArguments
  ) throws -> JinjaValue {
    let callee = "filter '\(name.rawValue)'"
    switch name {
    case .abs:
      _ = try bind([], arguments, callee)
      guard let number = value.number else { throw fail("\(callee) needs a number, found \(value.kindName)") }
      if number < 0 { return try negated(value) }
      return value
    case .int:
      let fallback = try bind(["default"], arguments, callee)[0] ?? .integer(0)
      if let number = value.index { return .integer(number) }
      if case .string(let text) = value {
        let digits = JinjaScalars.stripped(text, of: nil)
        if let number = Int(digits) ?? Double(digits).flatMap({ Int(exactly: $0.rounded(.towardZero)) }) {
          return .integer(number)
        }
      }
      return value.number.flatMap { Int(exactly: $0.rounded(.towardZero)) }.map { .integer($0) } ?? fallback
    case .float:
      let fallback = try bind(["default"], arguments, callee)[0] ?? .float(0)
      if let number = value.number { return .float(number) }
      guard case .string(let text) = value else { return fallback }
      return Double(JinjaScalars.stripped(text, of: nil)).map { .float($0) } ?? fallback
    case .round:
      let digits = try bind(["precision"], arguments, callee)[0]?.index ?? 0
      guard let number = value.number else { throw fail("\(callee) needs a number, found \(value.kindName)") }
      guard (0...15).contains(digits) else { throw fail("\(callee) rounds to 0 to 15 digits, found \(digits)") }
      var scale = 1.0
      for _ in 0..<digits { scale *= 10 }
      return .float((number * scale).rounded(.toNearestOrEven) / scale)
    case .sum:
      _ = try bind([], arguments, callee)
      return try iterate(value).reduce(.integer(0)) { try arithmetic(.add, $0, $1) }
    default:
      _ = try bind([], arguments, callee)
      let elements = try iterate(value)
      guard var best = elements.first else { return .undefined("the \(name.rawValue) of nothing") }
      for element in elements.dropFirst() {
        try step()
        let isBetter = try name == .min ? precedes(element, best, .less) : precedes(best, element, .less)
        if isBetter { best = element }
      }
      return best
    }
  }

  private func arranged(
    _ name: JinjaFilter, _ value: JinjaValue, _ arguments: JinjaActualArguments
  ) throws -> JinjaValue {
    let callee = "filter '\(name.rawValue)'"
    if name == .sort { return try sorted(value, arguments) }
    _ = try bind([], arguments, callee)
    switch name {
    case .first: return try iterate(value).first ?? .undefined("the first of nothing")
    case .last: return try iterate(value).last ?? .undefined("the last of nothing")
    case .list: return try list(try iterate(value))
    case .reverse:
      if case .string(let text) = value {
        try spend(text.utf8.count)
        return .string(String(String.UnicodeScalarView(text.unicodeScalars.reversed())))
      }
      return try list(try iterate(value).reversed())
    case .unique:
      var seen = JinjaDictionary()
      for element in try iterate(value) {
        var folded = element
        if case .string(let text) = element { folded = .string(text.lowercased()) }
        guard seen[folded] == nil else { continue }
        guard seen.set(folded, element) else { throw fail("\(callee) does not work on \(element.kindName)") }
      }
      return try list(seen.members.map(\.value))
    default:
      if name == .items, value.isUndefined { return try list([]) }
      guard case .dictionary(let dictionary) = value else {
        throw fail("\(callee) needs a dictionary, found \(value.kindName)")
      }
      let pairs = try dictionary.members.map { try list([$0.key, $0.value], isTuple: true) }
      return name == .items ? try list(pairs) : try sorted(try list(pairs), JinjaActualArguments())
    }
  }

  private func sorted(_ value: JinjaValue, _ arguments: JinjaActualArguments) throws -> JinjaValue {
    let values = try bind(["reverse", "case_sensitive", "attribute"], arguments, "filter 'sort'")
    let isCaseSensitive = values[1]?.isTrue ?? false
    func folded(_ value: JinjaValue) throws -> JinjaValue {
      switch value {
      case .string(let text) where !isCaseSensitive: return .string(text.lowercased())
      case .list(let list): return try self.list(try list.elements.map(folded), isTuple: list.isTuple)
      default: return value
      }
    }
    let keyed = try iterate(value).map { element in
      (key: try folded(try values[2].map { try member($0, of: element) } ?? element), element: element)
    }
    let isReversed = values[0]?.isTrue ?? false
    let ordered = try keyed.sorted { a, b in
      try step()
      return try isReversed ? precedes(b.key, a.key, .less) : precedes(a.key, b.key, .less)
    }
    return try list(ordered.map(\.element))
  }

  private func mapped(
    _ value: JinjaValue, _ arguments: JinjaActualArguments, _ scope: JinjaScope
  ) throws -> JinjaValue {
    let elements = try iterate(value)
    if arguments.positional.isEmpty {
      let values = try bind(["attribute", "default"], arguments, "filter 'map'")
      guard let path = values[0] else { throw fail("filter 'map' needs a filter's name or attribute=") }
      return try list(
        try elements.map { element in
          try step()
          let member = try member(path, of: element)
          return member.isUndefined ? values[1] ?? member : member
        })
    }
    guard case .string(let name) = arguments.positional[0], let filter = JinjaFilter(rawValue: name) else {
      throw fail("filter \(quoted(try text(arguments.positional[0]))) is not supported")
    }
    var rest = arguments
    rest.positional.removeFirst()
    return try list(
      try elements.map { element in
        try step()
        return try nested { try self.filter(filter, element, rest, scope) }
      })
  }

  private func selected(
    _ name: JinjaFilter, _ value: JinjaValue, _ arguments: JinjaActualArguments
  ) throws -> JinjaValue {
    let takesAttribute = name == .selectattr || name == .rejectattr
    let keeps = name == .select || name == .selectattr
    var rest = arguments
    var path: JinjaValue?
    if takesAttribute {
      guard !rest.positional.isEmpty else { throw fail("filter '\(name.rawValue)' needs an attribute's name") }
      path = rest.positional.removeFirst()
    }
    var condition: JinjaTest?
    if !rest.positional.isEmpty {
      let first = rest.positional.removeFirst()
      guard case .string(let name) = first, let found = JinjaTest(operatorOrName: name) else {
        throw fail("test \(quoted(try text(first))) is not supported")
      }
      condition = found
    }
    return try list(
      try iterate(value).filter { element in
        try step()
        let subject = try path.map { try member($0, of: element) } ?? element
        let holds = try condition.map { try test($0, subject, rest) } ?? subject.isTrue
        return holds == keeps
      })
  }
}

extension JinjaScalars {
  /// The first letter large, the others small.
  static func capitalized(_ text: String) -> String {
    guard let first = text.unicodeScalars.first else { return "" }
    return first.properties.titlecaseMapping
      + String(String.UnicodeScalarView(text.unicodeScalars.dropFirst())).lowercased()
  }

  /// The first letter of every word large, the others small.
  static func titled(_ text: String) -> String {
    var output = ""
    var isInside = false
    for scalar in text.unicodeScalars {
      output += isInside ? scalar.properties.lowercaseMapping : scalar.properties.titlecaseMapping
      isInside = scalar.properties.isCased
    }
    return output
  }
}
