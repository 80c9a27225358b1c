import Files
import Testing
import Text

@Suite struct ExampleRefusalTests {
  static let good = "{\"text\": \"Hello\"}\n"

  static let noTarget = "no token to predict; give every row an answer that fits max_seq_len, or drop such rows"

  static let order = "an optional system turn first, then user and assistant by turns"

  static let keys =
    "messages, conversations, prompt and completion, instruction and output, text or input_ids"

  static let refusals: [(String, String)] = [
    ("", "d.jsonl: the file holds no rows"), ("\n\n", "d.jsonl: the file holds no rows"),
    ("[]", "d.jsonl: the file holds no rows"),
    ("{\"text\": 3}", "d.jsonl:1: 'text' must be a string, found a number"),
    ("\(good){\"txt\": \"x\"}", "d.jsonl:2: 'text' is missing; the row has 'txt'"),
    ("\(good)[1]", "d.jsonl:2: expected an object, found a list"),
    ("7", "d.jsonl:1: expected an object, found a number"),
    (
      "{\"a\": 1}",
      "d.jsonl:1: the format cannot be told from the keys; a row has \(keys)"
    ),
    ("\(good){\"text\": \"x\"", "d.jsonl:2:13: expected ',' or '}', found the end of the text"),
    ("\(good)\n{\"text\": \"x\", \"text\": \"y\"}", "d.jsonl:3:15: duplicate key 'text'"),
    ("[{\"text\": \"x\"},\n {\"text\": nope}]", "d.jsonl:2:11: 'nope' is not a JSON value"),
    ("[{\"text\": \"x\"} {\"text\": \"y\"}]", "d.jsonl:1: expected ',' or ']' after an element of the array"),
    ("[1}", "d.jsonl: element 1: expected an object, found a number"),
    ("[}]", "d.jsonl:1:2: expected a value, found the end of the text"),
    ("[{\"text\": \"x\"}", "d.jsonl:1: the array is not closed"),
    ("[{\"text\": \"x\"}] x", "d.jsonl:1: text follows the end of the array"),
    ("[{\"text\": \"x\"}, {\"text\": 1}]", "d.jsonl: element 2: 'text' must be a string, found a number"),
    ("{\"input_ids\": [1, 99999999]}", "d.jsonl:1: input_ids[1] is 99999999, outside the vocabulary of 49152"),
    ("{\"input_ids\": [1, -1]}", "d.jsonl:1: input_ids[1] is -1, outside the vocabulary of 49152"),
    ("{\"input_ids\": [1, \"2\"]}", "d.jsonl:1: 'input_ids' must be a list of integers, found a string at 1"),
    ("{\"input_ids\": [1, 2], \"labels\": [1]}", "d.jsonl:1: 2 input_ids but 1 labels"),
    (
      "{\"input_ids\": [1, 2, 3], \"labels\": [2, 3, -100]}",
      "d.jsonl:1: labels[0] is 2 but input_ids[0] is 1; a label is its own token's id or -100; the loss does the shift"
    ),
    ("{\"messages\": []}", "d.jsonl:1: 'messages' is empty"),
    ("{\"messages\": \"hi\"}", "d.jsonl:1: 'messages' must be a list, found a string"),
    ("{\"messages\": [{\"content\": \"x\"}]}", "d.jsonl:1: message 1 has no 'role'"),
    ("{\"messages\": [{\"role\": \"user\"}]}", "d.jsonl:1: message 1 has no 'content'"),
    (
      "{\"messages\": [{\"role\": \"user\", \"content\": [1]}]}",
      "d.jsonl:1: message 1: 'content' must be a string, found a list"
    ),
    (
      "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}, {\"role\": \"assistant\", \"tool_calls\": [1]}]}",
      "d.jsonl:1: message 2: 'tool_calls' is not supported; write the call into 'content'"
    ),
    (
      ExampleFixture.chat(("narrator", "x")),
      "d.jsonl:1: message 1: unknown role 'narrator'; roles are system, user, assistant and tool"
    ),
    (ExampleFixture.chat(("user", "x"), ("assistant", " \n")), "d.jsonl:1: message 2: the assistant says nothing"),
    (
      ExampleFixture.chat(("assistant", "x")),
      "d.jsonl:1: message 1: roles are out of order: 'assistant' comes first; \(order)"
    ),
    (
      ExampleFixture.chat(("user", "x"), ("user", "y")),
      "d.jsonl:1: message 2: roles are out of order: 'user' follows 'user'; \(order)"
    ),
    (
      ExampleFixture.chat(("system", "x")),
      "d.jsonl: row 1: \(noTarget)"
    ),
    (
      "{\"prompt\": \"x\", \"completion\": \"\"}",
      "d.jsonl: row 1: \(noTarget)"
    ),
    (
      "{\"text\": \"\"}",
      "d.jsonl: row 1: \(noTarget)"
    ),
  ]

