import Files

/// What turns the words of a text into tokens.
enum TokenModel: Sendable {
  case pairs(PairMerging)
  case wordPiece(WordPiece)
  case unigram(Unigram)

  var vocabulary: Vocabulary {
    switch self {
    case .pairs(let model): model.vocabulary
    case .wordPiece(let model): model.vocabulary
    case .unigram(let model): model.vocabulary
    }
  }

  /// The token for what the vocabulary cannot express.
  var unknown: Int? {
    switch self {
    case .pairs(let model): model.unknown
    case .wordPiece(let model): model.unknown
    case .unigram(let model): model.unknown
    }
  }

  func encode(_ word: ArraySlice<Unicode.Scalar>, into ids: inout [Int]) {
    switch self {
    case .pairs(let model): model.encode(word, into: &ids)
    case .wordPiece(let model): model.encode(word, into: &ids)
    case .unigram(let model): model.encode(word, into: &ids)
    }
  }

  /// - Throws: `FileError` naming a kind of model that is not supported.
  init(_ component: TokenizerComponent) throws {
    // Files from before 2020 name no type.
    let implied = component.json["merges"] != nil ? "BPE" : component.json["unk_id"] != nil ? "Unigram" : "WordPiece"
    let type = try component.optionalString("type") ?? implied
    switch type {
    case "BPE": self = .pairs(try PairMerging(component))
    case "WordPiece": self = .wordPiece(try WordPiece(component))
    case "Unigram": self = .unigram(try Unigram(component))
    default: throw component.unknown(type)
    }
  }

  /// The model as `tokenizer.json` holds it.
  func json() -> JSON {
    switch self {
    case .pairs(let model): model.json()
    case .wordPiece(let model): model.json()
    case .unigram(let model): model.json()
    }
  }
}

extension Vocabulary {
  /// Reads an object of tokens with their ids.
  init(_ component: TokenizerComponent) throws {
    guard let members = component.json["vocab"]?.members else { throw component.error("needs an object 'vocab'") }
    self.init(capacity: members.count)
    for member in members {
      guard let id = member.value.int, (0..<(1 << 22)).contains(id) else {
        throw component.error("the id of token \(quoted(member.key)) must be a whole number below \(1 << 22)")
      }
      guard utf8(of: id) == nil else {
        throw component.error("tokens \(quoted(self[id] ?? "")) and \(quoted(member.key)) both have id \(id)")
      }
      insert(member.key, id: id)
    }
  }

  func json() -> JSON {
    .members(
      (0..<count).compactMap { id in
        guard let token = self[id], self.id(of: token) == id else { return nil }
        return JSON.Member(key: token, value: .integer(id))
      })
  }
}

extension PairMerging {
  init(_ component: TokenizerComponent) throws {
    if let dropout = component.json["dropout"]?.double, dropout != 0 {
      throw component.error("'dropout' makes encoding random, which is not supported", remedy: "set it to null")
    }
    self.init(vocabulary: try Vocabulary(component))
    if let token = try component.optionalString("unk_token") {
      guard let id = vocabulary.id(of: token) else {
        throw component.error("'unk_token' \(quoted(token)) is not in the vocabulary")
      }
      unknown = id
    }
    fusesUnknown = try component.bool("fuse_unk", default: false)
    fallsBackToBytes = try component.bool("byte_fallback", default: false)
    ignoresMerges = try component.bool("ignore_merges", default: false)
    continuingPrefix = Array((try component.optionalString("continuing_subword_prefix") ?? "").utf8)
    endSuffix = Array((try component.optionalString("end_of_word_suffix") ?? "").utf8)

    guard let list = component.json["merges"]?.array else { throw component.error("needs a list 'merges'") }
    merges.reserveCapacity(list.count)
    for (rank, entry) in list.enumerated() {
      if var text = entry.string {
        try text.withUTF8 { bytes in
          guard let space = bytes.firstIndex(of: 0x20), !bytes[(space + 1)...].contains(0x20) else {
            throw component.error("merge \(rank) must be two tokens with a space between")
          }
          try add(bytes[..<space], bytes[(space + 1)...], rank: rank, component)
        }
      } else if let pair = entry.array, pair.count == 2, let left = pair[0].string, let right = pair[1].string {
        try add(left.utf8, right.utf8, rank: rank, component)
      } else {
        throw component.error("merge \(rank) must be two tokens")
      }
    }
  }

