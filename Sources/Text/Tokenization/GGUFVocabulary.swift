import Files

/// The tokenizer's part of a GGUF file's metadata.
struct GGUFVocabulary {
  /// What a token is, by the format's numbers.
  enum Kind: Int32 {
    case normal = 1
    case unknown = 2
    case control = 3
    case userDefined = 4
    case unused = 5
    case byte = 6
  }

  let file: GGUF
  let tokens: [String]
  let kinds: [Kind]

  init(_ file: GGUF) throws {
    self.file = file
    guard let tokens = try file.metadata["tokenizer.ggml.tokens"]?.array?.strings() else {
      throw FileError(file.path, "has no key 'tokenizer.ggml.tokens', so there is no tokenizer in it")
    }
    self.tokens = tokens
    guard let types = file.metadata["tokenizer.ggml.token_type"] else {
      kinds = Array(repeating: .normal, count: tokens.count)
      return
    }
    guard let numbers = try types.array?.ints(), numbers.count == tokens.count else {
      throw FileError(
        file.path, at: "key 'tokenizer.ggml.token_type'", "must hold one number for each of \(tokens.count) tokens")
    }
    // What the format does not define, llama.cpp too treats as normal.
    kinds = numbers.map { Int32(exactly: $0).flatMap(Kind.init) ?? .normal }
  }

  func error(_ key: String, _ problem: String, remedy: String? = nil) -> FileError {
    FileError(file.path, at: "key 'tokenizer.ggml.\(key)'", problem, remedy: remedy)
  }

  /// A token id under `key`; nothing when absent.
  func id(_ key: String) throws -> Int? {
    guard let value = file.metadata["tokenizer.ggml.\(key)"] else { return nil }
    guard let id = value.int, tokens.indices.contains(id) else {
      throw error(key, "must be the id of one of \(tokens.count) tokens")
    }
    return id
  }

  func bool(_ key: String, default fallback: Bool) throws -> Bool {
    guard let value = file.metadata["tokenizer.ggml.\(key)"] else { return fallback }
    guard let bool = value.bool else { throw error(key, "must be true or false") }
    return bool
  }

  func string(_ key: String) throws -> String? {
    guard let value = file.metadata["tokenizer.ggml.\(key)"] else { return nil }
    guard let string = value.string else { throw error(key, "must be a string") }
    return string
  }

  /// The tokens by id.
  func vocabulary() -> Vocabulary {
    var vocabulary = Vocabulary(capacity: tokens.count)
    for (id, token) in tokens.enumerated() { vocabulary.insert(token, id: id) }
    return vocabulary
  }

  /// The tokens that are found in a text before it is cut into words.
  ///
  /// Of two with the same text only the later one can be found.
  func added(in vocabulary: Vocabulary) -> [AddedToken] {
    kinds.indices.compactMap { id in
      switch kinds[id] {
      case .control, .unknown, .userDefined:
        guard !tokens[id].isEmpty, vocabulary.id(of: tokens[id]) == id else { return nil }
        return AddedToken(id: id, content: tokens[id], isSpecial: kinds[id] != .userDefined)
      case .normal, .unused, .byte: return nil
      }
    }
  }

  /// Byte-pair merges as the file lists them.
  func mergesByList(_ vocabulary: Vocabulary) throws -> PairMerging {
    guard let merges = try file.metadata["tokenizer.ggml.merges"]?.array?.strings() else {
      throw FileError(file.path, "has no key 'tokenizer.ggml.merges', which byte-pair encoding needs")
    }
    let component = TokenizerComponent(.null, path: file.path, place: "key 'tokenizer.ggml.merges'")
    var model = PairMerging(vocabulary: vocabulary)
    model.merges.reserveCapacity(merges.count)
    for (rank, merge) in merges.enumerated() {
      var merge = merge
      try merge.withUTF8 { bytes in
        // The first part is not empty, so a space in front belongs to it.
        guard let space = bytes.dropFirst().firstIndex(of: 0x20) else {
          throw component.error("merge \(rank) must be two tokens with a space between")
        }
        try model.add(bytes[..<space], bytes[(space + 1)...], rank: rank, component)
      }
    }
    return model
  }

  /// Refuses tokens too long to be cut in two at every place, which takes time in proportion to the square of them.
  func checkLengths() throws {
    let longest = 1024
    guard let id = tokens.firstIndex(where: { $0.utf8.count > longest }) else { return }
    throw error("tokens", "token \(id) is \(tokens[id].utf8.count) bytes long; at most \(longest) are read")
  }

  /// The scores of a SentencePiece vocabulary.
  func scores() throws -> [Float] {
    let scores = try file.metadata["tokenizer.ggml.scores"]?.array?.floats()
    guard let scores, scores.count == tokens.count, !scores.contains(where: \.isNaN) else {
      throw error("scores", "must hold one number for each of \(tokens.count) tokens")
    }
    return scores
  }
}

extension PairMerging {
  /// Adds every pair of tokens that makes a token; the higher the score of what they make, the earlier they are joined.
  ///
  /// SentencePiece joins by score rather than by a list. Every character of its tokens is a token itself, so that pairs
  /// of tokens are all the pairs there are.
  mutating func addMerges(byScore scores: [Float]) {
    let ranks = Dictionary(
      uniqueKeysWithValues: Set(scores).sorted(by: >).enumerated().map { ($1, Int32(truncatingIfNeeded: $0)) })
    for id in 0..<vocabulary.count {
      guard let text = vocabulary.utf8(of: id), vocabulary.id(of: text) == id, let rank = ranks[scores[id]] else {
        continue
      }
      for cut in text.indices.dropFirst() where text[cut] & 0xc0 != 0x80 {
        guard let left = vocabulary.id(of: text[..<cut]), let right = vocabulary.id(of: text[cut...]) else { continue }
        merges[Self.key(left, right)] = Merge(rank: rank, id: Int32(truncatingIfNeeded: id))
      }
    }
  }
}
