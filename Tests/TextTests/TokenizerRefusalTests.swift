import Files
import Testing
import Text

@Suite struct TokenizerRefusalTests {
  /// A key of `tokenizer.json`, its value and the message after the path.
  @Test(arguments: [
    (
      "normalizer", #"{"type":"Precompiled"}"#,
      "normalizer: 'Precompiled' is not supported; use a tokenizer without it"
    ),
    (
      "normalizer", #"{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Nmt"}]}"#,
      "normalizer.normalizers[1]: 'Nmt' is not supported; use a tokenizer without it"
    ),
    (
      "pre_tokenizer", #"{"type":"UnicodeScripts"}"#,
      "pre_tokenizer: 'UnicodeScripts' is not supported; use a tokenizer without it"
    ),
    (
      "post_processor", #"{"type":"Other"}"#, "post_processor: 'Other' is not supported; use a tokenizer without it"
    ),
    ("decoder", #"{"type":"CTC"}"#, "decoder: 'CTC' is not supported; use a tokenizer without it"),
    ("model", #"{"type":"WordLevel"}"#, "model: 'WordLevel' is not supported; use a tokenizer without it"),
    ("normalizer", "{}", "normalizer: needs a 'type'"),
    (
      "pre_tokenizer", #"{"type":"Split","pattern":{"Regex":"a(?<=b)"},"behavior":"Isolated"}"#,
      "pre_tokenizer.pattern: a group that begins '(?' at character 3 of the regular expression is not supported"
    ),
    (
      "pre_tokenizer", #"{"type":"Split","pattern":{"Regex":"\\p{Han}"},"behavior":"Isolated"}"#,
      "pre_tokenizer.pattern: '\\p{Han}' at character 4 of the regular expression is not supported"
    ),
    (
      "pre_tokenizer", #"{"type":"Split","pattern":{"Regex":"((a{1000}){1000}){9}"},"behavior":"Isolated"}"#,
      "pre_tokenizer.pattern: the regular expression is too large"
    ),
    (
      "pre_tokenizer", #"{"type":"Split","pattern":{"Regex":"a++"},"behavior":"Isolated"}"#,
      "pre_tokenizer.pattern: a quantifier after a quantifier at character 3 of the regular expression is not supported"
    ),
    (
      "normalizer",
      #"{"type":"Sequence","normalizers":["#
        + Array(repeating: #"{"type":"Replace","pattern":{"String":"a"},"content":"aa"}"#, count: 14)
        .joined(separator: ",") + "]}", "normalizer: may make a text more than 10000 times longer"
    ),
    (
      "pre_tokenizer",
      #"{"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"ByteLevel"},{"type":"ByteLevel"},"#
        + #"{"type":"ByteLevel"},{"type":"ByteLevel"}]}"#,
      "pre_tokenizer: may make a text more than 10000 times longer"
    ),
    (
      "decoder",
      "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"\(String(repeating: "b", count: 10_001))\"}",
      "decoder: may make a text more than 10000 times longer"
    ),
    (
      "pre_tokenizer", #"{"type":"Split","pattern":{"String":"a"},"behavior":"Odd"}"#,
      "pre_tokenizer: unknown behavior 'Odd'"
    ),
    (
      "added_tokens", #"[{"id":7,"content":"a"}]"#, "added_tokens: token 'a' with id 7 contradicts the vocabulary"
    ),
    ("post_processor", #"{"type":"BertProcessing","sep":["x",9],"cls":["a",0]}"#, "post_processor: id 9 is no token"),
    (
      "model", #"{"type":"BPE","vocab":{"a":0},"merges":["a b"]}"#,
      "model: merge 0 names the token 'b', which is not in the vocabulary"
    ),
    (
      "model", #"{"type":"BPE","vocab":{"a":0},"merges":["a"]}"#,
      "model: merge 0 must be two tokens with a space between"
    ),
    (
      "model", #"{"type":"BPE","vocab":{"a":0,"b":0},"merges":[]}"#, "model: tokens 'a' and 'b' both have id 0"
    ),
    (
      "model", #"{"type":"BPE","vocab":{"a":-1},"merges":[]}"#,
      "model: the id of token 'a' must be a whole number below 4194304"
    ),
    (
      "model", #"{"type":"BPE","vocab":{},"merges":[],"dropout":0.1}"#,
      "model: 'dropout' makes encoding random, which is not supported; set it to null"
    ),
    ("model", #"{"type":"Unigram","vocab":[["a",0.0]],"unk_id":null}"#, "model: 'unk_id' must be the id of a token"),
  ])
  func `What cannot be done exactly is refused by name`(_ key: String, _ part: String, _ message: String) throws {
    try requireRefusal(key, part, message)
  }

  /// The same, of what BERT's tokenizers are made of.
  static let bert: [(String, String, String)] = [
    ("model", "null", "needs a 'model'"),
    ("added_tokens", "7", "needs a list 'added_tokens'"),
    ("added_tokens", #"[{"content":"a"}]"#, "added_tokens[0]: 'id' must be a whole number from 0 to 4194304"),
    ("model", #"{"type":"WordPiece","vocab":["a"]}"#, "model: needs an object 'vocab'"),
    ("model", #"{"type":"WordPiece","vocab":{"a":0}}"#, "model: 'unk_token' '[UNK]' is not in the vocabulary"),
    ("model", #"{"type":"WordPiece","vocab":{"a":0},"unk_token":0}"#, "model: 'unk_token' must be a string"),
    (
      "model", #"{"type":"WordPiece","vocab":{"a":0},"unk_token":"a","continuing_subword_prefix":1}"#,
      "model: 'continuing_subword_prefix' must be a string"
    ),
    (
      "model", #"{"type":"WordPiece","vocab":{"a":0},"unk_token":"a","max_input_chars_per_word":-1}"#,
      "model: 'max_input_chars_per_word' must be a whole number from 0 to 4194304"
    ),
    (
      "model", #"{"type":"WordPiece","vocab":{"a":4194304},"unk_token":"a"}"#,
      "model: the id of token 'a' must be a whole number below 4194304"
    ),
    (
      "normalizer", #"{"type":"BertNormalizer","lowercase":"no"}"#, "normalizer: 'lowercase' must be true or false"
    ),
    ("decoder", #"{"type":"WordPiece","prefix":null}"#, "decoder: needs a string 'prefix'"),
    ("decoder", ###"{"type":"WordPiece","prefix":"##","cleanup":1}"###, "decoder: 'cleanup' must be true or false"),
    (
      "post_processor", #"{"type":"BertProcessing","sep":["b"],"cls":["a",0]}"#,
      "post_processor: 'sep' must be a token and its id"
    ),
    (
      "post_processor", #"{"type":"TemplateProcessing","single":[{"Sequence":{"id":"C"}}],"pair":[]}"#,
      "post_processor.single[0]: must be a 'SpecialToken' or the 'Sequence' 'A' or 'B'"
    ),
    (
      "post_processor", #"{"type":"TemplateProcessing","single":[{"Sequence":{"id":"A","type_id":-1}}],"pair":[]}"#,
      "post_processor.single[0].Sequence: 'type_id' must be a whole number from 0 to 65536"
    ),
    (
      "post_processor", #"{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"[CLS]"}}],"pair":[]}"#,
      "post_processor.single[0]: special token '[CLS]' has no ids under 'special_tokens'"
    ),
  ]

  @Test(arguments: bert)
  func `What no WordPiece tokenizer can be made of is refused by key`(
    _ key: String, _ part: String, _ message: String
  ) throws {
    try requireRefusal(key, part, message)
  }

  private func requireRefusal(_ key: String, _ part: String, _ message: String) throws {
    let description = try TokenizerFixture.description(key, try JSON(parsing: part))
    let error = #expect(throws: FileError.self) {
      try TokenizerFixture.withFiles(["tokenizer.json": description]) { try Tokenizer.read($0) }
    }
    let text = try #require(error).description
    // Objects have no order, so of two tokens with one id either may be named first.
    let swapped = message.replacing("'a' and 'b'", with: "'b' and 'a'")
    #expect(text.hasSuffix("tokenizer.json: " + message) || text.hasSuffix("tokenizer.json: " + swapped), "\(text)")
  }

  @Test func `A configuration that names a token the vocabulary lacks is refused`() throws {
    let files = [
      "tokenizer.json": try TokenizerFixture.description("version", .string("1.0")),
      "tokenizer_config.json": #"{"eos_token": {"content": "</s>"}}"#,
    ]
    let error = #expect(throws: FileError.self) {
      try TokenizerFixture.withFiles(files) { try Tokenizer.read($0) }
    }
    #expect(error?.place == "eos_token")
    #expect(error?.problem == "token '</s>' is not in the vocabulary")
  }
}
