/// The values a recipe and the command line give, by whole key name.
struct Entries {
  struct Entry {
    var node: RecipeNode
    /// Where its key stands.
    var place: Place
    /// As spelled there, for messages.
    var spelling: String
  }

  /// By whole name, such as `adapter.rank`.
  private(set) var byKey: [String: Entry] = [:]
  /// Keys only some adapter types know, by their name in the adapter section.
  private(set) var options: [String: Entry] = [:]
  /// Where each section given starts.
  private(set) var sections: [String: Place] = [:]

  subscript(key: String) -> Entry? { byKey[key] }

  /// Where the value of `key` came from.
  func place(of key: String) -> Place { byKey[key]?.place ?? Place() }

  /// Takes in what the recipe says.
  mutating func collect(_ pairs: [RecipeNode.Pair], in section: String, _ context: inout ReadingContext) {
    for pair in pairs where !context.isFull {
      switch Names.meaning(of: pair.key, in: section, context.catalogue) {
      case .key(let key): add(pair, to: key.path, &byKey, &context)
      case .option(let name): add(pair, to: name, &options, &context)
      case .section(let found): open(found, pair, &context)
      case .ambiguous(let candidates):
        context.report(
          "key \(quoted(pair.key)) at the top could be one of several", at: pair.place,
          hint: "write one of: \(candidates.joined(separator: " "))")
      case .unknown:
        let place = section.isEmpty ? "" : " in '\(section)'"
        context.report(
          "unknown key \(quoted(pair.key))\(place)", at: pair.place,
          hint: Names.hint(for: pair.key, in: section, context.catalogue))
      }
    }
  }

  private mutating func open(_ section: Section, _ pair: RecipeNode.Pair, _ context: inout ReadingContext) {
    guard case .mapping(let pairs) = pair.value.content else {
      context.report(
        "'\(section.path)' must be a mapping of keys to values; found \(pair.value.found)", at: pair.value.place,
        hint: hint(for: section, pair, context.catalogue))
      return
    }
    if let first = sections[section.path], first.argument == nil, pair.place.argument == nil, pair.key != section.name {
      context.report("section '\(section.path)' is given twice; first on \(first.name)", at: pair.place)
    }
    if sections[section.path] == nil { sections[section.path] = pair.place }
    collect(pairs, in: section.path, &context)
  }

  private func hint(for section: Section, _ pair: RecipeNode.Pair, _ catalogue: RecipeCatalogue) -> String? {
    let keys = Schema.keys.filter { $0.section != section.path && $0.name == section.name && !$0.section.isEmpty }
    if let key = keys.first, pair.place.argument != nil { return "did you mean '\(key.path)'?" }
    if section.path == "adapter", case .scalar(let text, _) = pair.value.content, catalogue.adapterTypes.contains(text)
    {
      return "write {type: \(text)}"
    }
    return "valid: \(Names.valid(in: section.path, catalogue).joined(separator: " "))"
  }

  private func add(
    _ pair: RecipeNode.Pair, to name: String, _ entries: inout [String: Entry], _ context: inout ReadingContext
  ) {
    let entry = Entry(node: pair.value, place: pair.place, spelling: pair.key)
    guard let first = entries[name], pair.place.argument == nil else {
      entries[name] = entry
      return
    }
    guard first.node != entry.node else { return }
    let spelled = first.spelling == entry.spelling ? "" : " as '\(first.spelling)'"
    context.report(
      "'\(pair.key)' sets '\(name)' a second time, to another value; first\(spelled) on \(first.place.name)",
      at: pair.place, hint: "remove one of them")
  }
}

