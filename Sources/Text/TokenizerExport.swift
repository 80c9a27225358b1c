import Files

extension Tokenizer {
  /// The tokenizer as the files of a Hugging Face folder: `tokenizer.json` and `tokenizer_config.json`, by name.
  ///
  /// Read back, here or by the `tokenizers` library, they give the same ids.
  public func huggingFaceFiles() throws -> [String: String] {
    var root: [String: JSON] = [
      "version": .string("1.0"), "truncation": .null, "padding": .null,
      "added_tokens": .array(added.tokens.sorted { $0.id < $1.id }.map(\.json)), "model": model.json(),
    ]
    for name in ["normalizer", "pre_tokenizer", "post_processor", "decoder"] { root[name] = components[name] ?? .null }

    var config: [String: JSON] = [
      "tokenizer_class": .string("PreTrainedTokenizerFast"), "clean_up_tokenization_spaces": .bool(false),
    ]
    let named = [
      ("bos_token", beginningOfSequence), ("eos_token", endOfSequence), ("pad_token", padding), ("unk_token", unknown),
      ("cls_token", classification), ("sep_token", separator), ("mask_token", mask),
    ]
    for (name, id) in named {
      if let token = id.flatMap(token(of:)) { config[name] = .string(token) }
    }
    if let chatTemplate { config["chat_template"] = .string(chatTemplate) }
    return [
      "tokenizer.json": JSON.object(root).text(),
      "tokenizer_config.json": JSON.object(config).text(pretty: true) + "\n",
    ]
  }

  /// The tokenizer as metadata of a GGUF file, under the keys `tokenizer.ggml.…`.
  ///
  /// - Parameter rows: How many rows the embedding has; ids that are no tokens are filled with unused ones.
  /// - Throws: `FileError` when the format has no name for what this tokenizer does.
  public func ggufMetadata(rows: Int? = nil) throws -> [(String, GGUFValue)] {
    let count = max(rows ?? 0, vocabularySize)
    guard count <= 1 << 22, let surroundings = template.surroundings else {
      throw unwritable("special tokens around a text in this arrangement")
    }
    var values: [(String, GGUFValue)] = []
    switch model {
    case .pairs(let model) where model.fallsBackToBytes:
      values.append(("model", .string("llama")))
      values.append(("scores", .array(GGUFArray(try sentencePieceScores(model, count: count)))))
      values.append(("add_space_prefix", .bool(try addsSpace())))
    case .pairs(let model):
      values.append(("model", .string("gpt2")))
      values.append(("pre", .string(try wordRule(model).names[0])))
      let merges = model.pairs.map { "\(model.vocabulary[$0.left] ?? "") \(model.vocabulary[$0.right] ?? "")" }
      values.append(("merges", .array(GGUFArray(merges))))
    case .wordPiece(let model):
      try requireBert(model)
      values.append(("model", .string("bert")))
      // The misspelling is the format's own.
      for (key, id) in [
        ("cls_token_id", classification), ("seperator_token_id", surroundings.after.first ?? separator),
        ("mask_token_id", mask),
      ] {
        if let id { values.append((key, .uint32(UInt32(truncatingIfNeeded: id)))) }
      }
    case .unigram: throw unwritable("a unigram model")
    }
    let tokens = (0..<count).map(ggufToken)
    values.append(("tokens", .array(GGUFArray(tokens.map(\.text)))))
    values.append(("token_type", .array(GGUFArray(tokens.map(\.kind.rawValue)))))

    let first = surroundings.before.first ?? beginningOfSequence
    let isBert = if case .wordPiece = model { true } else { false }
    let last = isBert ? endOfSequence : surroundings.after.first ?? endOfSequence
    let isSimple = surroundings.before.count <= 1 && surroundings.after.count <= 1
    guard isSimple, beginningOfSequence.map({ $0 == first }) ?? true, endOfSequence.map({ $0 == last }) ?? true else {
      throw unwritable("special tokens around a text other than those that begin and end a sequence")
    }
    for (key, id) in [
      ("bos_token_id", first), ("eos_token_id", last), ("unknown_token_id", unknown), ("padding_token_id", padding),
    ] {
      if let id { values.append((key, .uint32(UInt32(truncatingIfNeeded: id)))) }
    }
    values.append(("add_bos_token", .bool(!surroundings.before.isEmpty)))
    values.append(("add_eos_token", .bool(!surroundings.after.isEmpty)))
    var metadata = values.map { ("tokenizer.ggml.\($0.0)", $0.1) }
    if let chatTemplate { metadata.append(("tokenizer.chat_template", .string(chatTemplate))) }
    return metadata
  }

