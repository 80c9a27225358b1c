/// What became of the rows of a data file.
public struct ExampleReport: Sendable, Equatable, CustomStringConvertible {
  /// Something other than being kept whole that happened to a row.
  public enum Outcome: String, Sendable, CaseIterable {
    /// Left out for its length.
    case tooLong = "too long"
    /// Left out for having no token to predict.
    case unsupervised = "without a token to predict"
    /// Kept in part.
    case truncated
  }

  /// Rows read.
  public var read = 0

  /// Examples made.
  public var kept = 0

  /// Rows left out.
  public var dropped = 0

  /// Examples that hold only part of their row.
  public var truncated = 0

  /// Tokens of the examples made.
  public var tokens = 0

  /// Tokens the model is trained to predict.
  public var supervisedTokens = 0

  /// Tokens of the longest row, before any cut.
  public var longest = 0

  /// The first rows, up to three, of each outcome, counted from 1: lines of a JSONL file, elements of an array.
  public var firstRows: [Outcome: [Int]] = [:]

  /// How many rows had each outcome.
  public var counts: [Outcome: Int] = [:]

  /// A report of no rows.
  public init() {}

  /// Counts the rows of another file in; the first rows named stay those of the first file that had any.
  public static func += (total: inout ExampleReport, other: ExampleReport) {
    total.read += other.read
    total.kept += other.kept
    total.dropped += other.dropped
    total.truncated += other.truncated
    total.tokens += other.tokens
    total.supervisedTokens += other.supervisedTokens
    total.longest = max(total.longest, other.longest)
    total.counts.merge(other.counts, uniquingKeysWith: +)
    total.firstRows.merge(other.firstRows) { first, _ in first }
  }

  /// Notes that a row had an outcome.
  mutating func note(_ outcome: Outcome, row: Int) {
    counts[outcome, default: 0] += 1
    if firstRows[outcome, default: []].count < 3 { firstRows[outcome, default: []].append(row) }
  }

  /// `rows 4, 9, 12 and 5 more`.
  func rows(_ outcome: Outcome) -> String {
    let first = firstRows[outcome] ?? []
    let more = (counts[outcome] ?? 0) - first.count
    let list = first.map(String.init).joined(separator: ", ")
    return (first.count == 1 ? "row " : "rows ") + list + (more > 0 ? " and \(more) more" : "")
  }

  /// `120 rows: 118 examples, 9000 tokens (4100 to predict); 2 too long (rows 4, 9)`.
  public var description: String {
    var text = "\(read) rows: \(kept) examples, \(tokens) tokens (\(supervisedTokens) to predict)"
    for outcome in Outcome.allCases where counts[outcome] != nil {
      text += "; \(counts[outcome] ?? 0) \(outcome.rawValue) (\(rows(outcome)))"
    }
    return text
  }
}
