/// A path in a recipe: the text as written, and the place it names.
///
/// A path written in the recipe is relative to the recipe's folder, one written on the command line to
/// the working folder. Two are equal when they name the same place, however they were written.
public struct RecipePath: Sendable, Equatable, CustomStringConvertible {
  /// As written, before `${…}` was filled in.
  public var raw: String
  /// Absolute, or the bare name of a known model such as `smollm2`.
  public var path: String

  /// The place `path`, written as `raw`.
  public init(raw: String, path: String) {
    self.raw = raw
    self.path = path
  }

  /// The place itself.
  public init(_ path: String) { self.init(raw: path, path: path) }

  /// Whether both name the same place.
  public static func == (a: RecipePath, b: RecipePath) -> Bool { a.path == b.path }

  /// The path, ready to open.
  public var description: String { path }
}