extension Entries {
  /// Takes in one argument of the command line: `key=value`, `key+=value` or `~key`.
  mutating func apply(_ argument: String, _ context: inout ReadingContext) {
    let place = Place(argument: argument)
    if argument.hasPrefix("~") {
      remove(String(argument.dropFirst()), place, &context)
      return
    }
    guard let equals = argument.firstIndex(of: "=") else {
      context.report("an override is key=value, key+=value or ~key", at: place)
      return
    }
    var name = argument[..<equals]
    let appends = name.hasSuffix("+")
    if appends { name = name.dropLast() }
    let node: RecipeNode
    do throws(RecipeDocument.Stop) {
      node = try RecipeDocument.value(String(argument[argument.index(after: equals)...]), argument: argument)
    } catch {
      context.report(error.problem)
      return
    }
    guard !node.isNull else {
      context.report("'\(name)' has no value", at: place, hint: "write ~\(name) to remove it")
      return
    }
    let pair = RecipeNode.Pair(key: String(name), place: place, value: node)
    switch Names.meaning(ofOverride: String(name), context.catalogue) {
    case .key(let key):
      guard appends else {
        set(key, pair)
        return
      }
      guard key.isList else {
        context.report("'\(key.path)' is not a list, so '+=' cannot add to it", at: place, hint: "write \(key.path)=…")
        return
      }
      append(node, to: key.path, pair)
    case .option(let option):
      let leaf = option
      if appends, let old = options[leaf] {
        guard case .sequence = old.node.content else {
          context.report("'adapter.\(leaf)' is not a list, so '+=' cannot add to it", at: place)
          return
        }
        options[leaf] = Entry(node: Self.joined(old.node, node), place: place, spelling: leaf)
      } else {
        let value = appends ? Self.joined(nil, node) : node
        options[leaf] = Entry(node: value, place: place, spelling: leaf)
      }
    case .section(let section): open(section, pair, &context)
    case .ambiguous(let candidates):
      context.report(
        "'\(name)' could be one of several keys", at: place, hint: "write one of: \(candidates.joined(separator: " "))")
    case .unknown:
      context.report("unknown key \(quoted(String(name)))", at: place, hint: Names.hint(forOverride: String(name)))
    }
  }

  private mutating func set(_ key: Key, _ pair: RecipeNode.Pair) {
    byKey[key.path] = Entry(node: pair.value, place: pair.place, spelling: pair.key)
  }

  private mutating func append(_ node: RecipeNode, to key: String, _ pair: RecipeNode.Pair) {
    byKey[key] = Entry(node: Self.joined(byKey[key]?.node, node), place: pair.place, spelling: pair.key)
  }

  private static func joined(_ old: RecipeNode?, _ new: RecipeNode) -> RecipeNode {
    let items = [old, new].compactMap { $0 }.flatMap { node -> [RecipeNode] in
      if case .sequence(let items) = node.content { items } else { [node] }
    }
    return RecipeNode(.sequence(items), at: new.place)
  }

  private mutating func remove(_ name: String, _ place: Place, _ context: inout ReadingContext) {
    switch Names.meaning(ofOverride: name, context.catalogue) {
    case .key(let key): byKey[key.path] = nil
    case .option(let option): options[option] = nil
    case .section(let section):
      byKey = byKey.filter { !$0.key.hasPrefix("\(section.path).") }
      sections = sections.filter { $0.key != section.path && !$0.key.hasPrefix("\(section.path).") }
      if section.path == "adapter" { options = [:] }
    case .ambiguous(let candidates):
      context.report(
        "'\(name)' could be one of several keys", at: place, hint: "write one of: \(candidates.joined(separator: " "))")
    case .unknown:
      context.report("unknown key \(quoted(name))", at: place, hint: Names.hint(forOverride: name))
    }
  }

  /// Lets an override win against the key it excludes, when only the recipe gave that one.
  mutating func settle(_ pairs: [(String, String)]) {
    for (a, b) in pairs {
      guard let first = byKey[a], let second = byKey[b] else { continue }
      switch (first.place.argument, second.place.argument) {
      case (nil, .some): byKey[a] = nil
      case (.some, nil): byKey[b] = nil
      default: break
      }
    }
  }
}
