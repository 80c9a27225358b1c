import Autodiff
import Files

/// A matrix as codes with their groups' scales and zeros, before it is laid out as bytes.
public struct GroupedCodes: Sendable {
  /// How the codes are grouped and will be stored.
  public let layout: GroupLayout
  /// Outputs and inputs.
  public let rows: Int, columns: Int
  /// One code a number, `[rows, columns]`.
  public var codes: [UInt8]
  /// The groups' grids: `[rows, groups]`, or `[groups, columns]` where groups lie along the output.
  public var grids: [GroupGrid]

  /// All codes 0 on a grid of zeros.
  ///
  /// - Throws: a ``PackingError`` when the layout's groups do not divide the matrix.
  public init(_ layout: GroupLayout, rows: Int, columns: Int) throws {
    try layout.check(rows: rows, columns: columns)
    (self.layout, self.rows, self.columns) = (layout, rows, columns)
    codes = [UInt8](repeating: 0, count: rows * columns)
    let groups =
      layout.axis == .input ? rows * (columns / layout.groupLength(columns)) : rows / layout.group * columns
    grids = [GroupGrid](repeating: GroupGrid(scale: 0, zero: 0, layout), count: groups)
  }

  /// `values` `[rows, columns]` rounded to the nearest code, each group's range chosen as `clip` says; `weights`, one a
  /// column, weigh the errors.
  public init(rounding values: Tensor, to layout: GroupLayout, clip: GroupClip = .none, weights: Tensor? = nil) throws {
    let (rows, columns) = (values.shape[0], values.shape[1])
    try self.init(layout, rows: rows, columns: columns)
    if let stray = values.firstNotFinite {
      throw PackingError(
        layout.name, row: stray.index / columns, "column \(stray.index % columns) is \(stray.value)",
        remedy: "only finite values can be packed")
    }
    let weightValues = weights?.values
    values.withValues { values in
      forEachGroup { group, first, stride, count, codes, grids in
        guard let base = values.baseAddress else { return }
        let column = first % columns
        let grid: GroupGrid = weightValues.withBase { weights in
          GroupGrid(
            fitting: base + first, count: count, stride: stride,
            weights: stride == 1 ? weights.map { $0 + column } : nil, clip: clip, layout)
        }
        grids[group] = grid
        for i in 0..<count { codes[first + i * stride] = grid.code(base[first + i * stride]) }
      }
    }
  }

  /// The number of the group that holds an entry.
  @inline(__always)
  public func group(_ row: Int, _ column: Int) -> Int { layout.group(row, column, of: columns) }

  /// The numbers the codes stand for, `[rows, columns]`.
  public func unpacked() -> Tensor {
    Tensor(shape: [rows, columns]) { place in
      for row in 0..<rows {
        for column in 0..<columns {
          place[row * columns + column] = grids[group(row, column)].value(codes[row * columns + column])
        }
      }
    }
  }

  /// Calls `body` for each group, several at a time: its number, where its first code is, how far apart and how many.
  mutating func forEachGroup(
    _ body: (
      _ group: Int, _ first: Int, _ stride: Int, _ count: Int, UnsafeMutablePointer<UInt8>,
      UnsafeMutablePointer<GroupGrid>
    ) -> Void
  ) {
    let (columns, layout) = (columns, layout), groups = grids.count
    codes.withUnsafeMutableBufferPointer { codes in
      grids.withUnsafeMutableBufferPointer { grids in
        guard let codeBase = codes.baseAddress, let gridBase = grids.baseAddress else { return }
        nonisolated(unsafe) let (codes, grids, body) = (codeBase, gridBase, body)
        Parallel.forRanges(groups, grain: 256) { range in
          for group in range {
            if layout.axis == .output {
              body(
                group, group / columns * layout.group * columns + group % columns, columns, layout.group, codes, grids)
            } else {
              let length = layout.groupLength(columns), perRow = columns / length
              body(group, group / perRow * columns + group % perRow * length, 1, length, codes, grids)
            }
          }
        }
      }
    }
  }
}

extension GroupLayout {
  /// The number of the group that holds an entry of a matrix of so many columns.
  @inline(__always)
  func group(_ row: Int, _ column: Int, of columns: Int) -> Int {
    if axis == .output { return row / group * columns + column }
    let length = groupLength(columns)
    return row * (columns / length) + column / length
  }

  /// - Throws: when its groups do not divide a matrix `[rows, columns]`.
  func check(rows: Int, columns: Int) throws {
    try check()
    guard rows > 0, columns > 0, columns % 32 == 0 else {
      throw PackingError(
        name, "a row has \(columns) columns, and 32 are packed together",
        remedy: "use a packing whose block divides \(columns)")
    }
    let length = axis == .input ? columns : rows
    guard length % groupLength(length) == 0 else {
      let what = axis == .input ? "a row has \(columns) columns" : "the matrix has \(rows) rows"
      throw PackingError(name, "\(what), and \(group) share a scale", remedy: "use a group that divides \(length)")
    }
  }
}

extension Tensor {
  /// The first number that is not finite.
  package var firstNotFinite: (index: Int, value: Float)? {
    withValues { values in values.firstIndex { !$0.isFinite }.map { ($0, values[$0]) } }
  }
}

extension [Float]? {
  fileprivate func withBase<R>(_ body: (UnsafePointer<Float>?) -> R) -> R {
    guard let self else { return body(nil) }
    return self.withUnsafeBufferPointer { body($0.baseAddress) }
  }
}
