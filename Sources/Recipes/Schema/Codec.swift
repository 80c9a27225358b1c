/// How one kind of value is read from a recipe and printed again.
struct Codec<Value: Sendable>: Sendable {
  /// What may be written, for messages and documentation.
  var type: String
  /// The value of a node; nil, and told, when it has none of this kind.
  var read: @Sendable (RecipeNode, inout ReadingContext) -> Value?
  /// The node that reads as the value; nil when the value means "not set".
  var write: @Sendable (Value) -> RecipeNode?
  /// Whether `+=` can add to it.
  var isList = false
}

extension Codec where Value == Int {
  static func integer(_ range: ClosedRange<Int>) -> Codec {
    let type =
      range.upperBound == .max
      ? "a whole number ≥ \(range.lowerBound)" : "a whole number from \(range.lowerBound) to \(range.upperBound)"
    return Codec(type: type) { node, context in
      guard case .scalar(let text, let plain) = node.content, !node.isNull else {
        context.expected(type, node)
        return nil
      }
      if plain, let value = ScalarRules.integer(text), range.contains(value) { return value }
      context.expected(type, node, hint: remedy(forNumber: text, plain: plain, whole: true))
      return nil
    } write: {
      .word("\($0)")
    }
  }
}

extension Codec where Value == Double {
  /// A finite number that `accepts` takes; `range` says which in words, such as `≥ 0`.
  static func number(_ range: String, _ accepts: @escaping @Sendable (Double) -> Bool) -> Codec {
    let type = range.isEmpty ? "a number" : "a number \(range)"
    return Codec(type: type) { node, context in
      guard case .scalar(let text, let plain) = node.content, !node.isNull else {
        context.expected(type, node)
        return nil
      }
      if plain, let value = ScalarRules.number(text), accepts(value) { return value }
      context.expected(type, node, hint: remedy(forNumber: text, plain: plain, whole: false))
      return nil
    } write: {
      .word("\($0)")
    }
  }
}

private func remedy(forNumber text: String, plain: Bool, whole: Bool) -> String? {
  guard let value = ScalarRules.number(text) else { return ScalarRules.remedy(forNumber: text) }
  if !plain { return "remove the quotes" }
  guard whole, ScalarRules.integer(text) == nil, let exact = Int(exactly: value) else { return nil }
  return "write \(exact)"
}

extension Codec where Value == Bool {
  static let boolean = Codec(type: "true or false") { node, context in
    guard case .scalar(let text, let plain) = node.content else {
      context.expected("true or false", node)
      return nil
    }
    if plain, let value = ScalarRules.boolean(text) { return value }
    context.expected("true or false", node, hint: ScalarRules.remedy(forBoolean: text))
    return nil
  } write: {
    .word($0 ? "true" : "false")
  }
}

extension Codec where Value == String {
  static let text = Codec(type: "text") { node, context in
    guard case .scalar(let text, _) = node.content, !node.isNull else {
      context.expected("text", node)
      return nil
    }
    return text
  } write: {
    .text($0)
  }

  /// One of the names the caller knows.
  static func name(
    of kind: String, _ names: @escaping @Sendable (RecipeCatalogue) -> [String]
  ) -> Codec {
    Codec(type: kind) { node, context in
      oneOf(node, names(context.catalogue), &context)
    } write: {
      .text($0)
    }
  }
}

/// The text of `node`, if it is one of `names`; nil, and told, otherwise.
private func oneOf(_ node: RecipeNode, _ names: [String], _ context: inout ReadingContext) -> String? {
  guard case .scalar(let text, _) = node.content, !node.isNull else {
    context.expected(names.joined(separator: " | "), node)
    return nil
  }
  if names.contains(text) { return text }
  let near = NearestName.of(text, among: names)
  context.expected(names.joined(separator: " | "), node, hint: near.map { "did you mean '\($0)'?" })
  return nil
}

extension Codec where Value: RawRepresentable<String> & CaseIterable {
  /// One of the cases, by its raw value.
  static var choice: Codec {
    let names = Value.allCases.map(\.rawValue)
    return Codec(type: names.joined(separator: " | ")) { node, context in
      oneOf(node, names, &context).flatMap { Value(rawValue: $0) }
    } write: {
      .text($0.rawValue)
    }
  }
}

extension Codec where Value == RecipePath {
  static let path = Codec(type: "a path") { node, context in
    context.path(node)
  } write: { path in
    guard path.path.utf8.contains(UInt8(ascii: "$")) else { return .text(path.path) }
    // A literal "${" is written "$${".
    var text = ""
    var rest = path.path[...]
    while let character = rest.first {
      text += rest.hasPrefix("${") ? "$$" : String(character)
      rest = rest.dropFirst()
    }
    return .text(text)
  }
}

extension Codec {
  /// The same, and `+=` can add to it.
  var growing: Codec {
    var codec = self
    codec.isList = true
    return codec
  }

  /// The same, or left out.
  var optional: Codec<Value?> {
    let (read, write) = (read, write)
    return Codec<Value?>(type: type) { node, context in
      read(node, &context).map { .some($0) }
    } write: { value in
      value.flatMap { write($0) }
    }
  }

  /// The same, or a word that stands for nil.
  func or(_ word: String) -> Codec<Value?> {
    let (read, write) = (read, write)
    return Codec<Value?>(type: "\(word) or \(type)") { node, context in
      if case .scalar(word, _) = node.content { return .some(nil) }
      return read(node, &context).map { .some($0) }
    } write: { value in
      value.map { write($0) } ?? .word(word)
    }
  }

  /// A list of such values, at least `minimum`.
  func list(of things: String, minimum: Int = 0) -> Codec<[Value]> {
    let (read, write) = (read, write)
    let type = "a list of \(things)"
    return Codec<[Value]>(type: type) { node, context in
      guard case .sequence(let items) = node.content else {
        var hint: String?
        if case .scalar(let text, _) = node.content, !node.isNull { hint = "write [\(text)]" }
        context.expected(type, node, hint: hint)
        return nil
      }
      guard items.count >= minimum else {
        context.report("'\(context.key)' is empty", at: node.place, hint: "give \(type)")
        return nil
      }
      let values = items.compactMap { read($0, &context) }
      return values.count == items.count ? values : nil
    } write: { values in
      RecipeNode(.sequence(values.compactMap { write($0) }))
    }
    .growing
  }

  /// A mapping of names, or of regular expressions for them if they are patterns, to such values.
  func byName(of things: String, arePatterns: Bool = true) -> Codec<[String: Value]> {
    let (read, write) = (read, write)
    let type = "a mapping of names to \(things)"
    return Codec<[String: Value]>(type: type) { node, context in
      guard case .mapping(let pairs) = node.content else {
        context.expected(type, node)
        return nil
      }
      var values: [String: Value] = [:]
      for pair in pairs
      where !arePatterns || context.checkPattern(pair.key, allowsPrefix: true, at: pair.place) {
        values[pair.key] = read(pair.value, &context)
      }
      return values.count == pairs.count ? values : nil
    } write: { values in
      RecipeNode(
        .mapping(
          values.sorted { $0.key < $1.key }.compactMap { key, value in
            write(value).map { RecipeNode.Pair(key: key, place: Place(), value: $0) }
          }))
    }
  }
}
