import Files

/// Turns text into token ids and back, as the model's own tokenizer does.
///
/// A text is cut at the added tokens it contains, normalized, cut into words, and each word becomes tokens by byte-pair
/// encoding, WordPiece or a unigram model. Reading a description either gives exactly what the reference implementation
/// (`tokenizers` for `tokenizer.json`, llama.cpp for GGUF) gives, or fails naming what is not supported. Settings for
/// truncation and padding in `tokenizer.json` are not applied; those are for whoever makes batches.
///
///     let tokenizer = try Tokenizer.read("model/tokenizer.json")
///     tokenizer.decode(tokenizer.encode("Hello world"))   // "Hello world"
public struct Tokenizer: Sendable {
  /// The token that begins a sequence, where there is one.
  public internal(set) var beginningOfSequence: Int?

  /// The token that ends a sequence or a turn, where there is one.
  public internal(set) var endOfSequence: Int?

  /// The token that fills up the shorter sequences of a batch, where there is one.
  public internal(set) var padding: Int?

  /// The token for what the vocabulary cannot express, where there is one.
  public internal(set) var unknown: Int?

  /// The token whose place a classifier reads, at the start of a text, where there is one: BERT's `[CLS]`.
  public internal(set) var classification: Int?

  /// The token that ends each text of a pair, where there is one: BERT's `[SEP]`.
  public internal(set) var separator: Int?

  /// The token that hides another, where there is one: BERT's `[MASK]`.
  public internal(set) var mask: Int?

  /// The Jinja source of the model's chat template, where it has one.
  public var chatTemplate: String?

  /// The parts of the description other than the model, as `tokenizer.json` holds them.
  let components: [String: JSON]
  let path: String
  let model: TokenModel
  let added: AddedTokens
  let template: TokenTemplate

  /// The scores of a SentencePiece vocabulary that came from a GGUF file.
  var scores: [Float]?

  private static let mostGrowth = 10_000.0

  private let normalizer: Normalizer?
  private let preTokenizer: PreTokenizer?
  private let decoder: TokenDecoder?

  /// - Throws: `FileError` when a component is not supported, or an added token contradicts the vocabulary.
  init(path: String, components: [String: JSON], model: TokenModel, added tokens: [AddedToken]) throws {
    let root = TokenizerComponent(.object(components), path: path, place: "")
    let normalizer = try root.child("normalizer").map(Normalizer.init)
    let template = try root.child("post_processor").map(TokenTemplate.init) ?? TokenTemplate()
    self.path = path
    self.components = components
    self.model = model
    self.normalizer = normalizer
    self.template = template
    preTokenizer = try root.child("pre_tokenizer").map(PreTokenizer.init)
    decoder = try root.child("decoder").map(TokenDecoder.init)
    // Twenty steps that each double a text make a million of it, so a short file could ask for any amount of memory.
    for (place, growth) in [
      ("normalizer", normalizer?.growth), ("pre_tokenizer", preTokenizer?.growth), ("decoder", decoder?.growth),
    ] where growth ?? 1 > Self.mostGrowth {
      throw FileError(path, at: place, "may make a text more than \(Int(Self.mostGrowth)) times longer")
    }
    added = AddedTokens(tokens, normalizer: normalizer)
    unknown = model.unknown
    for token in tokens {
      let isHeld = model.vocabulary.id(of: token.content).map { $0 == token.id } ?? true
      let isFree = model.vocabulary[token.id].map { $0.isSame(as: token.content) } ?? true
      guard isHeld, isFree else {
        throw FileError(
          path, at: "added_tokens", "token \(quoted(token.content)) with id \(token.id) contradicts the vocabulary")
      }
    }
    for case .special(let ids) in (template.single + template.pair).map(\.content) {
      for id in ids where self.token(of: id) == nil {
        throw FileError(path, at: "post_processor", "id \(id) is no token")
      }
    }
  }

  /// One more than the largest token id.
  public var vocabularySize: Int { max(model.vocabulary.count, (added.tokens.map(\.id).max() ?? -1) + 1) }

  /// The id of a token, written as the vocabulary writes it.
  public func id(of token: String) -> Int? {
    model.vocabulary.id(of: token) ?? added.tokens.first { $0.content.isSame(as: token) }?.id
  }

  /// The token with this id, written as the vocabulary writes it; nothing when there is none.
  public func token(of id: Int) -> String? {
    added[id]?.content ?? model.vocabulary[id]
  }

  /// Whether the token steers the model rather than standing for text.
  public func isSpecial(_ id: Int) -> Bool { added[id]?.isSpecial ?? false }

  /// The token ids of a text.
  ///
  /// Special tokens written out in the text become those tokens. A text that must not be able to do so, such as one from
  /// a stranger, goes through ``encodePlain(_:)``.
  public func encode(_ text: String, addingSpecialTokens: Bool = true) -> [Int] {
    let ids = ids(of: text, skippingSpecial: false)
    return addingSpecialTokens ? template.filled(first: ids).ids : ids
  }

  /// The token ids of a text in which special tokens are text like any other; none are added.
  public func encodePlain(_ text: String) -> [Int] {
    ids(of: text, skippingSpecial: true)
  }

  func ids(of text: String, skippingSpecial: Bool) -> [Int] {
    let scalars = Array(text.unicodeScalars)
    var ids: [Int] = []
    for part in added.parts(of: scalars[...], normalized: false, skippingSpecial: skippingSpecial) {
      switch part {
      case .token(let id): ids.append(id)
      case .text(let slice):
        let normalized = normalizer?.normalized(Array(slice)) ?? Array(slice)
        // Positions in `normalized` start at zero, so whether it begins the text is a question for the slice.
        let beginsText = slice.startIndex == 0
        for part in added.parts(of: normalized[...], normalized: true, skippingSpecial: skippingSpecial) {
          switch part {
          case .token(let id): ids.append(id)
          case .text(let piece):
            encode(TextPiece(text: piece, isFirst: beginsText && piece.startIndex == 0), into: &ids)
          }
        }
      }
    }
    return ids
  }

  private func encode(_ piece: TextPiece, into ids: inout [Int]) {
    for word in preTokenizer?.pieces(of: [piece]) ?? [piece] where !word.text.isEmpty {
      model.encode(word.text, into: &ids)
    }
  }

  /// The text of token ids.
  ///
  /// Bytes that are not UTF-8 become U+FFFD, as when a character's last bytes are missing; to decode ids one by one as
  /// they are made, use ``TokenizerStream``. Ids without a token are left out.
  public func decode(_ ids: [Int], skippingSpecialTokens: Bool = true) -> String {
    let tokens = ids.filter { !(skippingSpecialTokens && isSpecial($0)) }.compactMap(token(of:))
    return decoder?.decoded(tokens).joined() ?? tokens.joined(separator: " ")
  }
}
