/// Everything wrong with a recipe, found in one pass; nothing has been started when it is thrown.
///
/// The command line prints its description and leaves with code 2.
public struct RecipeError: Error, Sendable, Equatable, CustomStringConvertible {
  /// One mistake: where it stands, what was found, and what to do.
  public struct Problem: Sendable, Equatable {
    /// Counted from 1; 0 when the mistake has no place in the file.
    public var line: Int
    /// Counted from 1 in Unicode scalars; 0 when the mistake has no place in the file.
    public var column: Int
    /// What was found and what was expected, in one line.
    public var message: String
    /// What to do about it; may have several lines.
    public var hint: String?
    /// The command-line override at fault, when the mistake is not in the file.
    public var argument: String?

    /// A mistake at a place in the recipe file, or in `argument` of the command line.
    public init(line: Int, column: Int, message: String, hint: String? = nil, argument: String? = nil) {
      self.line = line
      self.column = column
      self.message = message
      self.hint = hint
      self.argument = argument
    }
  }

  /// In the order of the file; mistakes of the command line come last.
  public var problems: [Problem]
  /// The recipe as the user named it.
  public var path: String

  /// Gathers the mistakes of the recipe at `path`.
  public init(_ problems: [Problem], path: String) {
    self.problems = problems
    self.path = path
  }

  /// One paragraph a mistake, then a count:
  ///
  ///     error: recipe.yaml:17:3: unknown key 'rnak' in 'adapter'
  ///       did you mean 'rank'?   valid: type from rank …
  ///     1 error; nothing was started.
  public var description: String {
    var lines: [String] = []
    for problem in problems {
      lines.append("error: \(place(of: problem)): \(problem.message)")
      for line in (problem.hint ?? "").split(separator: "\n") { lines.append("  \(line)") }
    }
    lines.append("\(problems.count) error\(problems.count == 1 ? "" : "s"); nothing was started.")
    return lines.joined(separator: "\n")
  }

  private func place(of problem: Problem) -> String {
    if let argument = problem.argument { return "command line '\(argument)'" }
    return problem.line > 0 ? "\(path):\(problem.line):\(problem.column)" : path
  }
}
