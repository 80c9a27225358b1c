import Files

/// Where special tokens go around one text or two, and which tokens belong to which segment.
struct TokenTemplate: Sendable {
  /// One part of what is made.
  struct Part: Sendable {
    enum Content: Sendable, Equatable {
      case special([Int])
      case first
      case second
    }

    let content: Content

    /// The number that models with segments ("token types") add an embedding for: 0 or 1, as a rule.
    let segment: Int

    init(_ content: Content, segment: Int = 0) {
      self.content = content
      self.segment = segment
    }
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
      // RoBERTa parts its texts by two tokens instead of by segments.
      let isBert = type == "BertProcessing"
      let segment = isBert ? 1 : 0
      pair = [
        Part(.special([start])), Part(.first), Part(.special(isBert ? [end] : [end, end])),
        Part(.second, segment: segment), Part(.special([end]), segment: segment),
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
      if let special = part.child("SpecialToken"), let name = special.json["id"]?.string {
        guard let ids = component.json["special_tokens"]?[name]?["ids"]?.array?.map(\.int), !ids.contains(nil) else {
          throw part.error("special token \(quoted(name)) has no ids under 'special_tokens'")
        }
        return Part(.special(ids.compactMap(\.self)), segment: try segment(special))
      }
      guard let sequence = part.child("Sequence"), let name = sequence.json["id"]?.string, name == "A" || name == "B"
      else { throw part.error("must be a 'SpecialToken' or the 'Sequence' 'A' or 'B'") }
      return Part(name == "A" ? .first : .second, segment: try segment(sequence))
    }
  }

  private static func segment(_ component: TokenizerComponent) throws -> Int {
    try component.count("type_id", default: 0, limit: 1 << 16)
  }

  /// The ids and segments of one text, or of two.
  func filled(first: [Int], second: [Int]? = nil) -> (ids: [Int], segments: [Int]) {
    var filled: (ids: [Int], segments: [Int]) = ([], [])
    for part in second == nil ? single : pair {
      let ids =
        switch part.content {
        case .special(let ids): ids
        case .first: first
        case .second: second ?? []
        }
      filled.ids += ids
      filled.segments += repeatElement(part.segment, count: ids.count)
    }
    return filled
  }

  /// How many special tokens go around one text, or around two.
  func specialCount(pair isPair: Bool) -> Int {
    (isPair ? pair : single).reduce(0) { count, part in
      if case .special(let ids) = part.content { count + ids.count } else { count }
    }
  }

  /// The special tokens before and after a single text; nothing when it is not simply put between some.
  var surroundings: (before: [Int], after: [Int])? {
    let parts = single.map(\.content).split(separator: .first, maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, !parts.joined().contains(where: { $0 == .first || $0 == .second }) else { return nil }
    let ids = parts.map { side in
      side.flatMap { part -> [Int] in if case .special(let ids) = part { ids } else { [] } }
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
