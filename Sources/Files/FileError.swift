/// Something wrong with the data in a file, or with reaching it: which file, where in it, what, and what to do.
public struct FileError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The file, as the caller named it.
  public var path: String

  /// Where in the file: `line 7, column 3`, `tensor 'blk.0.attn_q.weight'`, `key 'general.alignment'`.
  public var place: String?

  /// What was found, and what was expected.
  public var problem: String

  /// What the reader can do about it.
  public var remedy: String?

  /// Whether a result could not be written, as on a full disk, rather than something given be read.
  public private(set) var isOutput = false

  /// An error in a file as a whole, or at a place in it.
  public init(_ path: String, at place: String? = nil, _ problem: String, remedy: String? = nil) {
    self.path = path
    self.place = place
    self.problem = problem
    self.remedy = remedy
  }

  /// An error at a line, and perhaps a column, of a text; both count from 1.
  public init(_ path: String, line: Int, column: Int? = nil, _ problem: String, remedy: String? = nil) {
    let place = column.map { "line \(line), column \($0)" } ?? "line \(line)"
    self.init(path, at: place, problem, remedy: remedy)
  }

  /// An error in writing a result.
  package static func unwritable(
    _ path: String, at place: String? = nil, _ problem: String, remedy: String? = nil
  ) -> FileError {
    var error = FileError(path, at: place, problem, remedy: remedy)
    error.isOutput = true
    return error
  }

  /// One sentence: `config.json:7:3: duplicate key 'rank'` or `a.gguf: tensor 'x': problem; remedy`.
  public var description: String {
    var text = path
    if let place {
      text += Self.position(place) ?? ": \(place)"
    }
    text += ": \(problem)"
    if let remedy {
      text += "; \(remedy)"
    }
    return text
  }

  /// `:7:3` for `line 7, column 3`, `:7` for `line 7`, nothing for any other place.
  private static func position(_ place: String) -> String? {
    let words = place.split(separator: " ", omittingEmptySubsequences: false)
    guard words.first == "line" else { return nil }
    if words.count == 2, let line = Int(words[1]) { return ":\(line)" }
    guard words.count == 4, words[1].last == ",", words[2] == "column" else { return nil }
    guard let line = Int(words[1].dropLast()), let column = Int(words[3]) else { return nil }
    return ":\(line):\(column)"
  }
}
