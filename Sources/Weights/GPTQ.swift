import Autodiff

/// Choosing codes one column at a time, each column's error being made good by the columns still to come.
///
///     H = E[x xᵀ],   (H + d I)⁻¹ = Uᵀ U
///     for each column i:  e = (wᵢ − ŵᵢ) / Uᵢᵢ,   w_j ← w_j − e Uᵢⱼ  for j > i          (Frantar et al. 2023, §3)
///
/// Minimises ‖(W − Ŵ) X‖ greedily; it mostly beats rounding to nearest, but need not.
///
/// Paper: <https://arxiv.org/abs/2210.17323>
public struct GPTQ: Sendable {
  /// Columns between whole updates of what is left.
  public var block = 128
  /// What is added to H's diagonal, as a part of its mean.
  public var damping = 0.01
  /// Whether columns go by falling H: those that matter most are rounded while most others can still make good.
  public var ordersByActivation = false
  /// Whether groups get their grids beforehand, in the matrix's own order; with ``ordersByActivation`` the columns then
  /// stay in order, without it each is stored where it was rounded.
  public var hasStaticGroups = false
  /// How a group's range is chosen.
  public var clip = GroupClip.none

  /// The authors' choices.
  public init() {}

  /// `values` `[outputs, inputs]` as codes of `layout`, given the inputs' second moment `[inputs, inputs]`.
  ///
  /// - Throws: a ``PackingError`` when the layout's groups do not divide the matrix, a ``DecompositionError`` when the
  ///   moment is not finite or not positive definite.
  public func codes(_ values: Tensor, moment: Tensor, layout: GroupLayout) throws -> OrderedCodes {
    let (rows, columns) = (values.shape[0], values.shape[1])
    require(moment.shape == [columns, columns], "a moment of shape \(moment.shape) for \(columns) inputs")
    var grid = try GroupedCodes(layout, rows: rows, columns: columns)
    let diagonal = moment.withValues { values in (0..<columns).map { values[$0 * columns + $0] } }
    var order = Array(0..<columns)
    if ordersByActivation { order = order.sorted { (-diagonal[$0], $0) < (-diagonal[$1], $1) } }
    let permutation = ordersByActivation ? order.map(Int32.init) : nil
    var hessian = permutation.map { moment.gathered($0).transposed.gathered($0) } ?? moment
    let dead = order.indices.filter { diagonal[order[$0]] == 0 }
    if !dead.isEmpty { hessian = hessian.settingDiagonal(dead, to: 1) }
    let factor = try inverseFactor(of: hessian, damping: damping)
    let isStored = ordersByActivation && !hasStaticGroups
    if hasStaticGroups {
      grid = try GroupedCodes(rounding: values, to: layout, clip: clip)
    }
    let work = (permutation.map { values.transposed.gathered($0).transposed } ?? values).copied
    for column in dead { for row in 0..<rows { work.pointer[row * columns + column] = 0 } }
    run(on: work, factor, into: &grid, place: { isStored ? $0 : order[$0] })
    return OrderedCodes(codes: grid, columnOrder: isStored ? permutation : nil)
  }

  /// `values` as numbers that `round` gives, which is asked for each in turn and told what it has become by then: a
  /// quantiser of any kind whose numbers are known beforehand.
  ///
  /// - Throws: a ``DecompositionError`` when the moment is not finite or not positive definite.
  func values(
    _ values: Tensor, moment: Tensor, round: (_ row: Int, _ column: Int, _ value: Float) -> Float
  ) throws -> Tensor {
    let (rows, columns) = (values.shape[0], values.shape[1])
    let dead = moment.withValues { values in (0..<columns).filter { values[$0 * columns + $0] == 0 } }
    let factor = try inverseFactor(of: dead.isEmpty ? moment : moment.settingDiagonal(dead, to: 1), damping: damping)
    let work = values.copied
    feedBack(on: work, factor, rows: rows, unit: 1, fit: { _, _, _ in }, round: round)
    return Tensor(work, values.shape)
  }

