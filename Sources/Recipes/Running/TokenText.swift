import Files
import Networks
import Text

/// A text in a model's ids: a text file, or the rows of a JSON Lines file laid end to end.
struct TokenText {
  let path: String

  /// The ids, without special tokens around a text; rows of examples are as they would be trained on.
  func ids(for model: LoadedModel) throws -> [Int32] {
    let tokenizer = try model.requireTokenizer()
    guard path.hasSuffix(".jsonl") || path.hasSuffix(".json") else {
      return tokenizer.encodePlain(try TextFile.read(path)).map(Int32.init)
    }
    var options = ExampleOptions()
    options.maxSequenceLength = model.network.contextLength
    options.tooLong = .truncateRight
    return try ExampleReader(tokenizer: tokenizer, template: model.template, options: options).read(path)
      .examples.flatMap(\.ids)
  }

  /// Where windows of `length` ids start that do not overlap, at most `limit` of them.
  ///
  /// - Throws: a ``FileError`` when the text is shorter than one.
  func windows(_ ids: [Int32], of length: Int, limit: Int?) throws -> [Range<Int>] {
    guard !ids.isEmpty else { throw FileError(path, "has no tokens", remedy: "give a text that is not empty") }
    let starts = Array(stride(from: 0, through: ids.count - length, by: length).prefix(limit ?? .max))
    guard !starts.isEmpty else {
      throw FileError(
        path, "has \(ids.count) tokens, fewer than one window of \(length)",
        remedy: "choose a smaller window, or a longer text")
    }
    return starts.map { $0..<$0 + length }
  }
}
