import Files

/// One turn of a conversation.
public struct Message: Sendable, Equatable {
  /// Who speaks: `system`, `user`, `assistant` or `tool`.
  public var role: String

  /// What is said.
  public var content: String

  /// A turn with its speaker.
  public init(role: String, content: String) {
    self.role = role
    self.content = content
  }
}

/// How a model wants a conversation written: the Jinja text of `tokenizer_config.json`, parsed.
///
/// The subset of Jinja covers what chat templates use: `if`, `for`, `set`, `macro`, `break`, `continue` and
/// `generation` tags, expressions, and the filters, tests and methods those rely on. White space is treated as
/// transformers does (`trim_blocks`, `lstrip_blocks`). A template is stopped after a million steps, 256 MiB of text or
/// 600 levels.
public struct ChatTemplate: Sendable {
  /// The Jinja text.
  public let source: String

  /// What errors call the template.
  public let path: String

  /// Seconds since 1970 that `strftime_now` tells, for renderings that do not change from day to day; nothing for the
  /// clock's.
  public var now: Int?

  private let statements: [JinjaStatement]

  var limits = JinjaLimits()

  /// Parses a template.
  ///
  /// - Throws: `FileError` with the template's line for a mistake in it, and for a tag, filter or test that is not in
  ///   the subset, by name.
  public init(_ source: String, path: String = "chat template") throws {
    guard source.utf8.count <= 1 << 20 else { throw FileError(path, "the template is longer than 1 MiB") }
    var parser = try JinjaParser(source, path: path)
    statements = try parser.template()
    self.source = source
    self.path = path
  }

  /// Reads a template from a `.jinja` file.
  public static func read(_ path: String) throws -> ChatTemplate {
    let file = try MappedFile(path)
    guard let source = withExtendedLifetime(file, { String(validating: file.bytes, as: UTF8.self) }) else {
      throw FileError(path, "the template is not valid UTF-8")
    }
    return try ChatTemplate(source, path: path)
  }

  /// The conversation as text, special tokens written out.
  ///
  /// `extra` holds further variables, such as `tools` or `enable_thinking`; members of its objects come in the order of
  /// their names. `tools` and `documents` are none unless given.
  ///
  /// - Throws: `FileError` with the template's line when the template refuses the messages or goes wrong.
  public func render(
    _ messages: [Message], addGenerationPrompt: Bool, bos: String, eos: String, extra: [String: JSON] = [:]
  ) throws -> String {
    let interpreter = JinjaInterpreter(path: path, limits: limits, now: now)
    var variables = try extra.mapValues { try interpreter.value($0) }
    variables["messages"] = try interpreter.list(
      try messages.map {
        try interpreter.dictionary([
          (.string("role"), .string($0.role)), (.string("content"), .string($0.content)),
        ])
      })
    variables["add_generation_prompt"] = .boolean(addGenerationPrompt)
    variables["bos_token"] = .string(bos)
    variables["eos_token"] = .string(eos)
    let absent: [String: JinjaValue] = ["tools": .none, "documents": .none]
    return try interpreter.run(statements, variables.merging(absent) { given, _ in given })
  }

  /// The template's output with these variables and no others.
  package func render(_ variables: [String: JSON]) throws -> String {
    let interpreter = JinjaInterpreter(path: path, limits: limits, now: now)
    return try interpreter.run(statements, try variables.mapValues { try interpreter.value($0) })
  }
}

extension JinjaInterpreter {
  /// A JSON value as templates see it; members in the order of their names.
  fileprivate func value(_ json: JSON) throws -> JinjaValue {
    switch json {
    case .null: return .none
    case .bool(let value): return .boolean(value)
    case .integer(let value): return .integer(value)
    case .number(let value): return .float(value)
    case .string(let text): return .string(text)
    case .array(let elements): return try list(try elements.map { try value($0) })
    case .object, .members:
      let members = (json.members ?? []).sorted {
        $0.key.unicodeScalars.lexicographicallyPrecedes($1.key.unicodeScalars)
      }
      return try dictionary(try members.map { (.string($0.key), try value($0.value)) })
    }
  }
}
