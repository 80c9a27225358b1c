import Testing
import Text

@Suite struct TokenizerStreamTests {
  @Test(arguments: ["Hello world", "🙂🚀👩‍👩‍👧 é東京タワー", "\u{fffd}", "<|im_start|>user\nhi<|im_end|>\n", ""])
  func `The texts of a stream are the text of all its tokens`(_ text: String) throws {
    let tokenizer = try TokenizerFixture.smol.get()
    let ids = tokenizer.encode(text)
    for skips in [true, false] {
      var stream = TokenizerStream(tokenizer, skippingSpecialTokens: skips)
      var joined = ""
      for id in ids { joined += stream.text(for: id) }
      joined += stream.finish()
      #expect(Array(joined.utf8) == Array(tokenizer.decode(ids, skippingSpecialTokens: skips).utf8))
    }
  }

  @Test func `A character is given out whole`() throws {
    let tokenizer = try TokenizerFixture.smol.get()
    let ids = tokenizer.encode("🚀")
    #expect(ids.count == 3)
    var stream = TokenizerStream(tokenizer)
    #expect(ids.map { stream.text(for: $0) } == ["", "", "🚀"])
    #expect(stream.finish() == "")
  }

  @Test func `A character that is never finished becomes U+FFFD at the end`() throws {
    let tokenizer = try TokenizerFixture.smol.get()
    var stream = TokenizerStream(tokenizer)
    #expect(stream.text(for: tokenizer.encode("🚀")[0]) == "")
    #expect(stream.finish() == "\u{fffd}")
  }

  @Test(arguments: TokenizerCase.families)
  func `Spaces between tokens survive`(_ family: String) throws {
    let tokenizer = try Tokenizer.read("\(TokenizerFixture.folder)/tokenizers/\(family)")
    let ids = tokenizer.encode("the fox jumps over the lazy dog")
    var stream = TokenizerStream(tokenizer)
    let joined = ids.map { stream.text(for: $0) }.joined() + stream.finish()
    #expect(joined == tokenizer.decode(ids))
  }
}
