import Files
import Testing

struct JSONTests {
  @Test(
    arguments: [
      ("null", .null), ("true", .bool(true)), (" [ ] ", .array([])), ("{}", .object([:])),
      ("0", .integer(0)), ("-0", .number(-0.0)), ("-12", .integer(-12)), ("1.0", .number(1)), ("1e2", .number(100)),
      ("1e-5", .number(1e-5)), ("0.1", .number(0.1)), ("9223372036854775807", .integer(.max)),
      ("-9223372036854775808", .integer(.min)), ("9223372036854775808", .number(0x1p63)),
      ("-9223372036854775809", .number(-0x1p63)), ("18446744073709551616", .number(0x1p64)), ("1e-400", .number(0)),
      (#""a\"\\\/\b\f\n\r\tz""#, .string("a\"\\/\u{8}\u{c}\n\r\tz")), (#""\u0041\u00e9\ud83d\ude00""#, .string("Aé😀")),
      (#""\u0000""#, .string("\0")), ("\"grüße 日本\"", .string("grüße 日本")),
      (
        "{\"a\": [1, {\"b\": null}],\r\n\t\"\": false}",
        .object(["a": .array([.integer(1), .object(["b": .null])]), "": .bool(false)])
      ),
    ] as [(String, JSON)])
  func `A text means one value`(_ text: String, _ value: JSON) throws {
    #expect(try JSON(parsing: text) == value)
  }

  @Test(arguments: [
    ("", "t:1:1: expected a value, found the end of the text"),
    ("  \n ", "t:2:2: expected a value, found the end of the text"),
    ("{} x", "t:1:4: text follows the end of the JSON value"),
    ("[1,]", "t:1:4: expected a value, found ']'"),
    ("[1 2]", "t:1:4: expected ',' or ']', found '2'"),
    ("{\"a\":1,}", "t:1:8: expected a key in double quotes, found '}'"),
    ("{a:1}", "t:1:2: expected a key in double quotes, found 'a'"),
    ("{\"a\" 1}", "t:1:6: expected ':', found '1'"),
    ("{\"a\":1 \"b\":2}", "t:1:8: expected ',' or '}', found '\"'"),
    ("{\"a\":1,\n \"a\":2}", "t:2:2: duplicate key 'a'"),
    ("{\"a\":1,\"\\u0061\":2}", "t:1:8: duplicate key 'a'"),
    ("NaN", "t:1:1: 'NaN' is not a JSON value"),
    ("Infinity", "t:1:1: 'Infinity' is not a JSON value"),
    ("-Infinity", "t:1:2: expected a digit, found 'I'"),
    ("True", "t:1:1: 'True' is not a JSON value"),
    ("nul", "t:1:1: 'nul' is not a JSON value"),
    ("1e400", "t:1:1: the number '1e400' is out of range"),
    ("-1e400", "t:1:1: the number '-1e400' is out of range"),
    ("01", "t:1:1: a number cannot start with a needless 0"),
    ("-", "t:1:2: expected a digit, found the end of the text"),
    ("+1", "t:1:1: expected a value, found '+'"),
    ("1.", "t:1:3: expected a digit, found the end of the text"),
    (".5", "t:1:1: expected a value, found '.'"),
    ("1e", "t:1:3: expected a digit, found the end of the text"),
    ("1_000", "t:1:2: text follows the end of the JSON value"),
    ("0x10", "t:1:2: text follows the end of the JSON value"),
    ("\"abc", "t:1:1: the string is not closed"),
    ("\"abc\\\"", "t:1:1: the string is not closed"),
    ("\"a\nb\"", "t:1:3: a control character in a string must be written as an escape"),
    ("\"\\x41\"", "t:1:2: unknown escape in a string"),
    ("\"\\u12\"", "t:1:4: \\u needs four hexadecimal digits"),
    ("\"\\u12g4\"", "t:1:6: \\u needs four hexadecimal digits"),
    ("\"\\ud800\"", "t:1:2: half of a surrogate pair stands alone"),
    ("\"é\\udc00\"", "t:1:3: half of a surrogate pair stands alone"),
    ("\"\\ud800\\u0041\"", "t:1:2: half of a surrogate pair stands alone"),
    ("\"\\ud800x\"", "t:1:2: half of a surrogate pair stands alone"),
    ("// a\n1", "t:1:1: expected a value, found '/'"),
    ("'a'", "t:1:1: expected a value, found '''"),
    ("\u{feff}1", "t:1:1: expected a value, found byte 239"),
  ])
  func `Faulty text is refused at its line and column`(_ text: String, _ expected: String) {
    #expect(message { _ = try JSON(parsing: text, path: "t") } == expected)
  }

  // Each is no UTF-8: a lone continuation, an overlong slash, half of U+D800, beyond U+10FFFF, a cut-off é.
  @Test(arguments: [[0x80], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xc3]] as [[UInt8]])
  func `Invalid UTF-8 is refused`(_ bytes: [UInt8]) {
    let text = [UInt8(ascii: "[")] + [0x22] + bytes + [0x22] + [UInt8(ascii: "]")]
    let error = message { try text.withUnsafeBytes { _ = try JSON(parsing: $0, path: "t") } }
    #expect(error == "t:1:2: the string is not valid UTF-8")
  }

  @Test(arguments: ["[", "{\"a\":"])
  func `Depth is limited and a million levels are harmless`(_ opening: String) throws {
    #expect(throws: Never.self) {
      try JSON(parsing: String(repeating: "[", count: 128) + String(repeating: "]", count: 128))
    }
    let error = message { _ = try JSON(parsing: String(repeating: opening, count: 1_000_000), path: "t") }
    #expect(error == "t:1:\(128 * opening.count + 1): values are nested more than 128 deep")
  }

