import Files
import Testing

@testable import Text

/// What `tokenizers` 0.23.3 makes of hard texts with a WordPiece tokenizer of single characters: see `make.py` there.
struct WordPieceFixture {
  static let folder = TokenizerFixture.folder + "/wordpiece"

  static let root = try? JSON.read(folder + "/cases.json")

  static func read() throws -> Tokenizer { try Tokenizer.read(folder) }

  /// The tokenizer that the vocabulary makes with these settings, or with none.
  static func fromVocabulary(_ settings: String?) throws -> Tokenizer {
    var files = ["vocab.txt": try TokenizerFixture.text("/wordpiece/vocab.txt")]
    files["tokenizer_config.json"] = settings
    return try TokenizerFixture.withFiles(files) { try Tokenizer.read($0) }
  }
}

/// A text with its ids and what they are decoded to.
struct WordPieceCase: Sendable, CustomStringConvertible {
  let json: JSON

  static let all = (WordPieceFixture.root?["texts"]?.array ?? []).map(WordPieceCase.init)

  var text: String { json["text"]?.string ?? "" }
  var description: String { json["text"]?.text() ?? "" }

  func ids(_ key: String) -> [Int] { json[key]?.array?.compactMap(\.int) ?? [] }
}

/// One text or two, with the ids and segments of both in one sequence.
struct PairCase: Sendable, CustomStringConvertible {
  let json: JSON

  static let all = (WordPieceFixture.root?["pairs"]?.array ?? []).map(PairCase.init)

  var description: String { json.text() }

  func holds(for tokenizer: Tokenizer) -> Bool {
    let made = tokenizer.encode(
      json["first"]?.string ?? "", pair: json["second"]?.string, limit: json["limit"]?.int)
    return made.ids == json["ids"]?.array?.compactMap(\.int)
      && made.segments == json["segments"]?.array?.compactMap(\.int)
  }
}

@Suite struct WordPieceTests {
  @Test func `The fixture holds 68 texts and 55 pairs`() {
    #expect(WordPieceCase.all.count == 68)
    #expect(PairCase.all.count == 55)
  }

  @Test(arguments: WordPieceCase.all)
  func `A hard text has the reference's ids and text`(_ specimen: WordPieceCase) throws {
    let tokenizer = try WordPieceFixture.read()
    let ids = specimen.ids("ids")
    #expect(tokenizer.encode(specimen.text) == ids)
    let decoded = tokenizer.decode(ids, skippingSpecialTokens: false)
    #expect(decoded.isSame(as: specimen.json["decoded"]?.string ?? ""))
    #expect(tokenizer.decode(ids).isSame(as: specimen.json["decoded_skip_special"]?.string ?? ""))
  }

