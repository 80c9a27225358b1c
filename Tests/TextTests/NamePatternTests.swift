import Files
import Testing
import Text

struct NamePatternTests {
  private static let name = "model.layers.11.self_attn.q_proj"

  @Test(arguments: [
    (#".*\.(q|v)_proj"#, true), (#"model\.layers\.\d+\.self_attn\..*"#, true), (#"^model.*q_proj$"#, true),
    (#"(?:model|encoder)\.layers\.[0-9]{1,2}\.self_attn\.[qk]_proj"#, true), ("q_proj", false), (".*", true),
    (#"model\.layers\.1\..*"#, false), ("model", false), (".*mlp.*", false), ("", false),
  ])
  func `An expression is matched with the whole name`(_ source: String, _ matches: Bool) throws {
    #expect(try NamePattern(source, path: "k").matches(Self.name) == matches)
  }

  @Test(arguments: [
    ("q_proj", true), (#"self_attn\.q_proj"#, true), ("proj", false), ("_proj", false), ("q|q_proj", true),
    ("^q_proj", false), ("^model.*", true), (".*", true),
  ])
  func `Dotted parts may come before it where that is allowed`(_ source: String, _ matches: Bool) throws {
    #expect(try NamePattern(source, allowsPrefix: true, path: "k").matches(Self.name) == matches)
  }

  /// Each takes time exponential in the name, or a high power of it, where one way after another is tried.
  @Test(arguments: ["(.*)*X", "(.+)+X", "(.|..)*X", "(.*.*.*.*.*.*.*.*)X", #"(\w*\.?)*$X"#.replacing("$", with: "")])
  func `No expression takes long`(_ source: String) throws {
    let name = String(repeating: Self.name, count: 30)
    #expect(try !NamePattern(source, path: "k").matches(name))
    #expect(try !NamePattern(source, allowsPrefix: true, path: "k").matches(name))
  }

  @Test(arguments: [
    ("(", "k: regular expression '(': a '(' without its ')' at character 2 of the regular expression is not supported"),
    (
      "a)(b",
      "k: regular expression 'a)(b': a ')' without its '(' at character 2 of the regular expression is not supported"
    ),
    (
      "(?:(?:a{1000}){1000}){9}",
      "k: regular expression '(?:(?:a{1000}){1000}){9}': the regular expression is too large"
    ),
    (
      String(repeating: "a", count: 4097),
      "k: regular expression '\(String(repeating: "a", count: 80))…': is 4097 bytes long; at most 4096 are read"
    ),
  ])
  func `What is not understood is refused`(_ source: String, _ message: String) {
    let error = #expect(throws: FileError.self) { try NamePattern(source, allowsPrefix: true, path: "k") }
    #expect(error?.description == message)
  }
}
