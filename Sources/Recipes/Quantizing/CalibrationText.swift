import Files
import Networks

/// Sequences of one length cut from a text, on which layers are measured.
public struct CalibrationText: Sendable {
  /// The file: text, or JSON Lines of examples, which are laid end to end.
  public let path: String
  /// How many sequences, and how many tokens each has.
  public let sequences: Int, length: Int

  /// The first use of `path` unless it holds fewer.
  public init(_ path: String, sequences: Int = 128, length: Int = 256) {
    (self.path, self.sequences, self.length) = (path, sequences, length)
  }

  /// The sequences, evenly spread over the text.
  ///
  /// - Throws: a ``FileError`` when the text holds not one, or the model reads fewer tokens at once.
  public func read(for model: LoadedModel) throws -> [[Int32]] {
    guard length <= model.network.contextLength else {
      throw FileError(
        path, "cannot be read \(length) tokens at a time: the model reads at most \(model.network.contextLength)",
        remedy: "choose shorter sequences")
    }
    let ids = try TokenText(path: path).ids(for: model), available = ids.count / length
    guard available > 0 else {
      throw FileError(
        path, "has \(ids.count) tokens, fewer than one sequence of \(length)",
        remedy: "give a longer text, or shorter sequences")
    }
    let count = min(sequences, available)
    return (0..<count).map { index in
      let start = index * available / count * length
      return Array(ids[start..<start + length])
    }
  }
}
