import Files
import Testing
import Text

/// Data files for tests, read with SmolLM2's tokenizer.
enum ExampleFixture {
  /// What a reader makes of a file with this text.
  static func read(
    _ text: String, name: String = "d.jsonl", template: String? = nil, tokenizer: Tokenizer? = nil,
    _ change: (inout ExampleOptions) -> Void = { _ in }
  ) throws -> (examples: [Example], report: ExampleReport) {
    var options = ExampleOptions()
    change(&options)
    let reader = try ExampleReader(
      tokenizer: try tokenizer ?? TokenizerFixture.smol.get(), template: try template.map { try ChatTemplate($0) },
      options: options)
    return try TokenizerFixture.withFiles([name: text]) { folder in
      do {
        var (examples, report) = try reader.read("\(folder)/\(name)")
        for index in examples.indices { examples[index].source.removeFirst(folder.count + 1) }
        return (examples, report)
      } catch var error as FileError {
        // The folder's name is not the same twice.
        if error.path.hasPrefix(folder) { error.path.removeFirst(folder.count + 1) }
        throw error
      }
    }
  }

  /// The text of the tokens that are learned.
  static func learned(_ example: Example) throws -> String {
    let ids = zip(example.ids, example.labels).filter { $1 != Example.unsupervised }.map { Int($0.0) }
    return try TokenizerFixture.smol.get().decode(ids, skippingSpecialTokens: false)
  }

  static func whole(_ example: Example) throws -> String {
    try TokenizerFixture.smol.get().decode(example.ids.map { Int($0) }, skippingSpecialTokens: false)
  }

  /// SmolLM2's tokenizer as of a model without chat template.
  static func withoutTemplate() throws -> Tokenizer {
    var tokenizer = try TokenizerFixture.smol.get()
    tokenizer.chatTemplate = nil
    return tokenizer
  }

  /// A row of `messages` with these turns, given as `role: content`.
  static func chat(_ turns: (String, String)...) -> String {
    JSON.object([
      "messages": .array(turns.map { .object(["role": .string($0.0), "content": .string($0.1)]) })
    ]).text()
  }
}
