/// Rows of as many cells, each cell filled with spaces to the width of its column; the first `left` columns stand to the
/// left, all others to the right.
public func alignedColumns(_ rows: [[String]], left: Int = .max) -> [[String]] {
  let columns = rows.map(\.count).max() ?? 0
  let widths = (0..<columns).map { column in rows.map { $0.indices.contains(column) ? $0[column].count : 0 }.max() ?? 0
  }
  return rows.map { row in
    row.enumerated().map { column, cell in
      let space = String(repeating: " ", count: widths[column] - cell.count)
      return column < left ? cell + space : space + cell
    }
  }
}
