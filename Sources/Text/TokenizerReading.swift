import Files
import Glibc

extension Tokenizer {
  /// Reads a `tokenizer.json`, or the one in a folder; where a folder has none, BERT's `vocab.txt`.
  ///
  /// The files beside it complete it: `tokenizer_config.json` with the special tokens and the chat template, and
  /// `chat_template.jinja`, whose template goes before.
  ///
  /// - Throws: `FileError` when a file is malformed or a component is not supported, naming it.
  public static func read(_ path: String) throws -> Tokenizer {
    let isFile = path.hasSuffix(".json") || path.hasSuffix(".txt")
    let folder = isFile ? String(path.dropLast(path.split(separator: "/").last?.count ?? 0)) : path + "/"
    let hasVocabularyOnly = access(folder + "tokenizer.json", F_OK) != 0 && access(folder + "vocab.txt", F_OK) == 0
    let file = isFile ? path : folder + (hasVocabularyOnly ? "vocab.txt" : "tokenizer.json")
    let config = folder + "tokenizer_config.json"
    var tokenizer: Tokenizer
    if file.hasSuffix(".txt") {
      let bert = try BertVocabulary(file, configPath: config)
      tokenizer = try Tokenizer(
        path: file, components: bert.components, model: .wordPiece(bert.model), added: bert.added)
      try tokenizer.complete(with: bert.config, path: config)
    } else {
      tokenizer = try described(file)
      if access(config, F_OK) == 0 { try tokenizer.complete(with: try JSON.read(config), path: config) }
    }
    let template = folder + "chat_template.jinja"
    if access(template, F_OK) == 0 {
      let file = try MappedFile(template)
      guard let text = withExtendedLifetime(file, { String(validating: file.bytes, as: UTF8.self) }) else {
        throw FileError(template, "is not valid UTF-8")
      }
      tokenizer.chatTemplate = text
    }
    return tokenizer
  }

  /// The tokenizer that a `tokenizer.json` describes.
  private static func described(_ file: String) throws -> Tokenizer {
    let json = try JSON.read(file)
    guard json.members != nil else { throw FileError(file, "must be a JSON object") }
    let root = TokenizerComponent(json, path: file, place: "")
    guard let model = root.child("model") else { throw root.error("needs a 'model'") }
    var components: [String: JSON] = [:]
    for name in ["normalizer", "pre_tokenizer", "post_processor", "decoder"] { components[name] = json[name] ?? .null }
    let added = try json["added_tokens"].map { _ in try root.children("added_tokens").map(AddedToken.init) } ?? []
    return try Tokenizer(path: file, components: components, model: try TokenModel(model), added: added)
  }

  /// Takes over what `tokenizer_config.json` says.
  private mutating func complete(with config: JSON, path: String) throws {
    func id(_ key: String) throws -> Int? {
      guard let value = config[key], !value.isNull else { return nil }
      guard let token = value.string ?? value["content"]?.string else {
        throw FileError(path, at: key, "must be a token")
      }
      guard let id = self.id(of: token) else {
        throw FileError(path, at: key, "token \(quoted(token)) is not in the vocabulary")
      }
      return id
    }
    beginningOfSequence = try id("bos_token")
    endOfSequence = try id("eos_token")
    padding = try id("pad_token")
    unknown = try id("unk_token") ?? unknown
    classification = try id("cls_token")
    separator = try id("sep_token")
    mask = try id("mask_token")
    switch config["chat_template"] {
    case .some(.string(let source)): chatTemplate = source
    case .some(.array(let templates)):
      // Several named templates: the one for plain conversations is called 'default'.
      chatTemplate = templates.first { $0["name"]?.string == "default" }?["template"]?.string
    default: break
    }
  }
}