  @Test(arguments: WordPieceCase.all)
  func `A vocabulary alone makes the same tokenizer, and settings a cased one`(_ specimen: WordPieceCase) throws {
    let plain = try WordPieceFixture.fromVocabulary(nil)
    #expect(plain.encode(specimen.text) == specimen.ids("ids"))
    #expect(plain.decode(specimen.ids("ids")).isSame(as: specimen.json["decoded_skip_special"]?.string ?? ""))
    let cased = try WordPieceFixture.fromVocabulary(#"{"do_lower_case": false, "tokenizer_class": "BertTokenizer"}"#)
    #expect(cased.encode(specimen.text) == specimen.ids("cased_ids"))
  }

  @Test(arguments: WordPieceCase.all)
  func `The texts of a stream are the text of all its tokens`(_ specimen: WordPieceCase) throws {
    let tokenizer = try WordPieceFixture.read()
    for skips in [true, false] {
      var stream = TokenizerStream(tokenizer, skippingSpecialTokens: skips)
      var joined = ""
      for id in specimen.ids("ids") { joined += stream.text(for: id) }
      joined += stream.finish()
      #expect(joined.isSame(as: tokenizer.decode(specimen.ids("ids"), skippingSpecialTokens: skips)))
    }
  }

  @Test(arguments: PairCase.all)
  func `One text or two, cut to a limit, have the reference's ids and segments`(_ specimen: PairCase) throws {
    #expect(specimen.holds(for: try WordPieceFixture.read()))
    #expect(specimen.holds(for: try WordPieceFixture.fromVocabulary(nil)))
  }

  @Test(arguments: WordPieceFixture.root?["post_processors"]?.array ?? [])
  func `Every arrangement gives the reference's segments`(_ arrangement: JSON) throws {
    var root = try #require(try JSON.read(WordPieceFixture.folder + "/tokenizer.json").object)
    root["post_processor"] = arrangement["post_processor"]
    let tokenizer = try TokenizerFixture.withFiles(["tokenizer.json": JSON.object(root).text()]) {
      try Tokenizer.read($0)
    }
    for key in ["single", "pair", "cut"] {
      #expect(PairCase(json: try #require(arrangement[key])).holds(for: tokenizer), "\(key)")
    }
  }

  @Test func `A limit below the special tokens gives those alone`() throws {
    let tokenizer = try WordPieceFixture.read()
    #expect(tokenizer.specialTokenCount(pair: false) == 2)
    #expect(tokenizer.specialTokenCount(pair: true) == 3)
    let (ids, segments) = tokenizer.encode("a b", pair: "c", limit: 0)
    #expect(ids.map { tokenizer.token(of: $0) } == ["[CLS]", "[SEP]", "[SEP]"])
    #expect(segments == [0, 0, 1])
  }

  @Test func `Of two texts the longer is cut first, and all of the room is used`() {
    for first in 0...9 {
      for second in 0...9 {
        for room in 0...20 {
          let kept = Tokenizer.longestFirst(first, second, room: room)
          #expect(kept.first + kept.second == min(first + second, room))
          #expect((0...first).contains(kept.first) && (0...second).contains(kept.second))
          // A text that was cut is not left shorter than the other by more than the odd token.
          if kept.first < first { #expect(kept.first >= kept.second - 1) }
          if kept.second < second { #expect(kept.second >= kept.first - 1) }
        }
      }
    }
  }

  @Test func `The special tokens have names, and keep them in every form`() throws {
    let tokenizer = try WordPieceFixture.read()
    let folder = try TokenizerFixture.withFiles(try tokenizer.huggingFaceFiles()) { try Tokenizer.read($0) }
    let gguf = try TokenizerGGUFTests().throughGGUF(tokenizer)
    for form in [tokenizer, folder, gguf, try WordPieceFixture.fromVocabulary(nil)] {
      let named = [form.padding, form.unknown, form.classification, form.separator, form.mask]
      #expect(named.map { $0.flatMap(form.token(of:)) } == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    }
  }

  @Test func `A word of 200,000 characters is cut as fast as it is read`() throws {
    var root = try #require(try JSON.read(WordPieceFixture.folder + "/tokenizer.json").object)
    var model = try #require(root["model"]?.object)
    let word = String(repeating: "ab", count: 100_000)
    let (usual, long) = try TokenizerFixture.withFiles(["tokenizer.json": JSON.object(root).text()]) { folder in
      let usual = try Tokenizer.read(folder)
      model["max_input_chars_per_word"] = .integer(1 << 22)
      root["model"] = .object(model)
      try AtomicFile.write(JSON.object(root).text(), to: folder + "/tokenizer.json")
      return (usual, try Tokenizer.read(folder))
    }
    #expect(usual.encode(word, addingSpecialTokens: false) == [11])
    let ids = long.encode(word, addingSpecialTokens: false)
    #expect(ids.count == 200_000)
    #expect(long.decode(ids) == word)
  }

  /// Files of a folder without a `tokenizer.json`, and the message after the folder.
  static let refused: [(String, String?, String)] = [
    (
      "a\n[CLS]\n[SEP]\n", nil,
      "vocab.txt: has no token '[UNK]'; name the token for unknown words in FOLDER/tokenizer_config.json under 'unk_token'"
    ),
    (
      "[UNK]\n[CLS]\n[SEP]\n", #"{"sep_token": "</s>"}"#,
      "vocab.txt: has no token '</s>'; name the token that ends a text in FOLDER/tokenizer_config.json under 'sep_token'"
    ),
    (
      "[UNK]\n[CLS]\n[SEP]\n", #"{"mask_token": {"content": "<m>"}}"#,
      "tokenizer_config.json: mask_token: token '<m>' is not in the vocabulary"
    ),
    (
      "[UNK]\n", #"{"tokenizer_class": "BertJapaneseTokenizer"}"#,
      "tokenizer_config.json: 'tokenizer_class' 'BertJapaneseTokenizer' is not supported beside a vocab.txt; "
        + "save the model with a tokenizer.json"
    ),
    (
      "[UNK]\n", #"{"do_basic_tokenize": false}"#,
      "tokenizer_config.json: 'do_basic_tokenize' false is not supported; save the model with a tokenizer.json"
    ),
    (
      "[UNK]\n", #"{"never_split": ["a"]}"#,
      "tokenizer_config.json: 'never_split' is not supported; save the model with a tokenizer.json"
    ),
    (
      "[UNK]\n[CLS]\n[SEP]\n", #"{"do_lower_case": "yes"}"#,
      "tokenizer_config.json: 'do_lower_case' must be true or false"
    ),
    (
      "[UNK]\n[CLS]\n[SEP]\n", #"{"strip_accents": 1}"#,
      "tokenizer_config.json: 'strip_accents' must be true or false"
    ),
    (
      "[UNK]\n[CLS]\n[SEP]\n", #"{"added_tokens_decoder": {"x": {"content": "a"}}}"#,
      "tokenizer_config.json: added_tokens_decoder.x: must be a token under its id"
    ),
    (
      "[UNK]\n[CLS]\n[SEP]\n", #"{"added_tokens_decoder": {"0": {"content": "a"}}}"#,
      "vocab.txt: added_tokens: token 'a' with id 0 contradicts the vocabulary"
    ),
    (
      "", nil,
      "vocab.txt: has no token '[UNK]'; name the token for unknown words in FOLDER/tokenizer_config.json under 'unk_token'"
    ),
    ("[UNK]\n", "[]", "tokenizer_config.json: must be a JSON object"),
  ]

  @Test(arguments: refused)
  func `A vocabulary that makes no tokenizer is refused`(
    _ vocabulary: String, _ settings: String?, _ message: String
  ) throws {
    var files = ["vocab.txt": vocabulary]
    files["tokenizer_config.json"] = settings
    try TokenizerFixture.withFiles(files) { folder in
      let error = #expect(throws: FileError.self) { try Tokenizer.read(folder) }
      #expect(error?.description == folder + "/" + message.replacing("FOLDER", with: folder))
    }
  }

  @Test func `Files beside a vocabulary that would change it are refused`() throws {
    let files = ["vocab.txt": "[UNK]\n", "added_tokens.json": "{}"]
    let error = try TokenizerFixture.withFiles(files) { folder in
      #expect(throws: FileError.self) { try Tokenizer.read(folder) }
    }
    #expect(error?.problem == "is not supported beside a vocab.txt")
  }

  @Test func `A vocabulary may end its lines either way and name its tokens as it likes`() throws {
    let settings = """
      {"unk_token": "<u>", "cls_token": {"content": "<c>"}, "sep_token": "<s>",
       "mask_token": {"content": "<m>", "lstrip": true},
       "added_tokens_decoder": {"6": {"content": "new", "single_word": true}}}
      """
    let files = ["vocab.txt": "<u>\r\n<c>\r\n<s>\r\n<m>\r\na\r\n##b", "tokenizer_config.json": settings]
    let tokenizer = try TokenizerFixture.withFiles(files) { try Tokenizer.read($0 + "/vocab.txt") }
    #expect(tokenizer.encode("ab new a  <m> x") == [1, 4, 5, 6, 4, 3, 0, 2])
    #expect(tokenizer.padding == nil)
    #expect(tokenizer.vocabularySize == 7)
  }
}
