import Files

/// Where special tokens go around one text or two.
struct TokenTemplate: Sendable {
  /// One part of what is made, and which text of a pair its tokens count with.
  struct Part: Sendable, Equatable {
    var content: Content
    var segment = 0

    init(_ content: Content, segment: Int = 0) { (self.content, self.segment) = (content, segment) }
  }

  /// What a part is filled with.
  enum Content: Sendable, Equatable {
    case special([Int])
    case first
    case second
  }

  /// The form of a single text.
  var single = [Part(.first)]

  /// The form of a pair of texts.
  var pair = [Part(.first), Part(.second, segment: 1)]

  /// Texts by themselves.
  init() {}

  /// - Throws: `FileError` naming a kind of post-processor that is not supported.
  init(_ component: TokenizerComponent) throws {
    let type = try component.type()
    switch type {
    case "ByteLevel": break  // It only moves offsets.
    case "TemplateProcessing":
      single = try Self.parts("single", component)
      pair = try Self.parts("pair", component)
    case "BertProcessing", "RobertaProcessing":
      let start = try Self.id("cls", component)
      let end = try Self.id("sep", component)
      single = [Part(.special([start])), Part(.first), Part(.special([end]))]
      // RoBERTa puts two tokens between the texts, and tells them apart by nothing else.
      let (middle, segment) = type == "BertProcessing" ? ([end], 1) : ([end, end], 0)
      pair = [
        Part(.special([start])), Part(.first), Part(.special(middle)), Part(.second, segment: segment),
        Part(.special([end]), segment: segment),
      ]
    case "Sequence":
      let templates = try component.children("processors").filter { try $0.type() != "ByteLevel" }
      guard templates.count <= 1 else { throw component.error("more than one template is not supported") }
      if let template = templates.first { self = try TokenTemplate(template) }
    default: throw component.unknown(type)
    }
  }

  /// The id in a pair `["[SEP]", 102]`.
  private static func id(_ key: String, _ component: TokenizerComponent) throws -> Int {
    guard let pair = component.json[key]?.array, pair.count == 2, let id = pair[1].int, id >= 0 else {
      throw component.error("'\(key)' must be a token and its id")
    }
    return id
  }

  private static func parts(_ key: String, _ component: TokenizerComponent) throws -> [Part] {
    try component.children(key).map { part in
      let content = part.json["SpecialToken"] ?? part.json["Sequence"]
      let segment = content?["type_id"]?.int ?? 0
      guard (0..<1 << 16).contains(segment) else { throw part.error("'type_id' \(segment) is out of range") }
      if let name = part.json["SpecialToken"]?["id"]?.string {
        guard let ids = component.json["special_tokens"]?[name]?["ids"]?.array?.map(\.int), !ids.contains(nil) else {
          throw part.error("special token \(quoted(name)) has no ids under 'special_tokens'")
        }
        return Part(.special(ids.compactMap { $0 }), segment: segment)
      }
      switch part.json["Sequence"]?["id"]?.string {
      case "A": return Part(.first, segment: segment)
      case "B": return Part(.second, segment: segment)
      default: throw part.error("must be a 'SpecialToken' or the 'Sequence' 'A' or 'B'")
      }
    }
  }

  func filled(first: [Int], second: [Int]? = nil) -> [Int] {
    (second == nil ? single : pair).flatMap { ids($0, first, second) }
  }

  /// For each token of ``filled(first:second:)``, the text of the pair it counts with.
  func segments(first: [Int], second: [Int]? = nil) -> [Int] {
    (second == nil ? single : pair).flatMap { part in
      [Int](repeating: part.segment, count: ids(part, first, second).count)
    }
  }

  private func ids(_ part: Part, _ first: [Int], _ second: [Int]?) -> [Int] {
    switch part.content {
    case .special(let ids): ids
    case .first: first
    case .second: second ?? []
    }
  }

  /// The special tokens before and after a single text; nothing when it is not simply put between some.
  var surroundings: (before: [Int], after: [Int])? {
    let parts = single.map(\.content).split(separator: .first, maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, !parts.joined().contains(where: { $0 == .first || $0 == .second }) else { return nil }
    let ids = parts.map { side in
      side.flatMap { content -> [Int] in if case .special(let ids) = content { ids } else { [] } }
    }
    return (ids[0], ids[1])
  }

  /// A post-processor that puts one token before and one after a text, and after each text of a pair.
  static func json(first: (token: String, id: Int)?, last: (token: String, id: Int)?) -> JSON {
    func special(_ token: (token: String, id: Int)?, _ type: Int) -> [JSON] {
      guard let token else { return [] }
      return [.object(["SpecialToken": .object(["id": .string(token.token), "type_id": .integer(type)])])]
    }
    func text(_ name: String, _ type: Int) -> [JSON] {
      [.object(["Sequence": .object(["id": .string(name), "type_id": .integer(type)])])]
    }
    let single = special(first, 0) + text("A", 0) + special(last, 0)
    let described = [first, last].compactMap { $0 }.map { token in
      (
        token.token,
        JSON.object([
          "id": .string(token.token), "ids": .array([.integer(token.id)]), "tokens": .array([.string(token.token)]),
        ])
      )
    }
    return .object([
      "type": .string("TemplateProcessing"), "single": .array(single),
      "pair": .array(single + text("B", 1) + special(last, 1)),
      "special_tokens": .object(Dictionary(described) { first, _ in first }),
    ])
  }
}
