import Files
import Testing
import Text

@Suite struct TokenizerGGUFTests {
  /// 27 texts with llama.cpp's ids for SmolLM2-135M-Instruct.
  static let cases = (try? JSON.read(TokenizerFixture.folder + "/smollm2/tokenizer_cases.json"))?["cases"]?.array ?? []

  @Test func `Every text has llama.cpp's ids and comes back`() throws {
    let tokenizer = try TokenizerFixture.smol.get()
    #expect(Self.cases.count == 27)
    for specimen in Self.cases {
      let text = try #require(specimen["text"]?.string)
      let ids = try #require(specimen["llama_cpp"]?.array).compactMap(\.int)
      #expect(tokenizer.encode(text) == ids)
      #expect(tokenizer.decode(ids, skippingSpecialTokens: false) == specimen["decoded"]?.string)
    }
  }

  @Test func `The GPL has llama.cpp's 7639 ids and comes back`() throws {
    let tokenizer = try TokenizerFixture.smol.get()
    let text = try TokenizerFixture.text("/smollm2/gpl-3.txt")
    let expected = try JSON.read(TokenizerFixture.folder + "/smollm2/gpl3_tokens.json").array?.compactMap(\.int)
    let ids = tokenizer.encode(text)
    #expect(ids.count == 7639)
    #expect(ids == expected)
    #expect(tokenizer.decode(ids) == text)
  }

  @Test func `Special tokens, their ids and the chat template come from the metadata`() throws {
    let tokenizer = try TokenizerFixture.smol.get()
    #expect(tokenizer.vocabularySize == 49152)
    #expect(tokenizer.beginningOfSequence == 1)
    #expect(tokenizer.endOfSequence == 2)
    #expect(tokenizer.padding == 2)
    #expect(tokenizer.unknown == 0)
    #expect(tokenizer.isSpecial(1))
    #expect(!tokenizer.isSpecial(19556))
    #expect(tokenizer.chatTemplate?.hasPrefix("{% for message in messages %}") == true)
    #expect(tokenizer.encodePlain("<|im_end|>").contains(2) == false)
  }

  @Test func `The folder written for a GGUF tokenizer gives the same ids`() throws {
    let tokenizer = try TokenizerFixture.smol.get()
    let again = try TokenizerFixture.withFiles(try tokenizer.huggingFaceFiles()) { try Tokenizer.read($0) }
    for specimen in Self.cases {
      let text = try #require(specimen["text"]?.string)
      #expect(again.encode(text) == tokenizer.encode(text))
    }
    #expect(again.chatTemplate == tokenizer.chatTemplate)
    #expect(again.endOfSequence == tokenizer.endOfSequence)
  }

  /// Writes a tokenizer into a GGUF file and reads it back.
  func throughGGUF(
    _ tokenizer: Tokenizer, rows: Int? = nil, _ change: (String, GGUFValue) -> GGUFValue? = { $1 }
  ) throws -> Tokenizer {
    let metadata = try tokenizer.ggufMetadata(rows: rows).compactMap { key, value in
      change(key, value).map { (key, $0) }
    }
    return try TokenizerFixture.withFiles([:]) { folder in
      try GGUF.write(metadata: metadata, tensors: [], to: folder + "/tokenizer.gguf")
      return try Tokenizer(gguf: try GGUF(folder + "/tokenizer.gguf"))
    }
  }

  @Test func `A tokenizer written as metadata and read back gives the same ids`() throws {
    let smol = try TokenizerFixture.smol.get()
    let smolAgain = try throughGGUF(smol)
    #expect(smolAgain.chatTemplate == smol.chatTemplate)
    #expect(smolAgain.padding == smol.padding)
    for name in ["bpe_bytelevel", "wordpiece"] {
      let tokenizer = try Tokenizer.read("\(TokenizerFixture.folder)/tokenizers/\(name)")
      let again = try throughGGUF(tokenizer)
      for specimen in TokenizerCase.all where specimen.tokenizer == name {
        #expect(again.encode(specimen.text) == specimen.ids("ids"))
        #expect(again.decode(specimen.ids("ids")) == specimen.decodedWithoutSpecial)
        #expect(smolAgain.encode(specimen.text) == smol.encode(specimen.text))
      }
    }
  }

  @Test func `Rows of the embedding beyond the vocabulary become unused tokens`() throws {
    let tokenizer = try Tokenizer.read(TokenizerFixture.folder + "/tokenizers/bpe_bytelevel")
    let again = try throughGGUF(tokenizer, rows: 324)
    #expect(again.vocabularySize == 324)
    #expect(again.token(of: 323) == "[PAD323]")
    #expect(again.encode("Hello [PAD323]") == tokenizer.encode("Hello [PAD323]"))
  }

