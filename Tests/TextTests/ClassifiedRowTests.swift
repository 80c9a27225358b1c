import Files
import Testing
import Text

/// Rows of texts with their classes, read with a small WordPiece tokenizer.
struct ClassifiedRowTests {
  private func read(
    _ text: String, _ change: (inout ExampleOptions) -> Void = { _ in }
  ) throws -> (examples: [Example], report: ExampleReport) {
    try ExampleFixture.read(text, tokenizer: try Tokenizer.read(TokenizerFixture.folder + "/tokenizers/wordpiece")) {
      $0.format = .classification
      $0.classes.labels = ["no", "yes"]
      change(&$0)
    }
  }

  private let pairs = """
    {"text": "hello world", "other": "the lazy dog", "label": "yes"}
    {"text": "hello", "other": "world", "label": "no"}
    """

  @Test func `A text has its class's index, and its special tokens around it`() throws {
    let (examples, report) = try read(pairs)
    let tokenizer = try Tokenizer.read(TokenizerFixture.folder + "/tokenizers/wordpiece")
    #expect(examples.map(\.labels) == [[1], [0]] && examples.allSatisfy { $0.isClassified && $0.segments.isEmpty })
    #expect(examples[0].ids.map(Int.init) == tokenizer.encode("hello world"))
    #expect(report.supervisedTokens == 2)
  }

  @Test func `A pair is one sequence whose second text has the segment 1`() throws {
    let (examples, _) = try read(pairs) { $0.classes.pair = "other" }
    let tokenizer = try Tokenizer.read(TokenizerFixture.folder + "/tokenizers/wordpiece")
    #expect(examples[0].ids.map(Int.init) == tokenizer.encode("hello world", pair: "the lazy dog").ids)
    let first = tokenizer.encode("hello world").count
    #expect(examples[0].segments == (0..<examples[0].ids.count).map { $0 < first ? 0 : 1 })
  }

  @Test func `A long text is cut between its special tokens, a long pair where it is longest`() throws {
    let long = String(repeating: "hello ", count: 40)
    let row = "{\"text\": \"\(long)\", \"other\": \"world\", \"label\": \"no\"}"
    let tokenizer = try Tokenizer.read(TokenizerFixture.folder + "/tokenizers/wordpiece")
    let start = Int32(try #require(tokenizer.id(of: "[CLS]"))), end = Int32(try #require(tokenizer.id(of: "[SEP]")))
    let alone = try read(row) {
      $0.maxSequenceLength = 12
      $0.tooLong = .truncateRight
    }
    #expect(alone.examples[0].ids.count == 12 && alone.report.truncated == 1 && alone.report.longest > 40)
    #expect(alone.examples[0].ids.first == start && alone.examples[0].ids.last == end)
    let pair = try read(row) {
      $0.maxSequenceLength = 12
      $0.tooLong = .truncateLeft
      $0.classes.pair = "other"
    }
    let second = tokenizer.encode("world", addingSpecialTokens: false).map(Int32.init)
    #expect(pair.examples[0].ids.count == 12)
    #expect(Array(pair.examples[0].ids.suffix(second.count + 1)) == second + [end])
  }

  @Test(arguments: [
    ("{\"text\": \"hello\"}", "'label' is missing; the row has 'text'"),
    ("{\"text\": \"hello\", \"label\": null}", "'label' must name a class: text, a whole number, true or false"),
    ("{\"text\": \"hello\", \"label\": 1.5}", "found a number"),
    ("{\"text\": \"hello\", \"label\": \"\"}", "found a string"),
    ("{\"text\": 3, \"label\": \"no\"}", "'text' must be a string, found a number"),
    ("{\"text\": \"hello\", \"label\": \"maybe\"}", "class 'maybe' is none of those known: no, yes"),
  ])
  func `A row without a text or a class of those known is refused with its line`(_ row: String, _ problem: String) {
    let error = #expect(throws: FileError.self) { try read("{\"text\": \"a\", \"label\": \"no\"}\n" + row) }
    #expect(error?.description.contains(problem) == true, "\(error.map(String.init(describing:)) ?? "")")
    #expect(error?.place == "line 2")
  }

  @Test func `A length without room between the special tokens is refused`() {
    let error = #expect(throws: FileError.self) {
      try read(pairs) {
        $0.maxSequenceLength = 2
        $0.tooLong = .truncateRight
      }
    }
    #expect(error?.description.contains("leave no room for text") == true)
  }

  @Test func `A text without a token is refused`() throws {
    let error = #expect(throws: FileError.self) {
      try ExampleFixture.read(
        "{\"text\": \"\", \"label\": \"no\"}",
        tokenizer: try Tokenizer.read(TokenizerFixture.folder + "/tokenizers/bpe_bytelevel")
      ) {
        $0.format = .classification
        $0.classes.labels = ["no", "yes"]
      }
    }
    #expect(error?.description.contains("the text has no tokens") == true)
  }

  @Test func `Numbers and truth values name classes as JSON writes them`() throws {
    let rows = "{\"text\": \"hello\", \"label\": 1}\n{\"text\": \"hello\", \"label\": true}"
    let (examples, _) = try read(rows) { $0.classes.labels = ["1", "true"] }
    #expect(examples.map(\.labels) == [[0], [1]])
  }
}
