import Files
import Glibc

/// BERT's tokenizer as folders without a `tokenizer.json` hold it: the tokens of a `vocab.txt`, one a line, and what
/// `tokenizer_config.json` sets.
///
/// The parts are those that transformers makes of such a folder (`BertTokenizer`, also of DistilBERT, ELECTRA and
/// MobileBERT).
struct BertVocabulary {
  let components: [String: JSON]
  let model: WordPiece
  let added: [AddedToken]

  /// The settings, with the usual names of the special tokens where they name none.
  let config: JSON

  private static let usualNames = [
    "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]",
  ]
  private static let families = ["Bert", "DistilBert", "Electra", "MobileBert"]

  /// - Parameter configPath: The settings; without that file all are as BERT's uncased models have them.
  /// - Throws: `FileError` when a file is malformed, a token is missing, or a setting asks for another tokenizer.
  init(_ path: String, configPath: String) throws {
    let given = access(configPath, F_OK) == 0 ? try JSON.read(configPath) : .object([:])
    guard var config = given.object else { throw FileError(configPath, "must be a JSON object") }
    let settings = TokenizerComponent(given, path: configPath, place: "")
    try Self.check(settings, beside: path)
    let vocabulary = try Self.vocabulary(path)
    for (key, name) in Self.usualNames where config[key]?.isNull ?? true {
      if vocabulary.id(of: name) != nil { config[key] = .string(name) }
    }
    self.config = .object(config)

    func special(_ key: String, _ role: String) throws -> (token: String, id: Int) {
      let name = Self.name(config[key]) ?? Self.usualNames[key] ?? ""
      guard let id = vocabulary.id(of: name) else {
        throw FileError(
          path, "has no token \(quoted(name))", remedy: "name \(role) in \(configPath) under '\(key)'")
      }
      return (name, id)
    }
    let unknown = try special("unk_token", "the token for unknown words")
    let first = try special("cls_token", "the token that begins a text")
    let last = try special("sep_token", "the token that ends a text")
    let accents: JSON =
      given["strip_accents"]?.isNull ?? true ? .null : .bool(try settings.bool("strip_accents", default: true))
    components = [
      "normalizer": .object([
        "type": .string("BertNormalizer"), "clean_text": .bool(true),
        "handle_chinese_chars": .bool(try settings.bool("tokenize_chinese_chars", default: true)),
        "strip_accents": accents,
        "lowercase": .bool(try settings.bool("do_lower_case", default: true)),
      ]),
      "pre_tokenizer": .object(["type": .string("BertPreTokenizer")]),
      "post_processor": TokenTemplate.json(first: first, last: last),
      "decoder": .object(["type": .string("WordPiece"), "prefix": .string("##"), "cleanup": .bool(true)]),
    ]
    model = WordPiece(vocabulary: vocabulary, unknown: unknown.id, continuingPrefix: "##", longestWord: 100)
    added = try Self.added(settings, config, vocabulary)
  }

  /// Refuses settings under which the text would be cut in another way.
  private static func check(_ settings: TokenizerComponent, beside path: String) throws {
    let remedy = "save the model with a tokenizer.json"
    if let name = try settings.optionalString("tokenizer_class") {
      guard families.contains(where: { name == $0 + "Tokenizer" || name == $0 + "TokenizerFast" }) else {
        throw settings.error("'tokenizer_class' \(quoted(name)) is not supported beside a vocab.txt", remedy: remedy)
      }
    }
    guard try settings.bool("do_basic_tokenize", default: true) else {
      throw settings.error("'do_basic_tokenize' false is not supported", remedy: remedy)
    }
    if let kept = settings.json["never_split"], !kept.isNull, kept.array?.isEmpty != true {
      throw settings.error("'never_split' is not supported", remedy: remedy)
    }
    let more = path.dropLast("vocab.txt".count) + "added_tokens.json"
    if access(String(more), F_OK) == 0 {
      throw FileError(String(more), "is not supported beside a vocab.txt", remedy: remedy)
    }
  }

  private static func vocabulary(_ path: String) throws -> Vocabulary {
    let file = try MappedFile(path)
    guard let text = withExtendedLifetime(file, { String(validating: file.bytes, as: UTF8.self) }) else {
      throw FileError(path, "is not valid UTF-8")
    }
    // Over bytes: as Characters, a line feed after a carriage return is none, and after a joiner neither.
    var lines = text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    if lines.last?.isEmpty == true { lines.removeLast() }
    guard lines.count <= 1 << 22 else {
      throw FileError(path, "has \(lines.count) lines; at most \(1 << 22) tokens are read")
    }
    var vocabulary = Vocabulary(capacity: lines.count)
    for (id, line) in lines.enumerated() {
      let token = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
      vocabulary.insert(String(Substring(token)), id: id)
    }
    return vocabulary
  }

  /// A special token's name, which stands alone or among its properties.
  private static func name(_ json: JSON?) -> String? { json?.string ?? json?["content"]?.string }

  /// The tokens that are found in a text as they are: those that the settings list, and the special ones.
  private static func added(
    _ settings: TokenizerComponent, _ config: [String: JSON], _ vocabulary: Vocabulary
  ) throws -> [AddedToken] {
    var tokens: [Int: AddedToken] = [:]
    for key in usualNames.keys.sorted() {
      guard let name = name(config[key]), let id = vocabulary.id(of: name) else { continue }
      var properties = config[key]?.object ?? ["content": .string(name)]
      properties["id"] = .integer(id)
      properties["special"] = .bool(true)
      tokens[id] = try AddedToken(TokenizerComponent(.object(properties), path: settings.path, place: key))
    }
    if let listed = settings.child("added_tokens_decoder") {
      guard let members = listed.json.object else { throw settings.error("'added_tokens_decoder' must be an object") }
      for (key, value) in members {
        let place = "\(listed.place).\(key)"
        guard var properties = value.object, let id = Int(key) else {
          throw FileError(settings.path, at: place, "must be a token under its id")
        }
        properties["id"] = .integer(id)
        tokens[id] = try AddedToken(TokenizerComponent(.object(properties), path: settings.path, place: place))
      }
    }
    return tokens.values.sorted { $0.id < $1.id }
  }
}
