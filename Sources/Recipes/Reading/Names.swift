/// What a name in a recipe or an override means, and what somebody meant by a wrong one.
enum Names {
  enum Meaning {
    case key(Key)
    case section(Section)
    /// A key only some adapter types know.
    case option(String)
    /// Several keys it could be short for.
    case ambiguous([String])
    case unknown
  }

  /// What `name` means as a key of `section`; aliases count, and so does a short form at the top.
  static func meaning(of name: String, in section: String, _ catalogue: RecipeCatalogue) -> Meaning {
    let path = section.isEmpty ? name : "\(section).\(name)"
    if let key = Schema.keysByPath[path] { return .key(key) }
    if let found = Schema.sectionsByPath[path] { return .section(found) }
    if section == "adapter", isOption(name, catalogue) { return .option(name) }
    if let key = Schema.keysByAlias[name], section.isEmpty || key.section == section { return .key(key) }
    return section.isEmpty ? meaning(ofShort: name) : .unknown
  }

  /// What `name` means on the command line: a whole name, an alias, or the end of one whole name.
  static func meaning(ofOverride name: String, _ catalogue: RecipeCatalogue) -> Meaning {
    if let key = Schema.keysByPath[name] { return .key(key) }
    if let dot = name.lastIndex(of: ".") {
      let found = meaning(of: String(name[name.index(after: dot)...]), in: String(name[..<dot]), catalogue)
      if case .unknown = found { return meaning(ofShort: name) }
      return found
    }
    let found = meaning(of: name, in: "", catalogue)
    if case .unknown = found, isOption(name, catalogue) { return .option(name) }
    return found
  }

  private static func meaning(ofShort name: String) -> Meaning {
    let keys = Schema.keys.filter { !$0.isSpelling && $0.path.hasSuffix(".\(name)") }
    if keys.count > 1 { return .ambiguous(keys.map(\.path)) }
    if let key = keys.first { return .key(key) }
    if let section = Schema.sections.first(where: { $0.path.hasSuffix(".\(name)") }) { return .section(section) }
    return .unknown
  }

  static func isOption(_ name: String, _ catalogue: RecipeCatalogue) -> Bool {
    catalogue.adapterOptions.values.contains { $0.contains(name) }
  }

  /// The names that may stand in `section`, in order.
  static func valid(in section: String, _ catalogue: RecipeCatalogue) -> [String] {
    var names = Schema.keys.filter { $0.section == section }.map(\.name)
    names += Schema.sections.filter { $0.parent == section }.map(\.name)
    if section == "adapter" { names += Set(catalogue.adapterOptions.values.joined()).sorted() }
    return names
  }

  /// `did you mean 'rank' (alias lora_rank)?   valid: type from rank …`
  static func hint(for name: String, in section: String, _ catalogue: RecipeCatalogue) -> String {
    let valid = valid(in: section, catalogue)
    let list = "valid: \(valid.joined(separator: " "))"
    // A name of this section is likelier meant than one of another, so those are tried first.
    if let near = NearestName.of(name, among: valid) { return "did you mean '\(near)'?   \(list)" }
    let aliases = Schema.keys.filter { section.isEmpty || $0.section == section }.flatMap(\.aliases)
    if let near = NearestName.of(name, among: aliases), let key = Schema.keysByAlias[near] {
      return "did you mean '\(section.isEmpty ? key.path : key.name)' (alias \(near))?   \(list)"
    }
    let others = Schema.keys.filter { $0.section != section }
    let exact = others.filter { $0.name == name || $0.aliases.contains(name) }.map(\.path)
    if !exact.isEmpty { return "did you mean '\(exact.joined(separator: "' or '"))'?   \(list)" }
    if let near = NearestName.of(name, among: others.map(\.name)), let key = others.first(where: { $0.name == near }) {
      return "did you mean '\(key.path)'?   \(list)"
    }
    return list
  }

  /// The nearest names an override may use.
  static func hint(forOverride name: String) -> String {
    let leaf = name.lastIndex(of: ".").map { String(name[name.index(after: $0)...]) } ?? name
    let near =
      NearestName.of(name, among: Schema.keys.map(\.path)).map { [$0] }
      ?? NearestName.of(leaf, among: Schema.keys.map(\.name)).map { near in
        Schema.keys.filter { $0.name == near }.map(\.path)
      }
      ?? NearestName.of(leaf, among: Schema.keys.flatMap(\.aliases)).flatMap { Schema.keysByAlias[$0] }.map {
        [$0.path]
      }
    if let near { return "did you mean '\(near.joined(separator: "' or '"))'?" }
    return "sections: \(Schema.sections.map(\.path).joined(separator: " "))"
  }
}