  private func unwritable(_ what: String) -> FileError {
    FileError(path, "a GGUF file cannot describe \(what)", remedy: "write a Hugging Face folder instead")
  }

  /// The text and kind of one token of a GGUF vocabulary.
  private func ggufToken(_ id: Int) -> (text: String, kind: GGUFVocabulary.Kind) {
    guard let token = token(of: id) else { return ("[PAD\(id)]", .unused) }
    if let added = added[id] {
      return (token, !added.isSpecial ? .userDefined : id == unknown ? .unknown : .control)
    }
    switch model {
    case .wordPiece(let model):
      let prefix = model.continuingPrefix
      let isInside = token.utf8.starts(with: prefix.utf8)
      return (isInside ? String(token.unicodeScalars.dropFirst(prefix.unicodeScalars.count)) : "▁" + token, .normal)
    case .pairs(let model) where model.fallsBackToBytes && model.byteTokens.contains(id): return (token, .byte)
    default: return (token, .normal)
    }
  }

  /// The name by which a byte-level tokenizer's words are known.
  private func wordRule(_ model: PairMerging) throws -> WordRule {
    guard let rule = WordRule.following(components["pre_tokenizer"]), rule.ignoresMerges == model.ignoresMerges else {
      throw unwritable("how this tokenizer cuts text into words")
    }
    guard model.continuingPrefix.isEmpty, model.endSuffix.isEmpty else { throw unwritable("affixes of pieces") }
    // Composing is left to the text: llama.cpp has no normalization, and writers of such files leave it out.
    let normalizer = components["normalizer"]?["type"]?.string
    guard normalizer == nil || normalizer == "NFC" else { throw unwritable("a normalizer") }
    return rule
  }

  /// Whether a SentencePiece tokenizer puts a space before a text.
  private func addsSpace() throws -> Bool {
    let steps = components["normalizer"]?["normalizers"]?.array ?? [components["normalizer"] ?? .null]
    guard components["pre_tokenizer"]?.isNull ?? true, let last = steps.last, last["type"]?.string == "Replace",
      last["pattern"]?["String"]?.string == " ", last["content"]?.string == "▁",
      steps.count == 1 || (steps.count == 2 && steps[0]["prepend"]?.string == "▁")
    else { throw unwritable("how this tokenizer marks spaces") }
    return steps.count == 2
  }

  private func requireBert(_ model: WordPiece) throws {
    let normalizer = components["normalizer"]
    guard model.continuingPrefix == "##", model.longestWord == 100,
      components["pre_tokenizer"]?["type"]?.string == "BertPreTokenizer",
      normalizer?["type"]?.string == "BertNormalizer", normalizer?["lowercase"]?.bool == true,
      normalizer?["strip_accents"]?.bool != false
    else { throw unwritable("a WordPiece model that is not lowercased as BERT's is") }
  }

  /// Scores by which joining gives the order of the merges.
  private func sentencePieceScores(_ model: PairMerging, count: Int) throws -> [Float] {
    var scores = Array(repeating: -Float(model.merges.count), count: count)
    if let given = self.scores {
      for (id, score) in given.enumerated() { scores[id] = score }
      return scores
    }
    for merge in model.merges.values { scores[Int(merge.id)] = max(scores[Int(merge.id)], -Float(merge.rank)) }
    // A file lists no pairs: all that make a token are joined. The scores serve only if those are the merges there are.
    var byScore = PairMerging(vocabulary: model.vocabulary)
    byScore.addMerges(byScore: scores)
    guard byScore.merges.count == model.merges.count,
      model.merges.allSatisfy({ byScore.merges[$0.key]?.id == $0.value.id }),
      model.pairs.map({ byScore.merges[PairMerging.key($0.left, $0.right)]?.rank ?? 0 }).isSorted
    else { throw unwritable("merges that do not follow from scores") }
    return scores
  }
}

extension [Int32] {
  fileprivate var isSorted: Bool { zip(self, dropFirst()).allSatisfy { $0 <= $1 } }
}