  /// Rounds the columns of `work` in the order they lie; `place` says where the codes of each belong.
  private func run(
    on work: Storage, _ factor: Tensor, into grid: inout GroupedCodes, place: (Int) -> Int
  ) {
    let (rows, columns, layout) = (grid.rows, grid.columns, grid.layout)
    let places = (0..<columns).map(place)
    let length = layout.groupLength(layout.axis == .input ? columns : rows)
    // What is rounded together: a row, or the rows that share scales.
    let unit = layout.axis == .input ? 1 : length
    let weights = work.pointer, isStatic = hasStaticGroups, clip = clip
    grid.codes.withUnsafeMutableBufferPointer { codes in
      grid.grids.withUnsafeMutableBufferPointer { grids in
        feedBack(
          on: work, factor, rows: rows, unit: unit,
          fit: { first, column, isBlockStart in
            guard !isStatic else { return }
            let start = weights + first * columns
            if layout.axis == .output {
              grids[layout.group(first, places[column], of: columns)] = GroupGrid(
                fitting: start + column, count: unit, stride: columns, clip: clip, layout)
            } else if isBlockStart {
              // The groups that start in this block are fitted to what earlier blocks left of them.
              for group in column..<min(columns, column + block) where group % length == 0 {
                grids[layout.group(first, group, of: columns)] = GroupGrid(
                  fitting: start + group, count: length, clip: clip, layout)
              }
            }
          },
          round: { row, column, value in
            let target = places[column], group = grids[layout.group(row, target, of: columns)]
            let code = group.code(value)
            codes[row * columns + target] = code
            return group.value(code)
          })
      }
    }
  }

  /// Replaces each number of `work` by what `round` makes of it, column by column, and has later columns make good the
  /// error. `fit` is called before a column of `unit` adjacent rows is rounded.
  private func feedBack(
    on work: Storage, _ factor: Tensor, rows: Int, unit: Int,
    fit: (_ first: Int, _ column: Int, _ isBlockStart: Bool) -> Void, round: (Int, Int, Float) -> Float
  ) {
    let columns = factor.shape[0], weights = work.pointer, upper = factor.pointer
    let errors = Storage(uninitialized: rows * block)
    for start in stride(from: 0, to: columns, by: block) {
      let end = min(columns, start + block), width = end - start
      Parallel.forRanges(rows / unit, grain: max(1, 16 / unit)) { range in
        for first in range.map({ $0 * unit }) {
          for column in start..<end {
            fit(first, column, column == start)
            let pivot = upper[column * columns + column], step = upper + column * columns
            for row in first..<first + unit {
              let line = weights + row * columns, rounded = round(row, column, line[column])
              let error = (line[column] - rounded) / pivot
              errors.pointer[row * width + column - start] = error
              for later in column + 1..<max(end, column + 1) { line[later] -= error * step[later] }
              line[column] = rounded
            }
          }
        }
      }
      guard end < columns else { continue }
      gemm(
        false, false, rows, columns - end, width, alpha: -1, errors.pointer, width, upper + start * columns + end,
        columns, beta: 1, weights + end, columns)
    }
    withExtendedLifetime((work, factor, errors)) {}
  }
}

/// Codes, and in what order their columns lie where it is not the matrix's own.
public struct OrderedCodes: Sendable {
  /// The codes.
  public let codes: GroupedCodes
  /// Which input each column reads.
  public let columnOrder: [Int32]?

  /// The matrix they make.
  public func packed() throws -> FrozenWeight { try codes.packed(columnOrder: columnOrder) }
}

extension Tensor {
  /// Its numbers in memory of their own, to be worked on.
  fileprivate var copied: Storage {
    let storage = Storage(uninitialized: count)
    withValues { values in if let base = values.baseAddress { storage.pointer.update(from: base, count: values.count) }
    }
    return storage
  }

  fileprivate func settingDiagonal(_ places: [Int], to value: Float) -> Tensor {
    let n = shape[0], storage = copied
    for i in places { storage.pointer[i * n + i] = value }
    return Tensor(storage, shape)
  }
}