  /// The tokens of a SentencePiece vocabulary: pieces with scores, and one token for each byte.
  static func sentencePiece() -> [(String, GGUFValue)] {
    let bytes = (0..<256).map { byte in
      let digits = String(byte, radix: 16, uppercase: true)
      return "<0x\(digits.count == 1 ? "0" : "")\(digits)>"
    }
    let pieces: [(String, Float)] = [
      ("▁", -9), ("a", -9), ("b", -9), ("c", -9), ("ab", -2), ("bc", -1), ("▁a", -3), ("abc", -4),
    ]
    let tokens = ["<unk>", "<s>", "</s>"] + bytes + pieces.map(\.0)
    let kinds = [2, 3, 3] + bytes.map { _ in 6 } + pieces.map { _ in 1 }
    let scores = Array(repeating: Float(0), count: 259) + pieces.map(\.1)
    return [
      ("tokenizer.ggml.model", .string("llama")), ("tokenizer.ggml.tokens", .array(GGUFArray(tokens))),
      ("tokenizer.ggml.token_type", .array(GGUFArray(kinds.map(Int32.init)))),
      ("tokenizer.ggml.scores", .array(GGUFArray(scores))), ("tokenizer.ggml.bos_token_id", .uint32(1)),
      ("tokenizer.ggml.eos_token_id", .uint32(2)), ("tokenizer.ggml.unknown_token_id", .uint32(0)),
    ]
  }

  @Test func `SentencePiece joins the pair of the highest score, and spells unknown characters in bytes`() throws {
    try TokenizerFixture.withFiles([:]) { folder in
      let path = folder + "/tokenizer.gguf"
      try GGUF.write(metadata: Self.sentencePiece(), tensors: [], to: path)
      let tokenizer = try Tokenizer(gguf: try GGUF(path))
      func tokens(_ text: String) -> [String] { tokenizer.encode(text).compactMap { tokenizer.token(of: $0) } }
      // First b + c at −1; then ▁ + a at −3 goes before a + bc at −4, and 'abc' is out of reach.
      #expect(tokens("abc") == ["<s>", "▁a", "bc"])
      #expect(tokens("babc") == ["<s>", "▁", "b", "abc"])
      #expect(tokens("ab a") == ["<s>", "▁", "ab", "▁a"])
      #expect(tokens("aé") == ["<s>", "▁a", "<0xC3>", "<0xA9>"])
      #expect(tokens("</s>a") == ["<s>", "</s>", "▁a"])
      #expect(tokenizer.decode(tokenizer.encode("aé b")) == "aé b")
      // Scores are kept, so the file can be written again.
      let again = try throughGGUF(tokenizer)
      #expect(again.encode("ab abc é") == tokenizer.encode("ab abc é"))
      let folder = try TokenizerFixture.withFiles(try tokenizer.huggingFaceFiles()) { try Tokenizer.read($0) }
      #expect(folder.encode("ab abc é") == tokenizer.encode("ab abc é"))
      // A folder has merges for scores; they are found again.
      #expect(try throughGGUF(folder).encode("ab abc é") == tokenizer.encode("ab abc é"))
    }
  }

  @Test(arguments: [
    (
      "tokenizer.ggml.pre", "deepseek-llm",
      "key 'tokenizer.ggml.pre': pre-tokenizer 'deepseek-llm' is not supported; "
        + "use a model with one of gpt-2, smollm, llama-bpe, qwen2, default"
    ),
    (
      "tokenizer.ggml.model", "t5",
      "key 'tokenizer.ggml.model': tokenizer 't5' is not supported; use a model with 'gpt2', 'llama' or 'bert'"
    ),
  ])
  func `Tokenizers that llama.cpp knows and this does not are refused by name`(
    _ key: String, _ value: String, _ message: String
  ) throws {
    let tokenizer = try Tokenizer.read(TokenizerFixture.folder + "/tokenizers/bpe_bytelevel")
    let error = #expect(throws: FileError.self) {
      try throughGGUF(tokenizer) { $0 == key ? .string(value) : $1 }
    }
    #expect(error?.description.hasSuffix("tokenizer.gguf: " + message) == true)
  }

  @Test(arguments: [
    ("tokens", "has no key 'tokenizer.ggml.tokens', so there is no tokenizer in it"),
    ("merges", "has no key 'tokenizer.ggml.merges', which byte-pair encoding needs"),
    ("model", "has no key 'tokenizer.ggml.model'"),
  ])
  func `A missing key is named`(_ key: String, _ problem: String) throws {
    let tokenizer = try Tokenizer.read(TokenizerFixture.folder + "/tokenizers/bpe_bytelevel")
    let error = #expect(throws: FileError.self) {
      try throughGGUF(tokenizer) { $0 == "tokenizer.ggml.\(key)" ? nil : $1 }
    }
    #expect(error?.problem == problem)
  }

  @Test func `An id beyond the vocabulary is refused`() throws {
    let tokenizer = try Tokenizer.read(TokenizerFixture.folder + "/tokenizers/bpe_bytelevel")
    let error = #expect(throws: FileError.self) {
      try throughGGUF(tokenizer) { $0 == "tokenizer.ggml.eos_token_id" ? .uint32(320) : $1 }
    }
    #expect(error?.problem == "must be the id of one of 320 tokens")
  }

  @Test(arguments: [
    ("unigram", "a GGUF file cannot describe a unigram model"),
    ("bpe_sentencepiece", "a GGUF file cannot describe merges that do not follow from scores"),
  ])
  func `What GGUF has no words for is not written`(_ name: String, _ problem: String) throws {
    let tokenizer = try Tokenizer.read("\(TokenizerFixture.folder)/tokenizers/\(name)")
    let error = #expect(throws: FileError.self) { try tokenizer.ggufMetadata() }
    #expect(error?.problem == problem)
  }
}
