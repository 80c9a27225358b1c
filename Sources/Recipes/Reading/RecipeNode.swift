/// Where something was written: a place in the recipe file, or an override.
struct Place: Sendable, Equatable {
  /// Counted from 1; 0 for no place in the file.
  var line = 0
  /// Counted from 1 in Unicode scalars; 0 for no place in the file.
  var column = 0
  /// The override, when it was written on the command line.
  var argument: String?

  var origin: Recipe.Origin { argument == nil ? .recipe(line: line) : .commandLine }

  /// `line 17` or `command line`, for messages that name a second place.
  var name: String { argument == nil ? "line \(line)" : "command line" }
}

/// A value as written: its text or its parts, and where it stands.
struct RecipeNode: Sendable {
  enum Content: Sendable {
    /// Text, and whether it stood without quotes.
    case scalar(String, plain: Bool)
    case sequence([RecipeNode])
    case mapping([Pair])
  }

  struct Pair: Sendable {
    var key: String
    var place: Place
    var value: RecipeNode
  }

  var content: Content
  var place: Place

  init(_ content: Content, at place: Place = Place()) {
    self.content = content
    self.place = place
  }

  /// A value to print; quoted where plain text would be read as something else.
  static func text(_ text: String) -> RecipeNode { RecipeNode(.scalar(text, plain: false)) }
  /// A number, truth value or fixed word to print as it stands.
  static func word(_ text: String) -> RecipeNode { RecipeNode(.scalar(text, plain: true)) }

  /// Whether it is empty, `~` or `null`.
  var isNull: Bool {
    if case .scalar(let text, true) = content { ScalarRules.isNull(text) } else { false }
  }

  /// What was written, for messages: `the string 'no'`, `the number 1.5`, `a list`.
  var found: String {
    switch content {
    case .sequence: "a list"
    case .mapping: "a mapping"
    case .scalar(let text, let plain):
      if plain && ScalarRules.isNull(text) {
        "nothing"
      } else if plain && (text == "true" || text == "false") {
        text
      } else if plain && ScalarRules.number(text) != nil {
        "the number \(text)"
      } else {
        "the string \(quoted(text))"
      }
    }
  }
}

extension RecipeNode: Equatable {
  /// Whether both mean the same, wherever they stand.
  static func == (a: RecipeNode, b: RecipeNode) -> Bool {
    switch (a.content, b.content) {
    case (.scalar(let x, let plainX), .scalar(let y, let plainY)):
      if x == y && plainX == plainY { return true }
      guard plainX, plainY, let first = ScalarRules.number(x), let second = ScalarRules.number(y) else { return false }
      return first == second
    case (.sequence(let x), .sequence(let y)): return x == y
    case (.mapping(let x), .mapping(let y)):
      return x.count == y.count && zip(x, y).allSatisfy { $0.key == $1.key && $0.value == $1.value }
    default: return false
    }
  }
}

/// `text` in single quotes, cut to a readable length, on one line.
func quoted(_ text: String) -> String {
  var shown = ""
  var length = 0
  for scalar in text.unicodeScalars {
    if length == 60 { return "'\(shown)…'" }
    switch scalar {
    case "\n": shown += "\\n"
    case "\t": shown += "\\t"
    case "\r": shown += "\\r"
    case _ where scalar.properties.generalCategory == .control: shown += "\\u{\(String(scalar.value, radix: 16))}"
    default: shown.unicodeScalars.append(scalar)
    }
    length += 1
  }
  return "'\(shown)'"
}
