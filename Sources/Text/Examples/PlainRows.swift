import Files

/// The rows of a data file as they stand, before they become examples.
public struct PlainRows: Sendable, Equatable {
  /// The rows, each a JSON object.
  public let rows: [JSON]

  /// The rows of the file at `path`; those alone whose `field` is the text `value`, where one is named.
  ///
  /// - Throws: a `FileError` for a file that cannot be read, a row that is no object, and one without the field.
  public init(_ path: String, where selection: (field: String, value: String)? = nil) throws {
    var reader = try DataRows(path, maxRowBytes: ExampleOptions().maxRowBytes)
    var rows: [JSON] = []
    while let row = try reader.next() {
      guard row.value.members != nil else { throw FileError(path, at: row.place, "is no object with keys") }
      if let selection {
        guard let found = row.value[selection.field]?.string else {
          throw FileError(
            path, at: row.place, "'\(selection.field)' names no task", remedy: "give every row its task as text")
        }
        guard found == selection.value else { continue }
      }
      rows.append(row.value)
    }
    self.rows = rows
  }

  /// The layout that the first row's keys speak of; nil where they speak of none.
  public var format: ExampleOptions.Format? { rows.first.flatMap(RowParser.format) }
}