  @Test(arguments: refusals)
  func `A row that cannot be used is told with its line`(_ text: String, _ message: String) {
    let error = #expect(throws: FileError.self) { try ExampleFixture.read(text) }
    #expect(error?.description == message)
  }

  @Test func `Bytes that are not UTF-8 are told with their line`() throws {
    let reader = try ExampleReader(tokenizer: try TokenizerFixture.smol.get())
    let error = #expect(throws: FileError.self) {
      try TokenizerFixture.withFiles(["d.jsonl": ""]) { folder in
        try AtomicFile.write("\(folder)/d.jsonl") { writer in
          try writer.write(Self.good + "{\"text\": \"")
          try [UInt8]([0xc3, 0x28]).withUnsafeBytes { try writer.write($0) }
          try writer.write("\"}\n")
        }
        _ = try reader.read("\(folder)/d.jsonl")
      }
    }
    #expect(error?.place == "line 2, column 10")
    #expect(error?.problem == "the string is not valid UTF-8")
  }

  @Test(arguments: ["", "["])
  func `A row longer than the limit is refused before it is parsed`(_ start: String) {
    let error = #expect(throws: FileError.self) {
      try ExampleFixture.read(start + "{\"text\": \"" + String(repeating: "x", count: 200)) { $0.maxRowBytes = 100 }
    }
    #expect(error?.place == "line 1")
    #expect(error?.problem == "the row is longer than 100 bytes")
  }

  @Test func `Rows too long, or without a token to predict, are all counted before reading fails`() {
    let rows = (1...6).map { "{\"input_ids\": [\(($0...9).map(String.init).joined(separator: ", "))]}" }
    let tooLong = #expect(throws: FileError.self) {
      try ExampleFixture.read(rows.joined(separator: "\n")) { $0.maxSequenceLength = 4 }
    }
    #expect(
      tooLong?.description
        == "d.jsonl: rows 1, 2, 3 and 2 more: longer than 4 tokens (the longest row has 9); raise max_seq_len, or set too_long to drop, truncate_left or truncate_right"
    )
    let dropped = #expect(throws: FileError.self) {
      try ExampleFixture.read(rows.joined(separator: "\n")) {
        $0.maxSequenceLength = 3
        $0.tooLong = .drop
      }
    }
    #expect(dropped?.description == "d.jsonl: no example is left: all 6 rows were dropped")
  }

  @Test func `A cut that leaves no answer is a row without a token to predict`() {
    let error = #expect(throws: FileError.self) {
      try ExampleFixture.read(ExampleTests.conversation) {
        $0.maxSequenceLength = 5
        $0.tooLong = .truncateRight
      }
    }
    #expect(error?.problem == "no token to predict")
  }

  @Test func `A template whose text is not a beginning of the longer text is refused by row`() throws {
    let source = try TokenizerFixture.text("/templates/thoughts.jinja")
    let error = #expect(throws: FileError.self) {
      try ExampleFixture.read(ExampleTests.conversation, template: source)
    }
    #expect(
      error?.description
        == "d.jsonl:1: message 3: the chat template writes the conversation up to this answer differently once it goes on; with train_on: last_assistant only the last answer is trained on, with all every token"
    )
    let last = try ExampleFixture.read(ExampleTests.conversation, template: source) { $0.trainOn = .lastAssistant }
    #expect(try ExampleFixture.learned(last.examples[0]) == "<think>\n\n</think>\n\n six\n<|im_end|>")
  }

  @Test func `A template that hides where the answer begins is refused by row`() {
    let source = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    let error = #expect(throws: FileError.self) {
      try ExampleFixture.read(ExampleTests.conversation, template: source)
    }
    #expect(
      error?.description
        == "d.jsonl:1: message 3: the chat template ignores add_generation_prompt, so where the answer begins is unknown; use a template that writes the assistant's header when it is set, or train_on: all"
    )
  }

  @Test func `A template without headers needs no generation prompt`() throws {
    let source = try TokenizerFixture.text("/templates/instructions.jinja")
    let (examples, _) = try ExampleFixture.read(ExampleTests.conversation, template: source)
    #expect(try ExampleFixture.learned(examples[0]) == " 4<|im_end|> six<|im_end|>")
  }

  @Test func `A template's refusal is told with the row and the template's line`() throws {
    let error = #expect(throws: FileError.self) {
      try ExampleFixture.read(ExampleTests.conversation, template: "\n{{ raise_exception('no system') }}")
    }
    #expect(
      error?.description == "d.jsonl:1: chat template:2: the template refuses these messages: no system")
  }
}
