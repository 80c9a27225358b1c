/// A matrix, or a name, that cannot be packed as asked.
public struct PackingError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The packing's name, or the text that should have named one.
  public var packing: String
  /// The row at fault, counted from 0, where one is.
  public var row: Int?
  /// What was found.
  public var problem: String
  /// What to do about it.
  public var remedy: String?

  /// Creates an error; its sentence is `description`.
  public init(_ packing: String, row: Int? = nil, _ problem: String, remedy: String? = nil) {
    self.packing = packing
    self.row = row
    self.problem = problem
    self.remedy = remedy
  }

  /// `Q4_0: row 3: column 7 is nan; only finite values can be packed`
  public var description: String {
    let place = row.map { ": row \($0)" } ?? ""
    let advice = remedy.map { "; \($0)" } ?? ""
    return "\(packing)\(place): \(problem)\(advice)"
  }
}