  // Å is U+00C5 or U+212B; Swift holds the two for equal, vocabularies do not.
  @Test func `Keys that differ only in their bytes are all kept`() throws {
    let json = try JSON(parsing: "{\"a\":0,\"\u{c5}\":1,\"\u{212b}\":2}")
    #expect(json.object == nil)
    #expect(json.members?.count == 3)
    #expect(json["\u{c5}"] == .integer(1))
    #expect(json["\u{212b}"] == .integer(2))
    #expect(json.text() == "{\"a\":0,\"\u{c5}\":1,\"\u{212b}\":2}")
    #expect(
      message { _ = try JSON(parsing: "{\"\u{c5}\":1,\"\u{212b}\":2,\"\u{c5}\":3}", path: "t") }
        == "t:1:14: duplicate key '\u{c5}'")
  }

  @Test func `A value answers only to its own kind`() throws {
    let json = try JSON(parsing: #"{"s":"x","i":3,"d":0.5,"b":true,"a":[1],"n":null}"#)
    #expect(json["s"]?.string == "x" && json["s"]?.int == nil)
    #expect(json["i"]?.int == 3 && json["i"]?.double == 3 && json["i"]?.bool == nil)
    #expect(json["d"]?.double == 0.5 && json["d"]?.int == nil)
    #expect(json["b"]?.bool == true && json["b"]?.int == nil)
    #expect(json["a"]?.array == [.integer(1)] && json["a"]?["x"] == nil)
    #expect(json["n"]?.isNull == true && json["s"]?.isNull == false)
    #expect(json["absent"] == nil && json.members?.count == 6)
  }

  @Test func `Written text is sorted, escaped and shortest`() {
    let json = JSON.object([
      "b": .array([.integer(-1), .number(0.1), .number(1e-5), .number(1), .number(.nan), .null, .bool(false)]),
      "a": .string("\"\\\n\r\t\u{1}\u{7f}é😀/"), "é": .object([:]), "Z": .array([]),
    ])
    #expect(
      json.text()
        == #"{"Z":[],"a":"\"\\\n\r\t\u0001\u007fé😀/","b":[-1,0.1,1e-05,1.0,null,null,false],"é":{}}"#)
    #expect(
      JSON.object(["a": .array([.integer(1)]), "b": .null]).text(pretty: true)
        == "{\n  \"a\": [\n    1\n  ],\n  \"b\": null\n}")
  }

  @Test func `Writing and parsing gives the value back`() throws {
    var random = SplitMix(state: 1)
    for _ in 0..<300 {
      let value = Self.value(depth: 4, &random)
      #expect(try JSON(parsing: value.text()) == value)
      #expect(try JSON(parsing: value.text(pretty: true)) == value)
    }
  }

  @Test func `A file may begin with a byte order mark and use CRLF`() throws {
    let scratch = try Scratch()
    let path = try scratch.file("a.json", "\u{feff}{\r\n\"a\": 1\r\n}\r\n")
    #expect(try JSON.read(path) == .object(["a": .integer(1)]))
    let faulty = try scratch.file("b.json", "\u{feff}{\r\n\"a\" 1}")
    #expect(message { _ = try JSON.read(faulty) } == "b.json:2:5: expected ':', found '1'")
  }

  @Test func `A damaged text throws or parses, never more`() {
    var random = SplitMix(state: 2)
    let text = Array(#"{"a":[1,-2.5e3,"x\u00e9\ud83d\ude00\n"],"b":{"c":null,"d":[true,false,{}]},"é":""}"#.utf8)
    for _ in 0..<5000 {
      let bytes = mutated(text, &random)
      let error = message { _ = try bytes.withUnsafeBytes { try JSON(parsing: $0, path: "t") } }
      #expect(!error.hasPrefix("not a FileError"))
    }
  }

  private static func value(depth: Int, _ random: inout SplitMix) -> JSON {
    switch Int.random(in: 0..<(depth > 0 ? 7 : 5), using: &random) {
    case 0: return .null
    case 1: return .bool(.random(using: &random))
    case 2: return .integer(Int(truncatingIfNeeded: random.next()) >> Int.random(in: 0..<64, using: &random))
    case 3:
      let value = Double(bitPattern: random.next())
      return .number(value.isFinite ? value : 0.5)
    case 4: return .string(text(&random))
    case 5: return .array((0..<3).map { _ in value(depth: depth - 1, &random) })
    default:
      let pairs = (0..<3).map { ("\($0)" + text(&random), value(depth: depth - 1, &random)) }
      return .object(Dictionary(uniqueKeysWithValues: pairs))
    }
  }

  private static func text(_ random: inout SplitMix) -> String {
    let scalars = (0..<Int.random(in: 0..<8, using: &random)).compactMap { _ in
      Unicode.Scalar(UInt32.random(in: 0..<0x1_1000, using: &random))
    }
    return String(String.UnicodeScalarView(scalars))
  }
}
