/// A key of the schema: its description, and how its value moves between a recipe's text and a `Recipe`.
struct Key: Sendable {
  let path: String
  let type: String
  let documentation: String
  let aliases: [String]
  let isRequired: Bool
  /// Whether `+=` can add to it.
  let isList: Bool
  /// Whether it only spells another key differently, and so has no line in the resolved form.
  let isSpelling: Bool
  /// The default in words, where it is not one value.
  let spokenDefault: String?
  /// Why the key means nothing in this recipe; nil when it does.
  let objection: @Sendable (Recipe) -> String?
  let read: @Sendable (RecipeNode, inout Recipe, inout ReadingContext) -> Void
  /// The value as written; nil when it is not set.
  let write: @Sendable (Recipe) -> RecipeNode?

  var name: String { path.lastIndex(of: ".").map { String(path[path.index(after: $0)...]) } ?? path }
  var section: String { path.lastIndex(of: ".").map { String(path[..<$0]) } ?? "" }

  /// A key whose value is a property of the recipe.
  init<Value: Sendable>(
    _ path: String, _ property: WritableKeyPath<Recipe, Value> & Sendable, _ codec: Codec<Value>,
    _ documentation: String,
    required: Bool = false, default spokenDefault: String? = nil, aliases: [String] = [],
    unless objection: @escaping @Sendable (Recipe) -> String? = { _ in nil }
  ) {
    self.path = path
    self.type = codec.type
    self.documentation = documentation
    self.aliases = aliases
    self.isRequired = required
    self.isList = codec.isList
    self.isSpelling = false
    self.spokenDefault = spokenDefault
    self.objection = objection
    self.read = { node, recipe, context in
      if let value = codec.read(node, &context) { recipe[keyPath: property] = value }
    }
    self.write = { codec.write($0[keyPath: property]) }
  }

  /// A key that spells another one differently; what it says waits in the context.
  init<Value: Sendable>(
    spelling path: String, _ codec: Codec<Value>, _ documentation: String,
    keep: @escaping @Sendable (Value, Place, inout ReadingContext) -> Void
  ) {
    self.path = path
    self.type = codec.type
    self.documentation = documentation
    self.aliases = []
    self.isRequired = false
    self.isList = false
    self.isSpelling = true
    self.spokenDefault = nil
    self.objection = { _ in nil }
    self.read = { node, _, context in
      if let value = codec.read(node, &context) { keep(value, node.place, &context) }
    }
    self.write = { _ in nil }
  }

  var description: KeyDescription {
    KeyDescription(
      path: path, type: type,
      defaultValue: isRequired ? nil : spokenDefault ?? write(Schema.defaults)?.yaml,
      isRequired: isRequired, documentation: documentation, aliases: aliases)
  }
}

/// A section of the schema, and whether a recipe has it.
struct Section: Sendable {
  let path: String
  let documentation: String
  /// Nil for a section every recipe has.
  let isPresent: (@Sendable (Recipe) -> Bool)?
  let open: @Sendable (inout Recipe) -> Void

  var name: String { path.lastIndex(of: ".").map { String(path[path.index(after: $0)...]) } ?? path }
  var parent: String { path.lastIndex(of: ".").map { String(path[..<$0]) } ?? "" }

  init(_ path: String, _ documentation: String) {
    self.path = path
    self.documentation = documentation
    self.isPresent = nil
    self.open = { _ in }
  }

  init<Value: OptionalSection>(
    _ path: String, _ property: WritableKeyPath<Recipe, Value?> & Sendable, _ documentation: String
  ) {
    self.path = path
    self.documentation = documentation
    self.isPresent = { $0[keyPath: property] != nil }
    self.open = { if $0[keyPath: property] == nil { $0[keyPath: property] = Value() } }
  }

  var description: SectionDescription {
    SectionDescription(path: path, isOptional: isPresent != nil, documentation: documentation)
  }
}

/// A section that a recipe may leave out altogether.
protocol OptionalSection: Sendable {
  /// Every default.
  init()
}

extension Recipe.Quantization: OptionalSection {}
extension Recipe.Initial: OptionalSection {}
extension Recipe.Calibration: OptionalSection {}
extension Recipe.EarlyStopping: OptionalSection {}
extension Recipe.Samples: OptionalSection {}
extension Recipe.Merge: OptionalSection {}
extension Recipe.Export: OptionalSection {}

extension Optional where Wrapped: OptionalSection {
  /// The section, started with its defaults when something is written to it.
  var orNew: Wrapped {
    get { self ?? Wrapped() }
    set { self = newValue }
  }
}
