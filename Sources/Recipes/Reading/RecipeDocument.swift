import Yams

/// YAML text as nodes with places, with a bound on everything a hostile file could make grow.
struct RecipeDocument {
  /// Bytes a recipe may have.
  static let sizeLimit = 1 << 20
  /// Values a recipe may have after its aliases are filled in.
  static let valueLimit = 10_000
  /// Aliases a recipe may have. Yams hashes keys, and hashing nested aliases takes time exponential in them.
  static let aliasLimit = 16
  /// Levels a value may be nested.
  static let depthLimit = 24

  /// The mistake that ends the reading of the text.
  struct Stop: Error {
    var problem: RecipeError.Problem

    init(_ message: String, line: Int = 1, column: Int = 1, hint: String? = nil) {
      problem = .init(line: line, column: column, message: message, hint: hint)
    }
  }

  private var values = 0
  private var argument: String?

  /// The recipe in `text`, a mapping; `needs` says what must be in it.
  ///
  /// - Throws: at the first place that is not YAML, or when the whole is not a mapping.
  static func read(
    _ text: String, needs: String = "it needs output_dir, model.path, adapter.type and data.train"
  ) throws(Stop) -> RecipeNode {
    try checkText(text)
    guard let root = try compose(text) else { throw Stop("the recipe is empty", hint: needs) }
    var document = RecipeDocument()
    let node = try document.node(root, depth: 0)
    guard case .mapping = node.content else {
      throw Stop(
        "a recipe is a mapping of keys to values; found \(node.found)", line: node.place.line,
        column: node.place.column, hint: needs)
    }
    return node
  }

  /// The value of an override: YAML when it starts like a list, a mapping or a quoted text, plain otherwise.
  static func value(_ text: String, argument: String) throws(Stop) -> RecipeNode {
    let place = Place(argument: argument)
    guard let first = text.utf8.first, "[{\"'".utf8.contains(first) else {
      return RecipeNode(.scalar(text, plain: true), at: place)
    }
    do throws(Stop) {
      try checkText(text)
      guard let root = try compose(text) else { return RecipeNode(.scalar("", plain: true), at: place) }
      var document = RecipeDocument(argument: argument)
      return try document.node(root, depth: 0)
    } catch {
      var stop = error
      (stop.problem.line, stop.problem.column, stop.problem.argument) = (0, 0, argument)
      throw stop
    }
  }

  static let tooLarge = Stop("the recipe is larger than 1 MiB", hint: "keep data in files of its own")

  private init(argument: String? = nil) { self.argument = argument }

  private mutating func node(_ node: Node, depth: Int) throws(Stop) -> RecipeNode {
    let mark = Place(line: node.mark?.line ?? 1, column: node.mark?.column ?? 1)
    let place = argument == nil ? mark : Place(argument: argument)
    values += 1
    guard values <= Self.valueLimit else {
      throw Stop("more than \(Self.valueLimit) values, aliases filled in", line: mark.line, column: mark.column)
    }
    guard depth <= Self.depthLimit else {
      throw Stop("nested more than \(Self.depthLimit) levels deep", line: mark.line, column: mark.column)
    }
    let tag = node.tag.description
    guard tag.hasPrefix("tag:yaml.org,2002:"), ["str", "seq", "map"].contains(tag.dropFirst(18)) else {
      throw Stop(
        "tag \(quoted(tag)) is not part of a recipe", line: mark.line, column: mark.column,
        hint: "write the value without '!'")
    }
    switch node {
    case .scalar(let scalar):
      return RecipeNode(.scalar(scalar.string, plain: scalar.style == .plain), at: place)
    case .sequence(let sequence):
      var items: [RecipeNode] = []
      for item in sequence { items.append(try self.node(item, depth: depth + 1)) }
      return RecipeNode(.sequence(items), at: place)
    case .mapping(let mapping):
      var pairs: [RecipeNode.Pair] = []
      for (key, value) in mapping {
        let key = try self.node(key, depth: depth + 1)
        guard case .scalar(let name, let plain) = key.content else {
          throw Stop(
            "a key must be a name; found \(key.found)", line: key.place.line, column: key.place.column)
        }
        guard !(plain && name == "<<") else {
          throw Stop(
            "merge keys ('<<') are not part of a recipe", line: key.place.line, column: key.place.column,
            hint: "write the keys out")
        }
        pairs.append(.init(key: name, place: key.place, value: try self.node(value, depth: depth + 1)))
      }
      return RecipeNode(.mapping(pairs), at: place)
    case .alias:
      throw Stop("found an alias without its anchor", line: mark.line, column: mark.column)
    }
  }

