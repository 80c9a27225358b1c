import Files
import Testing
import Text

@Suite struct ExampleTests {
  static let conversation = ExampleFixture.chat(
    ("system", "Be brief."), ("user", "2+2?"), ("assistant", "4"), ("user", "3+3?"), ("assistant", " six\n"))

  @Test(
    arguments: [
      (ExampleOptions.TrainOn.assistant, "4<|im_end|> six\n<|im_end|>"), (.lastAssistant, " six\n<|im_end|>"),
      (.completion, " six\n<|im_end|>"),
    ])
  func `An answer is learned with the token that ends it, and never its header`(
    _ trainOn: ExampleOptions.TrainOn, _ learned: String
  ) throws {
    let (examples, report) = try ExampleFixture.read(Self.conversation) { $0.trainOn = trainOn }
    #expect(try ExampleFixture.learned(examples[0]) == learned)
    #expect(report.supervisedTokens == examples[0].targets)
  }

  @Test func `An example holds the ids of the whole rendered text`() throws {
    let (examples, _) = try ExampleFixture.read(Self.conversation)
    let tokenizer = try TokenizerFixture.smol.get()
    let text = """
      <|im_start|>system
      Be brief.<|im_end|>
      <|im_start|>user
      2+2?<|im_end|>
      <|im_start|>assistant
      4<|im_end|>
      <|im_start|>user
      3+3?<|im_end|>
      <|im_start|>assistant
       six
      <|im_end|>

      """
    #expect(examples[0].ids.map { Int($0) } == tokenizer.encode(text, addingSpecialTokens: false))
    #expect(try ExampleFixture.whole(examples[0]) == text)
    #expect(zip(examples[0].ids, examples[0].labels).allSatisfy { $1 == $0 || $1 == -100 })
    #expect(examples[0].source == "d.jsonl:1")
  }

  @Test func `A token across the border of an answer is not learned`() throws {
    // The header ends with a newline; with the answer's own it becomes one token of two newlines.
    let (examples, _) = try ExampleFixture.read(ExampleFixture.chat(("user", "a"), ("assistant", "\nfour")))
    let tokenizer = try TokenizerFixture.smol.get()
    let whole = try ExampleFixture.whole(examples[0])
    #expect(examples[0].ids.map { Int($0) } == tokenizer.encode(whole, addingSpecialTokens: false))
    #expect(["four<|im_end|>", "\nfour<|im_end|>"].contains(try ExampleFixture.learned(examples[0])))
  }

  @Test func `Training on all learns every token`() throws {
    let (examples, _) = try ExampleFixture.read(Self.conversation) { $0.trainOn = .all }
    #expect(examples[0].labels == examples[0].ids)
  }

  @Test(
    arguments: [
      (
        "{\"conversations\": [{\"from\": \"human\", \"value\": \"a\"}, {\"from\": \"gpt\", \"value\": \"four\"}]}",
        "<|im_start|>user\na<|im_end|>\n"
      ),
      ("{\"prompt\": \"a\", \"completion\": \"four\"}", "<|im_start|>user\na<|im_end|>\n"),
      (
        "{\"instruction\": \"a\", \"input\": \"\", \"output\": \"four\", \"text\": \"ignored\"}",
        "<|im_start|>user\na<|im_end|>\n"
      ),
      ("{\"instruction\": \"a\", \"input\": \"b\", \"output\": \"four\"}", "<|im_start|>user\na\n\nb<|im_end|>\n"),
      ("{\"instruction\": \"a\", \"input\": null, \"output\": \"four\"}", "<|im_start|>user\na<|im_end|>\n"),
    ])
  func `Every format becomes a conversation when the model has a template`(_ row: String, _ user: String) throws {
    let (examples, _) = try ExampleFixture.read(row)
    let system = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    #expect(try ExampleFixture.whole(examples[0]) == system + user + "<|im_start|>assistant\nfour<|im_end|>\n")
    #expect(try ExampleFixture.learned(examples[0]) == "four<|im_end|>")
  }

  @Test(
    arguments: [
      ("{\"prompt\": \"Q: a\", \"completion\": \" four\"}", "Q: a four<|im_end|>", " four<|im_end|>"),
      ("{\"instruction\": \"a\", \"output\": \"four\"}", "a\n\nfour<|im_end|>", "four<|im_end|>"),
      (
        ExampleFixture.chat(("user", "a"), ("assistant", "four")),
        "<|im_start|>User: a\nAssistant: four<|im_end|>\n", " four<|im_end|>"
      ),
    ])
  func `Without a template a completion follows its prompt and turns name their speakers`(
    _ row: String, _ whole: String, _ learned: String
  ) throws {
    let (examples, _) = try ExampleFixture.read(row, tokenizer: try ExampleFixture.withoutTemplate())
    #expect(try ExampleFixture.whole(examples[0]) == whole)
    #expect(try ExampleFixture.learned(examples[0]) == learned)
  }

