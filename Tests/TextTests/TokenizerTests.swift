import Files
import Testing
import Text

/// Texts with the ids that `tokenizers` 0.23.3 gives for them.
struct TokenizerCase: Sendable, CustomStringConvertible {
  let tokenizer: String
  let json: JSON

  static let families = ["bpe_bytelevel", "bpe_sentencepiece", "wordpiece", "unigram"]

  static let all: [TokenizerCase] = {
    let root = try? JSON.read(TokenizerFixture.folder + "/tokenizers/cases.json")
    return families.flatMap { name in (root?[name]?.array ?? []).map { TokenizerCase(tokenizer: name, json: $0) } }
  }()

  var text: String { json["text"]?.string ?? "" }
  var decoded: String { json["decoded"]?.string ?? "" }
  var decodedWithoutSpecial: String { json["decoded_skip_special"]?.string ?? "" }
  var description: String { "\(tokenizer): \(json["text"]?.text() ?? "")" }

  func ids(_ key: String) -> [Int] { json[key]?.array?.compactMap(\.int) ?? [] }

  func read() throws -> Tokenizer { try Tokenizer.read("\(TokenizerFixture.folder)/tokenizers/\(tokenizer)") }
}

@Suite struct TokenizerTests {
  @Test func `There are 25 cases for each of four families`() {
    #expect(TokenizerCase.all.count == 100)
  }

  @Test(arguments: TokenizerCase.all)
  func `Encoding gives the reference's ids`(_ specimen: TokenizerCase) throws {
    let tokenizer = try specimen.read()
    #expect(tokenizer.encode(specimen.text) == specimen.ids("ids"))
    #expect(tokenizer.encode(specimen.text, addingSpecialTokens: false) == specimen.ids("ids_no_special"))
  }

  @Test(arguments: TokenizerCase.all)
  func `Decoding gives the reference's text`(_ specimen: TokenizerCase) throws {
    let tokenizer = try specimen.read()
    let ids = specimen.ids("ids")
    #expect(Array(tokenizer.decode(ids, skippingSpecialTokens: false).utf8) == Array(specimen.decoded.utf8))
    #expect(Array(tokenizer.decode(ids).utf8) == Array(specimen.decodedWithoutSpecial.utf8))
  }

  @Test(arguments: TokenizerCase.all)
  func `A tokenizer written as a folder and read back gives the same ids`(_ specimen: TokenizerCase) throws {
    let tokenizer = try specimen.read()
    let again = try TokenizerFixture.withFiles(try tokenizer.huggingFaceFiles()) { try Tokenizer.read($0) }
    #expect(again.encode(specimen.text) == specimen.ids("ids"))
    #expect(again.endOfSequence == tokenizer.endOfSequence)
  }

  @Test func `Plain encoding takes special tokens for text`() throws {
    let tokenizer = try Tokenizer.read(TokenizerFixture.folder + "/tokenizers/bpe_bytelevel")
    #expect(tokenizer.encode("<s>") == [0])
    let plain = tokenizer.encodePlain("<s>")
    #expect(plain.allSatisfy { !tokenizer.isSpecial($0) })
    #expect(tokenizer.decode(plain) == "<s>")
  }

  @Test(arguments: ["", " ", "\0\u{1}", "e\u{301} é", "🙂\u{200d}🚀", "a\r\nb", "\u{fffd}", "\u{10ffff}"])
  func `Byte-level tokens give every text back`(_ text: String) throws {
    let tokenizer = try TokenizerFixture.smol.get()
    #expect(Array(tokenizer.decode(tokenizer.encodePlain(text)).utf8) == Array(text.utf8))
  }

  @Test func `The configuration beside a tokenizer names its special tokens`() throws {
    let tokenizer = try Tokenizer.read(TokenizerFixture.folder + "/tokenizers/bpe_bytelevel/tokenizer.json")
    #expect(tokenizer.beginningOfSequence == 0)
    #expect(tokenizer.endOfSequence == 1)
    #expect(tokenizer.padding == 2)
    #expect(tokenizer.unknown == nil)
    #expect(tokenizer.vocabularySize == 320)
    #expect(tokenizer.token(of: 42) == "H")
    #expect(tokenizer.id(of: "H") == 42)
    #expect(tokenizer.token(of: 320) == nil)
    #expect(tokenizer.token(of: -1) == nil)
    #expect(tokenizer.decode([42, 320, -1]) == "H")
  }

  @Test func `The template file goes before the configuration, and 'default' before other templates`() throws {
    let tokens = try TokenizerFixture.text("/tokenizers/bpe_bytelevel/tokenizer.json")
    let config = #"{"chat_template": [{"name": "tools", "template": "T"}, {"name": "default", "template": "D"}]}"#
    var files = ["tokenizer.json": tokens, "tokenizer_config.json": config]
    #expect(try TokenizerFixture.withFiles(files) { try Tokenizer.read($0).chatTemplate } == "D")
    files["chat_template.jinja"] = "J"
    #expect(try TokenizerFixture.withFiles(files) { try Tokenizer.read($0).chatTemplate } == "J")
  }

  @Test func `Tokens that Unicode calls equivalent stay apart`() throws {
    // é as one scalar, and as e with an accent.
    let tokenizer = try TokenizerFixture.cutting(into: ["\u{e9}"])
    #expect(tokenizer.encode("\u{e9}") == [1])
    #expect(tokenizer.encode("e\u{301}") == [0])
    #expect(tokenizer.id(of: "e\u{301}") == nil)
  }
}
