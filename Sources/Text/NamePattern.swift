import Files

/// A regular expression for whole names, by which adapters choose a model's layers.
///
/// An adapter from a stranger may bring one, so no expression may take forever: it is matched as tokenizers' are, in
/// time proportional to the name, and understands what those understand. `^` at its start and `$` at its end may be
/// written, though they say what holds anyway.
package struct NamePattern: Sendable {
  private static let longest = 4096

  private let pattern: Pattern

  /// - Parameter allowsPrefix: whether dotted parts may come before what the expression matches.
  /// - Throws: `FileError` for `path`, naming what in the expression is not understood.
  package init(_ source: String, allowsPrefix: Bool = false, path: String) throws {
    let place = "regular expression \(quoted(source))"
    guard source.utf8.count <= Self.longest else {
      throw FileError(path, at: place, "is \(source.utf8.count) bytes long; at most \(Self.longest) are read")
    }
    var expression = source[...]
    let isAnchored = expression.first == "^"
    if isAnchored { expression = expression.dropFirst() }
    if expression.last == "$", expression.dropLast().last != "\\" { expression = expression.dropLast() }
    // Checked alone first, so that what is wrong is told at its place and no ')' closes the group around it.
    let alone = try Pattern(String(expression), path: path, place: place, isWhole: true)
    pattern =
      allowsPrefix && !isAnchored
      ? try Pattern("(?:.*\\.)?(?:\(expression))", path: path, place: place, isWhole: true) : alone
  }

  /// Whether it matches all of `name`.
  package func matches(_ name: String) -> Bool { pattern.matchesStart(of: Array(name.unicodeScalars)) }
}