  @Test func `A text is learned whole and ended once`() throws {
    let (examples, _) = try ExampleFixture.read("{\"text\": \"Hello world\"}\n{\"text\": \"Hello world<|im_end|>\"}\n")
    #expect(examples[0].ids == [19556, 905, 2])
    #expect(examples[0].labels == examples[0].ids)
    #expect(examples[1].ids == examples[0].ids)
    #expect(examples[0].targets == 2)
  }

  @Test func `A text begins with the token that the tokenizer puts first`() throws {
    let tokenizer = try Tokenizer.read(TokenizerFixture.folder + "/tokenizers/bpe_sentencepiece/tokenizer.json")
    let (examples, _) = try ExampleFixture.read("{\"text\": \"Hello\"}", tokenizer: tokenizer)
    #expect(examples[0].ids.map { Int($0) } == tokenizer.encode("Hello") + [2])
    #expect(examples[0].ids.first == 1)
  }

  @Test func `Ids are taken as they are, without pads or ends added`() throws {
    let rows = "{\"input_ids\": [5, 6, 7]}\n{\"input_ids\": [5, 6, 7, 2], \"labels\": [-100, 6, 7, -100]}\n"
    let (examples, report) = try ExampleFixture.read(rows)
    #expect(examples[0] == Example(ids: [5, 6, 7], labels: [5, 6, 7], source: "d.jsonl:1"))
    #expect(examples[1] == Example(ids: [5, 6, 7, 2], labels: [-100, 6, 7, -100], source: "d.jsonl:2"))
    #expect(report.tokens == 7)
    #expect(report.supervisedTokens == 4)
  }

  @Test(
    arguments: [
      "{\"text\": \"Hello world\"}", "\u{feff}{\"text\": \"Hello world\"}\r\n\r\n",
      "\n\n  {\"text\": \"Hello world\"}  \n\n",
      "[{\"text\": \"Hello world\"}]", " \n[ {\"text\":\n \"Hello world\"} ]\n",
      "\u{feff}[{\"text\": \"Hello world\"}\r\n]",
    ])
  func `Marks, blank lines, line ends and arrays change nothing`(_ text: String) throws {
    #expect(try ExampleFixture.read(text).examples.map(\.ids) == [[19556, 905, 2]])
  }

  @Test func `Rows are counted as lines of a JSONL file and as elements of an array`() throws {
    let lines = try ExampleFixture.read("\n{\"text\": \"a\"}\n\n{\"text\": \"b\"}").examples.map(\.source)
    #expect(lines == ["d.jsonl:2", "d.jsonl:4"])
    let elements = try ExampleFixture.read("[{\"text\": \"],[\\\"\"},\n{\"text\": \"b\"}]", name: "d.json").examples
    #expect(elements.map(\.source) == ["d.json: element 1", "d.json: element 2"])
  }

  /// Rows of 3, 5 and 4 tokens.
  static let texts = "{\"input_ids\": [3, 4, 5]}\n{\"input_ids\": [3, 4, 5, 6, 7]}\n{\"input_ids\": [3, 4, 5, 6]}\n"

  @Test(
    arguments: [
      (
        ExampleOptions.TooLong.drop, [[3, 4, 5]], "3 rows: 1 examples, 3 tokens (2 to predict); 2 too long (rows 2, 3)"
      ),
      (
        .truncateLeft, [[3, 4, 5], [5, 6, 7], [4, 5, 6]],
        "3 rows: 3 examples, 9 tokens (6 to predict); 2 truncated (rows 2, 3)"
      ),
      (
        .truncateRight, [[3, 4, 5], [3, 4, 5], [3, 4, 5]],
        "3 rows: 3 examples, 9 tokens (6 to predict); 2 truncated (rows 2, 3)"
      ),
    ])
  func `Long rows are dropped or cut, and counted`(
    _ tooLong: ExampleOptions.TooLong, _ ids: [[Int32]], _ description: String
  ) throws {
    let (examples, report) = try ExampleFixture.read(Self.texts) {
      $0.maxSequenceLength = 3
      $0.tooLong = tooLong
    }
    #expect(examples.map(\.ids) == ids)
    #expect(report.description == description)
    #expect(report.read == report.kept + report.dropped)
    #expect(report.longest == 5)
  }

  @Test func `Rows without a token to predict can be dropped`() throws {
    let rows =
      "{\"text\": \"ab\"}\n{\"input_ids\": [4]}\n{\"input_ids\": []}\n{\"input_ids\": [4, 5], \"labels\": [4, -100]}"
    let (_, report) = try ExampleFixture.read(
      "{\"input_ids\": [4, 5]}\n" + rows.split(separator: "\n").dropFirst().joined(separator: "\n")
    ) { $0.unsupervised = .drop }
    #expect(report.kept == 1)
    #expect(report.dropped == 3)
    #expect(report.firstRows == [.unsupervised: [2, 3, 4]])
  }

  @Test func `Reading twice gives the same`() throws {
    let first = try ExampleFixture.read(Self.conversation + "\n" + Self.conversation)
    let second = try ExampleFixture.read(Self.conversation + "\n" + Self.conversation)
    #expect(first.examples == second.examples)
    #expect(first.report == second.report)
  }
}
