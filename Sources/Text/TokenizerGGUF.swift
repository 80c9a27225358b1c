import Files

extension Tokenizer {
  /// The tokenizer of a GGUF file, under its keys `tokenizer.ggml.…`; its ids are those of llama.cpp.
  ///
  /// Models are `gpt2` (byte-level pairs) with `pre` one of `gpt-2`, `smollm`, `llama-bpe`, `qwen2`, `default` and what
  /// llama.cpp treats alike, `llama` (SentencePiece pairs) and `bert` (WordPiece, lowercased). Where control tokens
  /// overlap in a text, the leftmost counts, and of those the longest.
  ///
  /// - Throws: `FileError` when the file has no tokenizer, a malformed one, or one that is not supported.
  public init(gguf metadata: GGUF) throws {
    let file = try GGUFVocabulary(metadata)
    guard let model = try file.string("model") else {
      throw FileError(metadata.path, "has no key 'tokenizer.ggml.model'")
    }
    switch model {
    case "gpt2": try self.init(byteLevel: file)
    case "llama": try self.init(sentencePiece: file)
    case "bert": try self.init(wordPiece: file)
    default:
      throw file.error(
        "model", "tokenizer \(quoted(model)) is not supported", remedy: "use a model with 'gpt2', 'llama' or 'bert'")
    }
    endOfSequence = try file.id("eos_token_id") ?? endOfSequence
    padding = try file.id("padding_token_id") ?? padding
    unknown = try file.id("unknown_token_id") ?? unknown
    chatTemplate = metadata.metadata["tokenizer.chat_template"]?.string
  }

  private init(byteLevel file: GGUFVocabulary) throws {
    let name = try file.string("pre") ?? "default"
    guard let rule = WordRule.all.first(where: { $0.names.contains(name) }) else {
      throw file.error(
        "pre", "pre-tokenizer \(quoted(name)) is not supported",
        remedy: "use a model with one of \(WordRule.all.map(\.names[0]).joined(separator: ", "))")
    }
    let vocabulary = file.vocabulary()
    var model = try file.mergesByList(vocabulary)
    model.ignoresMerges = rule.ignoresMerges
    let bytes: JSON = .object([
      "type": .string("ByteLevel"), "add_prefix_space": .bool(false), "trim_offsets": .bool(true),
      "use_regex": .bool(true),
    ])
    try self.init(
      file, model: .pairs(model), vocabulary,
      components: ["normalizer": .null, "pre_tokenizer": rule.preTokenizer, "decoder": bytes],
      beginning: try file.id("bos_token_id"), addsBeginning: rule.addsBeginning, ending: try file.id("eos_token_id"))
  }

  private init(sentencePiece file: GGUFVocabulary) throws {
    try file.checkLengths()
    let vocabulary = file.vocabulary()
    let scores = try file.scores()
    var model = PairMerging(vocabulary: vocabulary)
    model.addMerges(byScore: scores)
    model.fallsBackToBytes = true
    model.fusesUnknown = true
    model.unknown = try file.id("unknown_token_id") ?? (file.tokens.isEmpty ? nil : 0)
    func replacement(_ old: String, _ new: String) -> JSON {
      .object(["type": .string("Replace"), "pattern": .object(["String": .string(old)]), "content": .string(new)])
    }
    var normalizers = [replacement(" ", "▁")]
    var decoders = [
      replacement("▁", " "), .object(["type": .string("ByteFallback")]), .object(["type": .string("Fuse")]),
    ]
    if try file.bool("add_space_prefix", default: true) {
      normalizers.insert(.object(["type": .string("Prepend"), "prepend": .string("▁")]), at: 0)
      decoders.append(
        .object([
          "type": .string("Strip"), "content": .string(" "), "start": .integer(1), "stop": .integer(0),
        ]))
    }
    try self.init(
      file, model: .pairs(model), vocabulary,
      components: [
        "normalizer": .object(["type": .string("Sequence"), "normalizers": .array(normalizers)]),
        "pre_tokenizer": .null, "decoder": .object(["type": .string("Sequence"), "decoders": .array(decoders)]),
      ],
      beginning: try file.id("bos_token_id") ?? (file.tokens.count > 1 ? 1 : nil), addsBeginning: true,
      ending: try file.id("eos_token_id") ?? (file.tokens.count > 2 ? 2 : nil))
    self.scores = scores
  }

  private init(wordPiece file: GGUFVocabulary) throws {
    // The file marks the tokens that begin a word; BERT's own vocabulary marks those that do not.
    var vocabulary = Vocabulary(capacity: file.tokens.count)
    var added: [AddedToken] = []
    for (id, token) in file.tokens.enumerated() {
      if token.unicodeScalars.first == "▁" {
        vocabulary.insert(String(scalars: token.unicodeScalars.dropFirst()), id: id)
      } else if file.kinds[id] == .normal, !(token.hasPrefix("[") && token.hasSuffix("]")) {
        vocabulary.insert("##" + token, id: id)
      } else {
        vocabulary.insert(token, id: id)
        added.append(AddedToken(id: id, content: token, isSpecial: file.kinds[id] != .userDefined))
      }
    }
    guard let unknown = try file.id("unknown_token_id") ?? vocabulary.id(of: "[UNK]") else {
      throw FileError(file.file.path, "has no key 'tokenizer.ggml.unknown_token_id'")
    }
    let model = WordPiece(vocabulary: vocabulary, unknown: unknown, continuingPrefix: "##", longestWord: 100)
    let first = try file.id("bos_token_id") ?? file.id("cls_token_id") ?? vocabulary.id(of: "[CLS]")
    let last = try file.id("seperator_token_id") ?? file.id("eos_token_id") ?? vocabulary.id(of: "[SEP]")
    try self.init(
      file, model: .wordPiece(model), vocabulary,
      components: [
        "normalizer": .object([
          "type": .string("BertNormalizer"), "clean_text": .bool(true), "handle_chinese_chars": .bool(true),
          "strip_accents": .bool(true), "lowercase": .bool(true),
        ]),
        "pre_tokenizer": .object(["type": .string("BertPreTokenizer")]),
        "decoder": .object(["type": .string("WordPiece"), "prefix": .string("##"), "cleanup": .bool(true)]),
      ],
      beginning: first, addsBeginning: true, ending: last, addsEnding: true, added: added)
    classification = try file.id("cls_token_id") ?? first
    separator = last
    mask = try file.id("mask_token_id") ?? vocabulary.id(of: "[MASK]")
  }

  /// What the three kinds have in common: the special tokens around a text.
  private init(
    _ file: GGUFVocabulary, model: TokenModel, _ vocabulary: Vocabulary, components: [String: JSON],
    beginning: Int?, addsBeginning: Bool, ending: Int?, addsEnding: Bool = false, added: [AddedToken]? = nil
  ) throws {
    var components = components
    let first = try file.bool("add_bos_token", default: addsBeginning) ? beginning : nil
    let last = try file.bool("add_eos_token", default: addsEnding) ? ending : nil
    func named(_ id: Int) -> (String, Int) { (vocabulary[id] ?? "", id) }
    components["post_processor"] = TokenTemplate.json(first: first.map(named), last: last.map(named))
    try self.init(
      path: file.file.path, components: components, model: model, added: added ?? file.added(in: vocabulary))
    beginningOfSequence = beginning
    endOfSequence = ending
  }
}
