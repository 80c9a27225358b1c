import Files
import Testing
import Text

/// A pre-tokenizer, a text and the pieces that `tokenizers` 0.23.3 cuts it into.
struct WordCase: Sendable, CustomStringConvertible {
  let component: String
  let text: String
  let words: [String]

  init(_ component: String, _ text: String, _ words: [String]) {
    self.component = component
    self.text = text
    self.words = words
  }

  var description: String { component }

  /// A split that keeps every piece.
  static func split(_ pattern: String, _ text: String, _ words: [String]) -> WordCase {
    let json: JSON = .object([
      "type": .string("Split"), "pattern": .object(["Regex": .string(pattern)]), "behavior": .string("Isolated"),
    ])
    return WordCase(json.text(), text, words)
  }

  static let rest = #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
  static let llama = #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"# + rest
  static let tekken =
    #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"#
    + #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"#
    + #"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"#

  static let all = [
    WordCase.split(
      #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#, "don't  x1.2\n\n y  ",
      ["don", "'t", " ", " x", "1", ".", "2", "\n\n", " y", "  "]),
    .split(
      llama, "WE'LL pay $12345.67!\r\n\n  né (ok)",
      ["WE", "'LL", " pay", " $", "123", "45", ".", "67", "!\r\n\n", " ", " né", " (", "ok", ")"]),
    .split(
      tekken, "camelCase HTTPServer //x\n 42",
      ["camel", "Case", " HTTPServer", " //", "x", "\n", " ", "4", "2"]),
    .split(#"[a-z]{2,4}?|\d{2,}|(?:ab|a)(?:c|bc)?"#, "abcdefA1234 9a", ["ab", "cd", "ef", "A", "1234", " 9", "a"]),
    .split(#"\w+|[^\w\s]+"#, "a½b c_d —½", ["a½b", " ", "c_d", " ", "—½"]),
    WordCase(
      #"{"type":"Split","pattern":{"String":"-"},"behavior":"Removed","invert":false}"#, "a--b-c-", ["a", "b", "c"]),
    WordCase(
      #"{"type":"Split","pattern":{"Regex":"[a-z]+"},"behavior":"Removed","invert":true}"#, "ab-cd", ["ab", "cd"]),
    WordCase(
      #"{"type":"Split","pattern":{"String":"-"},"behavior":"Isolated"}"#, "a--b-c-",
      ["a", "-", "-", "b", "-", "c", "-"]),
    WordCase(
      #"{"type":"Split","pattern":{"String":"-"},"behavior":"MergedWithPrevious"}"#, "a--b-c-",
      ["a-", "-", "b-", "c-"]),
    WordCase(
      #"{"type":"Split","pattern":{"String":"-"},"behavior":"MergedWithNext"}"#, "a--b-c-",
      ["a", "-", "-b", "-c", "-"]),
    WordCase(
      #"{"type":"Split","pattern":{"String":"-"},"behavior":"Contiguous"}"#, "a--b-c-",
      ["a", "--", "b", "-", "c", "-"]),
    WordCase(#"{"type":"Digits","individual_digits":true}"#, "a12b", ["a", "1", "2", "b"]),
    WordCase(#"{"type":"Digits","individual_digits":false}"#, "a12b½", ["a", "12", "b", "½"]),
    WordCase(#"{"type":"Whitespace"}"#, "Hey, you_2!? ok", ["Hey", ",", "you_2", "!?", "ok"]),
    WordCase(#"{"type":"WhitespaceSplit"}"#, " a\u{3000}b\u{a0}c ", ["a", "b", "c"]),
    WordCase(#"{"type":"Punctuation"}"#, "a,b$c—d", ["a", ",", "b", "$", "c", "—", "d"]),
    WordCase(#"{"type":"BertPreTokenizer"}"#, "don't stop!! ok", ["don", "'", "t", "stop", "!", "!", "ok"]),
    WordCase(
      #"{"type":"Metaspace","replacement":"▁","prepend_scheme":"always"}"#, " a  b c", ["▁a", "▁", "▁b", "▁c"]),
    WordCase(#"{"type":"Metaspace","replacement":"▁","prepend_scheme":"never"}"#, "a b", ["a", "▁b"]),
    WordCase(#"{"type":"Metaspace","replacement":"▁","add_prefix_space":true,"split":false}"#, "a b", ["▁a▁b"]),
    WordCase(#"{"type":"ByteLevel","add_prefix_space":true}"#, "é it's 1", ["ĠÃ©", "Ġit", "'s", "Ġ1"]),
    WordCase(#"{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}"#, "a\nb ", ["aĊbĠ"]),
    WordCase(
      #"{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},"#
        + #"{"type":"ByteLevel","add_prefix_space":false}]}"#,
      "x 10 y", ["x", "Ġ", "1", "0", "Ġy"]),
  ]
}

@Suite struct TokenizerWordsTests {
  @Test(arguments: WordCase.all)
  func `Text is cut where the reference cuts it`(_ specimen: WordCase) throws {
    let tokenizer = try TokenizerFixture.cutting(
      into: specimen.words, preTokenizer: try JSON(parsing: specimen.component))
    #expect(tokenizer.encode(specimen.text).map { tokenizer.token(of: $0) } == specimen.words)
  }

  @Test func `No expression takes exponential time`() throws {
    let text = String(repeating: "a", count: 20_000)
    let specimen = WordCase.split(#"(?:a*)*b|(?:a|a)*c|a"#, text, ["a"])
    let tokenizer = try TokenizerFixture.cutting(
      into: specimen.words, preTokenizer: try JSON(parsing: specimen.component))
    // Each attempt reads to the end, so this is quadratic; a backtracking engine would not end.
    #expect(tokenizer.encode(String(text.prefix(1000))).count == 1000)
  }

  /// A normalizer, a text and what it becomes.
  @Test(arguments: [
    (#"{"type":"NFC"}"#, "e\u{301}", "\u{e9}"),
    (#"{"type":"NFD"}"#, "\u{e9}한", "e\u{301}\u{1112}\u{1161}\u{11ab}"),
    (#"{"type":"NFKC"}"#, "ﬁ②ａ\u{301}™", "fi2\u{e1}TM"),
    (#"{"type":"NFKD"}"#, "½\u{e9}㌀", "1⁄2e\u{301}アハ\u{309a}ート"),
    (#"{"type":"Lowercase"}"#, "ÀΣİ", "àσi\u{307}"),
    (#"{"type":"Sequence","normalizers":[{"type":"NFD"},{"type":"StripAccents"}]}"#, "Éñ", "En"),
    // U+0F73 counts as the start of a character, its parts do not.
    (#"{"type":"NFD"}"#, "a\u{301}\u{f73}\u{323}", "a\u{f71}\u{f72}\u{323}\u{301}"),
    // Since Unicode 10: a mark that would come after the other, and two vowel signs that would be one.
    (#"{"type":"NFD"}"#, "e\u{1df6}\u{31b}\u{11938}", "e\u{1df6}\u{31b}\u{11938}"),
    (#"{"type":"NFC"}"#, "\u{11935}\u{11930}e\u{301}", "\u{11935}\u{11930}\u{e9}"),
    (#"{"type":"StripAccents"}"#, "a\u{301}\u{1cf2}\u{111c9}", "a\u{111c9}"),
    (#"{"type":"Strip","strip_left":true,"strip_right":true}"#, " a b\n", "a b"),
    (#"{"type":"Strip","strip_left":false,"strip_right":true}"#, " a ", " a"),
    (#"{"type":"Prepend","prepend":"▁"}"#, "a", "▁a"),
    (#"{"type":"Replace","pattern":{"String":"''"},"content":"\""}"#, "''a'''", "\"a\"'"),
    (#"{"type":"Replace","pattern":{"Regex":" {2,}"},"content":" "}"#, "a   b c", "a b c"),
    (#"{"type":"BertNormalizer"}"#, "Á\tb\u{0}\u{200b}c", "a bc"),
    (#"{"type":"BertNormalizer","lowercase":false}"#, "Á東", "Á 東 "),
  ])
  func `Text is normalized as the reference does`(_ component: String, _ text: String, _ expected: String) throws {
    let tokenizer = try TokenizerFixture.cutting(into: [expected], normalizer: try JSON(parsing: component))
    #expect(tokenizer.encode(text) == [1])
  }

  /// Properties of the added token `TOK`, a text and the pieces around it.
  @Test(arguments: [
    (#""normalized":false"#, "a TOK b", ["a ", "TOK", " b"]),
    (#""normalized":false,"lstrip":true"#, "a  TOK b", ["a", "TOK", " b"]),
    (#""normalized":false,"rstrip":true"#, "a TOK \nb", ["a ", "TOK", "b"]),
    (#""normalized":false,"single_word":true"#, "aTOK TOK.", ["atok ", "TOK", "."]),
    (#""normalized":false"#, "tok", ["tok"]),
    (#""normalized":true"#, "a tok", ["a ", "TOK"]),
  ])
  func `Added tokens are found as their properties say`(
    _ properties: String, _ text: String, _ pieces: [String]
  ) throws {
    let added = try JSON(parsing: #"{"id":1,"content":"TOK","special":false,\#(properties)}"#)
    let tokenizer = try TokenizerFixture.cutting(
      into: ["TOK"] + pieces, normalizer: .object(["type": .string("Lowercase")]), added: [added])
    #expect(tokenizer.encode(text).map { tokenizer.token(of: $0) } == pieces)
  }

  @Test func `Of overlapping added tokens the leftmost and then the longest is found`() throws {
    let added = try ["ab", "abc", "cd"].enumerated().map { index, content in
      try JSON(parsing: #"{"id":\#(index + 1),"content":"\#(content)","special":true,"normalized":false}"#)
    }
    let tokenizer = try TokenizerFixture.cutting(into: ["ab", "abc", "cd", "d"], added: added)
    #expect(tokenizer.encode("abcd").map { tokenizer.token(of: $0) } == ["abc", "d"])
  }
}