  private static func compose(_ text: String) throws(Stop) -> Node? {
    do {
      return try Parser(yaml: text, resolver: .basic, encoding: .utf8).singleRoot()
    } catch let error as YamlError {
      throw stop(error, in: text)
    } catch {
      throw Stop("not YAML: \(error)")
    }
  }

  private static func stop(_ error: YamlError, in text: String) -> Stop {
    switch error {
    case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _):
      let line =
        text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        .dropFirst(mark.line - 1).first.map { String(Substring($0)) } ?? ""
      if line.unicodeScalars.dropFirst(mark.column - 1).first == "\t" {
        return Stop(
          "a tab where only spaces can stand", line: mark.line, column: mark.column, hint: "indent with spaces")
      }
      let doing = (context?.text).map { "\($0): " } ?? ""
      return Stop("not YAML: \(doing)\(problem)", line: mark.line, column: mark.column)
    case .composer(_, let problem, let mark, _):
      if problem == "but found another document" {
        return Stop("a second document starts here; a recipe is one", line: mark.line, column: mark.column)
      }
      return Stop("not YAML: \(problem)", line: mark.line, column: mark.column)
    case .duplicatedKeysInMapping(let names, let context):
      return duplicate(names.first ?? "", first: context.mark, in: text)
    case .reader(let problem, let offset, _, _):
      let before = text.prefix(offset ?? 0)
      let line = before.utf8.count { $0 == UInt8(ascii: "\n") } + 1
      let column = before.unicodeScalars.reversed().prefix { $0 != "\n" }.count + 1
      return Stop("not YAML: \(problem)", line: line, column: column)
    default:
      return Stop("not YAML: \(error)")
    }
  }

  /// Yams names the first of two equal keys; in a block, the second stands in the same column further down.
  private static func duplicate(_ name: String, first: Mark, in text: String) -> Stop {
    let lines = text.split(omittingEmptySubsequences: false) { $0.isNewline }
    for (index, line) in lines.enumerated().dropFirst(first.line) {
      let start = line.unicodeScalars.dropFirst(first.column - 1)
      guard start.count + first.column - 1 == line.unicodeScalars.count,
        line.unicodeScalars.prefix(first.column - 1).allSatisfy({ $0 == " " || $0 == "-" })
      else { continue }
      var rest = String(start)[...]
      for spelling in [name, "\"\(name)\"", "'\(name)'"] where rest.hasPrefix(spelling) {
        rest = rest.dropFirst(spelling.count)
        guard rest.drop(while: { $0 == " " }).first == ":" else { break }
        return Stop(
          "key \(quoted(name)) is given twice; first on line \(first.line)", line: index + 1, column: first.column,
          hint: "remove one of them")
      }
    }
    return Stop(
      "key \(quoted(name)) is given twice", line: first.line, column: first.column, hint: "remove one of them")
  }

  private static func checkText(_ text: String) throws(Stop) {
    guard text.utf8.count <= sizeLimit else { throw tooLarge }
    if text.unicodeScalars.first == "\u{FEFF}" {
      throw Stop("the recipe starts with a byte order mark", hint: "save it as UTF-8 without one")
    }
    var aliases = 0
    var isAlias = false
    var (line, column) = (1, 0)
    var previous = UInt8(ascii: " ")
    for byte in text.utf8 {
      if byte & 0xC0 != 0x80 { column += 1 }
      if isAlias, byte == 0x2D || byte == 0x5F || (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7A) || byte & 0xF0 == 0x30 {
        aliases += 1
        guard aliases <= aliasLimit else {
          throw Stop(
            "more than \(aliasLimit) aliases ('*name')", line: line, column: column - 1, hint: "write the values out")
        }
      }
      isAlias = byte == UInt8(ascii: "*") && " \t\r\n[{,:".utf8.contains(previous)
      if byte == UInt8(ascii: "\n") {
        line += 1
        column = 0
      }
      previous = byte
    }
  }
}
