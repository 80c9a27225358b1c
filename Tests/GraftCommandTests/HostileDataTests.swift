import Foundation
import Testing

/// Data files that are not what a recipe says, read by a run of one step.
struct HostileDataTests {
  private static let recipe = """
    output_dir: out
    model: {path: m}
    adapter: {type: lora, rank: 2, target_modules: [q_proj]}
    data: {train: d.jsonl, max_seq_len: 64}
    train: {max_steps: 1, batch_size: 2}
    log: {plot: false}

    """

  private static let user = #"{"role": "user", "content": "Hi"}"#
  private static let answer = #"{"role": "assistant", "content": "Yes"}"#
  private static let good = "{\"messages\": [\(user), \(answer)]}\n"
  private static let fine = String(repeating: good, count: 4)

  private static func repeated(_ text: String, _ count: Int) -> String { String(repeating: text, count: count) }

  /// A conversation of these turns.
  private static func turns(_ name: String, _ turns: String..., says words: String) -> Hostile {
    Hostile(name, says: words, "{\"messages\": [\(turns.joined(separator: ", "))]}\n")
  }

  private static let files: [Hostile] = [
    Hostile("empty", says: "no rows", ""), Hostile("blank lines", says: "no rows", "\n\n \r\n"),
    Hostile("a byte order mark", says: "no rows", "\u{feff}"), Hostile("an empty list", says: "no rows", "[]"),
    Hostile("an open list", says: "not closed", "[{\"text\": \"a b\"}"),
    Hostile("a comma before the end", says: "expected a value", "[{\"text\": \"a b\"},]".replacing("]", with: "\n]")),
    Hostile("text after a list", says: "text follows", "[{\"text\": \"a b\"}] x"),
    Hostile("zero bytes", says: "d.jsonl:1:1", repeated("\0", 100)),
    Hostile("UTF-16", says: "d.jsonl:1:1") {
      [0xff, 0xfe] + good.utf16.flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] }
    },
    Hostile("YAML", says: "d.jsonl:1:1", "text: hello\n"), Hostile("CSV", says: "d.jsonl:1:1", "text\nhello\n"),
    Hostile("a row broken off", says: "d.jsonl:5:12: expected ':'", fine + "{\"messages\""),
    Hostile("a row over two lines", says: "d.jsonl:1:9: expected a value", "{\"text\":\n\"a\"}\n"),
    Hostile("two rows on a line", says: "text follows", "{\"text\": \"ab\"}{\"text\": \"ab\"}\n"),
    Hostile("a comma after a row", says: "text follows", "{\"text\": \"ab\"},\n"),
    Hostile("single quotes", says: "double quotes", "{'text': 'ab'}\n"),
    Hostile("a comment", says: "d.jsonl:1:1", "// rows\n" + fine),
    Hostile("key twice", says: "duplicate key", fine + "{\"messages\": [], \"messages\": []}\n"),
    Hostile("not UTF-8 in row 5", says: "d.jsonl:5:") {
      Array(fine.utf8) + Array("{\"text\": \"".utf8) + [0xff, 0x22, 0x7d]
    },
    Hostile("a surrogate in UTF-8", says: "not valid UTF-8") {
      Array("{\"text\": \"".utf8) + [0xed, 0xa0, 0x80, 0x22, 0x7d]
    },
    Hostile("half a surrogate pair", says: "surrogate", "{\"text\": \"\\ud800\"}\n"),
    Hostile("a pair the wrong way round", says: "surrogate", "{\"text\": \"\\udc00\\ud800\"}\n"),
    Hostile("an unknown escape", says: "escape", "{\"text\": \"\\x41\"}\n"),
    Hostile("a control character", says: "control character", "{\"text\": \"a\u{1}\"}\n"),
    Hostile("NaN", says: "'NaN' is not a JSON value", "{\"text\": NaN}\n"),
    Hostile("1e400", says: "out of range", "{\"input_ids\": [1e400, 2]}\n"),
    Hostile("a million digits", says: "out of range", "{\"text\": \(repeated("9", 1_000_000))}\n"),
    Hostile("1000 lists", says: "nested more than", "{\"text\": \(repeated("[", 1000))}\n"),
    Hostile("a million open lists", says: "d.jsonl", repeated("[", 1_000_000)),
    Hostile("a million open objects", says: "nested more than", repeated("{\"a\":", 1_000_000)),
    Hostile("a row of 17 MB", says: "longer than 16777216 bytes", "{\"text\": \"\(repeated("a", 17 << 20))\"}\n"),
    Hostile(
      "100000 surrogate pairs", says: "longer than 64 tokens",
      "{\"text\": \"\(repeated("\\ud83d\\ude00", 100_000))\"}\n"),
    Hostile("a million spaces", says: "longer than 64 tokens", "{\"text\": \"\(repeated(" ", 1_000_000))\"}\n"),
    Hostile(
      "a conversation of 6000 turns", says: "longer than 64 tokens",
      "{\"messages\": [\(repeated("\(user), \(answer), ", 2999))\(user), \(answer)]}\n"),
  ]

  private static let rows: [Hostile] = [
    Hostile("null", says: "d.jsonl:1: expected an object, found null", "null\n"),
    Hostile("a number", says: "found a number", "1\n"), Hostile("a text", says: "found a string", "\"a\"\n"),
    Hostile("a list", says: "found a list", fine + "[1]\n"), Hostile("no keys", says: "cannot be told", "{}\n"),
    Hostile("other keys", says: "cannot be told", "{\"foo\": 1}\n"),
    Hostile("another format in row 5", says: "d.jsonl:5: 'messages' is missing", fine + "{\"text\": \"abc\"}\n"),
    Hostile("messages that are null", says: "must be a list, found null", "{\"messages\": null}\n"),
    Hostile("messages that are an object", says: "must be a list, found an object", "{\"messages\": {}}\n"),
    turns("no messages", says: "'messages' is empty"), turns("a message that is a number", "1", says: "no 'role'"),
    turns("a message without keys", "{}", says: "message 1 has no 'role'"),
    turns("a role that is a number", #"{"role": 1, "content": "a"}"#, says: "'role' must be a string"),
    turns("an unknown role", #"{"role": "x\u001b", "content": "a"}"#, says: "unknown role 'x�'"),
    turns("no content", #"{"role": "user"}"#, says: "no 'content'"),
    turns("content null", user, #"{"role": "assistant", "content": null}"#, says: "found null"),
    turns("content of parts", #"{"role": "user", "content": [{"type": "text"}]}"#, answer, says: "found a list"),
    turns("no answer", user, says: "no token to predict"),
    turns("only a system turn", #"{"role": "system", "content": "s"}"#, says: "no token to predict"),
    turns("an empty answer", user, #"{"role": "assistant", "content": " "}"#, says: "says nothing"),
    turns("the answer first", answer, says: "out of order"), turns("two questions", user, user, answer, says: "out of"),
    turns("a late system turn", user, #"{"role": "system", "content": "s"}"#, answer, says: "out of order"),
    turns(
      "a call of a tool", user, #"{"role": "assistant", "content": "a", "tool_calls": [1]}"#, says: "'tool_calls'"),
    Hostile("a text that is a number", says: "must be a string, found a number", "{\"text\": 1}\n"),
    Hostile("an empty text", says: "no token to predict", "{\"text\": \"\"}\n"),
    Hostile("an empty completion", says: "no token", "{\"prompt\": \"a\", \"completion\": \"\"}\n"),
    Hostile("a prompt that is a list", says: "found a list", "{\"prompt\": [], \"completion\": \"a\"}\n"),
    Hostile("an output that is a number", says: "found a number", "{\"instruction\": \"a\", \"output\": 1}\n"),
    Hostile("an unknown speaker", says: "unknown role", "{\"conversations\": [{\"from\": \"x\", \"value\": \"a\"}]}\n"),
    Hostile("an id beyond the vocabulary", says: "input_ids[2] is 320", "{\"input_ids\": [1, 2, 320]}\n"),
    Hostile("a negative id", says: "input_ids[1] is -2", "{\"input_ids\": [1, -2]}\n"),
    Hostile("an id of 2^63-1", says: "is 9223372036854775807", "{\"input_ids\": [1, 9223372036854775807]}\n"),
    Hostile("an id beyond 2^64", says: "list of integers", "{\"input_ids\": [1, 99999999999999999999]}\n"),
    Hostile("an id with a point", says: "list of integers", "{\"input_ids\": [1, 2.0]}\n"),
    Hostile("no ids", says: "no token to predict", "{\"input_ids\": []}\n"),
    Hostile("one id", says: "no token to predict", "{\"input_ids\": [1]}\n"),
    Hostile("too few labels", says: "2 input_ids but 1 labels", "{\"input_ids\": [1, 2], \"labels\": [1]}\n"),
    Hostile("shifted labels", says: "labels[0] is 2", "{\"input_ids\": [1, 2], \"labels\": [2, -100]}\n"),
    Hostile("masked labels", says: "no token to predict", "{\"input_ids\": [1, 2], \"labels\": [-100, -100]}\n"),
  ]

  private func folder() throws -> Scratch {
    let scratch = try Scratch()
    try scratch.link("models/llama-tied", as: "m")
    try scratch.write(Self.recipe, to: "r.yaml")
    return scratch
  }

  @Test(arguments: [fine, "\u{feff}" + fine, fine.replacing("\n", with: "\r\n"), String(fine.dropLast()), "\n" + fine])
  func `Good rows are trained on, with a mark, other line ends or none`(_ text: String) throws {
    let scratch = try folder()
    try scratch.write(text, to: "d.jsonl")
    #expect(try Command.run(["train", "r.yaml"], in: scratch.path).code == 0)
  }

  @Test(arguments: files + rows)
  func `Data that cannot be trained on is refused at its row`(_ hostile: Hostile) throws {
    let scratch = try folder()
    try scratch.write(hostile.bytes(), to: "d.jsonl")
    try scratch.expect(["train", "r.yaml"], endsWith: [3], about: "d.jsonl", saying: hostile.says)
  }

  @Test(arguments: 0..<40)
  func `Damaged data is refused or trained on`(_ seed: Int) throws {
    let scratch = try folder()
    let bytes = Array(Self.fine.utf8)
    try scratch.write(damaged(bytes, within: 0..<bytes.count, seed: seed, pieces: textPieces), to: "d.jsonl")
    try scratch.expect(["train", "r.yaml"], endsWith: [0, 3], about: "d.jsonl")
  }
}
