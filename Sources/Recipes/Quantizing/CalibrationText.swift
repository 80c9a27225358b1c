import Files
import Networks
import Quantizing

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
  /// - Throws: a ``FileError`` when the text is not there or holds not one, a `QuantizationError` when the model reads fewer
  ///   tokens at once.
  public func read(for model: LoadedModel) throws -> [[Int32]] {
    guard Folder.exists(path) else { throw FileError(path, "is not there", remedy: "name a text or a .jsonl file") }
    let longest = model.network.contextLength
    guard length <= longest else {
      let told = length == 256 ? " (as they have where --length is left out)" : ""
      throw QuantizationError(
        "calibration sequences of \(length) tokens\(told) are too long: the model reads at most \(longest) at a time",
        remedy: "give --length \(longest) or less")
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

  /// What a person reads of the `count` sequences that were found.
  func line(_ count: Int) -> String {
    "calibration on \(grouped(count)) sequences of \(length) tokens"
      + (count < sequences ? ": the text holds no more, and \(grouped(sequences)) were asked for" : "")
  }
}