  /// Adds the pair learned at `rank`.
  ///
  /// - Throws: `FileError` when one of the two, or what they make, is not in the vocabulary.
  mutating func add(
    _ left: some Collection<UInt8>, _ right: some Collection<UInt8>, rank: Int, _ component: TokenizerComponent
  ) throws {
    let left = Array(left)
    let right = Array(right)
    guard right.starts(with: continuingPrefix) else {
      throw component.error("merge \(rank) has a second part without the prefix of continuing tokens")
    }
    let whole = left + right.dropFirst(continuingPrefix.count)
    func id(_ token: [UInt8]) throws -> Int {
      guard let id = vocabulary.id(of: token[...]) else {
        let text = String(decoding: token, as: UTF8.self)
        throw component.error("merge \(rank) names the token \(quoted(text)), which is not in the vocabulary")
      }
      return id
    }
    let key = Self.key(try id(left), try id(right))
    merges[key] = Merge(rank: Int32(truncatingIfNeeded: rank), id: Int32(truncatingIfNeeded: try id(whole)))
  }

  /// The pairs in the order they were learned.
  var pairs: [(left: Int, right: Int)] {
    merges.sorted { ($0.value.rank, $0.key) < ($1.value.rank, $1.key) }
      .map { (Int($0.key >> 32), Int($0.key & 0xffff_ffff)) }
  }

  func json() -> JSON {
    func optional(_ bytes: [UInt8]) -> JSON { bytes.isEmpty ? .null : .string(String(decoding: bytes, as: UTF8.self)) }
    return .object([
      "type": .string("BPE"), "dropout": .null,
      "unk_token": unknown.flatMap { vocabulary[$0] }.map(JSON.string) ?? .null,
      "continuing_subword_prefix": optional(continuingPrefix), "end_of_word_suffix": optional(endSuffix),
      "fuse_unk": .bool(fusesUnknown), "byte_fallback": .bool(fallsBackToBytes), "ignore_merges": .bool(ignoresMerges),
      "vocab": vocabulary.json(),
      "merges": .array(
        pairs.map { .array([.string(vocabulary[$0.left] ?? ""), .string(vocabulary[$0.right] ?? "")]) }),
    ])
  }
}

extension WordPiece {
  init(_ component: TokenizerComponent) throws {
    let vocabulary = try Vocabulary(component)
    let token = try component.optionalString("unk_token") ?? "[UNK]"
    guard let unknown = vocabulary.id(of: token) else {
      throw component.error("'unk_token' \(quoted(token)) is not in the vocabulary")
    }
    self.init(
      vocabulary: vocabulary, unknown: unknown,
      continuingPrefix: try component.optionalString("continuing_subword_prefix") ?? "##",
      longestWord: try component.count("max_input_chars_per_word", default: 100))
  }

  func json() -> JSON {
    .object([
      "type": .string("WordPiece"), "unk_token": .string(vocabulary[unknown] ?? ""),
      "continuing_subword_prefix": .string(continuingPrefix), "max_input_chars_per_word": .integer(longestWord),
      "vocab": vocabulary.json(),
    ])
  }
}

extension Unigram {
  init(_ component: TokenizerComponent) throws {
    guard let entries = component.json["vocab"]?.array else { throw component.error("needs a list 'vocab'") }
    var tokens: [String] = []
    var scores: [Double] = []
    for (id, entry) in entries.enumerated() {
      guard let pair = entry.array, pair.count == 2, let token = pair[0].string, let score = pair[1].double else {
        throw component.error("entry \(id) of 'vocab' must be a token and its score")
      }
      tokens.append(token)
      scores.append(score)
    }
    guard let unknown = component.json["unk_id"]?.int, tokens.indices.contains(unknown) else {
      throw component.error("'unk_id' must be the id of a token")
    }
    self.init(
      tokens: tokens, scores: scores, unknown: unknown,
      fallsBackToBytes: try component.bool("byte_fallback", default: false))
  }

  func json() -> JSON {
    .object([
      "type": .string("Unigram"), "unk_id": .integer(unknown), "byte_fallback": .bool(fallsBackToBytes),
      "vocab": .array(scores.indices.map { .array([.string(vocabulary[$0] ?? ""), .number(scores[$0])]) }),
    ])
  }
}
