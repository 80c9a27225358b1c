/// A matrix that training reads and never changes, whatever its packing in memory.
///
/// `rows` are outputs, `columns` inputs. A conforming type need only hand out its rows as `Float`; it has no gradient
/// and no place in a graph.
public protocol FrozenMatrix: Sendable {
  /// The number of outputs.
  var rows: Int { get }
  /// The number of inputs.
  var columns: Int { get }
  /// Writes the given rows as `Float`, one after another. Called from several threads at once.
  func unpack(rows: Range<Int>, into place: UnsafeMutablePointer<Float>)
  /// Writes, for each of the given rows, its product with `vector` of `columns` floats, as `Float` throughout.
  func multiply(rows: Range<Int>, by vector: UnsafePointer<Float>, into place: UnsafeMutablePointer<Float>)
  /// Calls `body` with the matrix as it lies in memory if that is row-major `Float`, else with nil.
  func withFloats<R>(_ body: (UnsafePointer<Float>?) throws -> R) rethrows -> R
}

/// Below this many tokens, rows are multiplied while packed; from it on, a block is unpacked and given to GEMM.
private let fusedTokens = 4

/// Rows unpacked at a time: enough for GEMM to run at full speed, few enough to stay in cache.
private func blockRows(_ columns: Int) -> Int { max(64, min(512, (1 << 18) / max(1, columns)) & ~31) }

/// Rows that one thread multiplies by a vector at a time: eight go together in a kernel, and a thirty-second part of a
/// large matrix is long enough for the processor to read ahead of the products.
private func rowsTogether(_ rows: Int, columns: Int) -> Int {
  max(16, (1 << 16) / max(1, columns) & ~7, rows / 32 & ~7)
}

extension FrozenMatrix {
  /// Y ← β Y + X Wᵀ for X `[tokens, columns]`, Y `[tokens, rows]`.
  package func multiply(
    _ x: UnsafePointer<Float>, tokens: Int, into y: UnsafeMutablePointer<Float>, accumulates: Bool = false
  ) {
    let (n, k) = (rows, columns)
    if tokens < fusedTokens {
      for token in 0..<tokens {
        Parallel.forRanges(n, grain: rowsTogether(n, columns: k)) { range in
          let place = y + token * n + range.lowerBound
          guard accumulates else { return multiply(rows: range, by: x + token * k, into: place) }
          withUnsafeTemporaryAllocation(of: Float.self, capacity: range.count) { part in
            guard let scratch = part.baseAddress else { return }
            multiply(rows: range, by: x + token * k, into: scratch)
            mapInPlace(range.count, scratch, UnsafePointer(place), place) { $1 + $0 }
          }
        }
      }
      return
    }
    withFloats { dense in
      if let dense {
        return gemm(false, true, tokens, n, k, x, k, dense, k, beta: accumulates ? 1 : 0, y, n)
      }
      forEachUnpackedBlock { rows, block in
        gemm(
          false, true, tokens, rows.count, k, x, k, block, k, beta: accumulates ? 1 : 0, y + rows.lowerBound, n)
      }
    }
  }

  /// X ← β X + Y W for Y `[tokens, rows]`, X `[tokens, columns]`.
  package func multiplyTransposed(
    _ y: UnsafePointer<Float>, tokens: Int, into x: UnsafeMutablePointer<Float>, accumulates: Bool
  ) {
    let (n, k) = (rows, columns)
    withFloats { dense in
      if let dense {
        return gemm(false, false, tokens, k, n, y, n, dense, k, beta: accumulates ? 1 : 0, x, k)
      }
      var beta: Float = accumulates ? 1 : 0
      forEachUnpackedBlock { rows, block in
        gemm(false, false, tokens, k, rows.count, y + rows.lowerBound, n, block, k, beta: beta, x, k)
        beta = 1
      }
    }
  }

  /// Unpacks a block of rows at a time into scratch memory, on several threads.
  private func forEachUnpackedBlock(_ body: (Range<Int>, UnsafePointer<Float>) -> Void) {
    let size = min(rows, blockRows(columns)), scratch = Storage(uninitialized: size * columns)
    withExtendedLifetime(scratch) {
      for start in stride(from: 0, to: rows, by: size) {
        let block = start..<min(rows, start + size)
        Parallel.forRanges(block.count, grain: 32) { range in
          unpack(
            rows: start + range.lowerBound..<start + range.upperBound,
            into: scratch.pointer + range.lowerBound * columns)
        }
        body(block, scratch.pointer)
      }
    }
  }

  /// The whole matrix as a tensor `[rows, columns]`.
  public func unpacked() -> Tensor {
    Tensor(shape: [rows, columns]) { place in
      Parallel.forRanges(rows, grain: 64) { range in
        unpack(rows: range, into: place + range.lowerBound * columns)
      }
    }
  }
}

extension FrozenMatrix {
  /// By unpacking one row at a time; packings with a faster way have their own.
  public func multiply(rows: Range<Int>, by vector: UnsafePointer<Float>, into place: UnsafeMutablePointer<Float>) {
    withUnsafeTemporaryAllocation(of: Float.self, capacity: max(1, columns)) { row in
      guard let scratch = row.baseAddress else { return }
      for (index, r) in rows.enumerated() {
        unpack(rows: r..<r + 1, into: scratch)
        place[index] = dot(scratch, vector, columns)
      }
    }
  }

  /// Nil: what is packed has no floats in memory.
  public func withFloats<R>(_ body: (UnsafePointer<Float>?) throws -> R) rethrows -> R { try body(nil) }
}

/// y = x Wᵀ + b with `W` frozen; `x` is `[…, inputs]`, the result `[…, outputs]`.
///
/// The pullback holds the packed matrix and unpacks it again, block by block; `x` is not kept.
public func linear(_ x: Tensor, _ weight: any FrozenMatrix, bias: Tensor? = nil) -> Tensor {
  require(
    x.shape.columns == weight.columns, "inputs of shape \(x.shape) for a matrix [\(weight.rows), \(weight.columns)]")
  let tokens = x.shape.rows
  let y = Tensor(shape: x.shape.replacingLast(weight.rows)) { place in
    setRows(place, tokens, weight.rows, bias)
    withExtendedLifetime(x.storage) {
      weight.multiply(x.pointer, tokens: tokens, into: place, accumulates: bias != nil)
    }
  }
  return Tensor(y, of: [x] + (bias.map { [$0] } ?? [])) { [hasBias = bias != nil] gradient, inflow in
    inflow.add(0) { place, accumulates in
      weight.multiplyTransposed(gradient.pointer, tokens: tokens, into: place, accumulates: accumulates)
    }
    if hasBias { inflow.addColumnSums(1, of: gradient) }
  }
}

/// y = x Wᵀ + b + s (x ⊙ mask) Aᵀ Bᵀ: a frozen product and a low-rank change to it, in one operation.
///
/// Shapes: `x` `[…, inputs]`, `a` `[rank, inputs]`, `b` `[outputs, rank]`; `mask`, where there is one, gives the same
/// `[…, inputs]` each time it is called. Keeps `x` (for A's gradient, unless it can be had again) and x Aᵀ (for B's),
/// never the mask and never a gradient of `W`. The same numbers as composing the parts, with every sum accumulated in
/// place.
public func lowRankLinear(
  _ x: Tensor, _ weight: any FrozenMatrix, bias: Tensor? = nil, a: Tensor, b: Tensor, scale: Float,
  mask: (@Sendable () -> Tensor)? = nil
) -> Tensor {
  let (inputs, outputs, rank, tokens) = (weight.columns, weight.rows, a.shape[0], x.shape.rows)
  require(x.shape.columns == inputs, "inputs of shape \(x.shape) for a matrix [\(outputs), \(inputs)]")
  require(
    a.shape == [rank, inputs] && b.shape == [outputs, rank],
    "factors \(a.shape) and \(b.shape) for a matrix [\(outputs), \(inputs)]")
  let kept = x.kept, aValue = a.detached, bValue = b.detached
  let hidden = Tensor(shape: [tokens, rank]) { place in
    let branch = masked(x.detached, mask?())
    gemm(false, true, tokens, rank, inputs, branch.pointer, inputs, aValue.pointer, inputs, place, rank)
  }
  let y = Tensor(shape: x.shape.replacingLast(outputs)) { place in
    setRows(place, tokens, outputs, bias)
    withExtendedLifetime(x.storage) {
      weight.multiply(x.pointer, tokens: tokens, into: place, accumulates: bias != nil)
    }
    gemm(
      false, true, tokens, outputs, rank, alpha: scale, hidden.pointer, rank, bValue.pointer, rank, beta: 1, place,
      outputs)
  }
  return Tensor(y, of: [x, a, b] + (bias.map { [$0] } ?? [])) { [hasBias = bias != nil] gradient, inflow in
    let g = gradient.pointer
    let mask = mask?()
    let back = Tensor(shape: [tokens, rank]) { place in  // s g B, the gradient of x Aᵀ
      gemm(false, false, tokens, rank, outputs, alpha: scale, g, outputs, bValue.pointer, rank, place, rank)
    }
    inflow.add(0) { place, accumulates in
      weight.multiplyTransposed(g, tokens: tokens, into: place, accumulates: accumulates)
      if let mask {
        let branch = Tensor(shape: [tokens, inputs]) {
          gemm(false, false, tokens, inputs, rank, back.pointer, rank, aValue.pointer, inputs, $0, inputs)
        }
        Parallel.forRanges(branch.count, grain: elementGrain) { range in
          let o = range.lowerBound
          mapInPlace(range.count, branch.pointer + o, mask.pointer + o, place + o, accumulates: true) { $0 * $1 }
        }
      } else {
        gemm(false, false, tokens, inputs, rank, back.pointer, rank, aValue.pointer, inputs, beta: 1, place, inputs)
      }
    }
    if inflow.wants(1) {
      let branch = masked(kept(), mask)
      inflow.add(1) { place, accumulates in
        gemm(
          true, false, rank, inputs, tokens, back.pointer, rank, branch.pointer, inputs, beta: accumulates ? 1 : 0,
          place, inputs)
      }
    }
    inflow.add(2) { place, accumulates in
      gemm(
        true, false, outputs, rank, tokens, alpha: scale, g, outputs, hidden.pointer, rank, beta: accumulates ? 1 : 0,
        place, rank)
    }
    if hasBias { inflow.addColumnSums(3, of: gradient) }
  }
}

private func masked(_ x: Tensor, _ mask: Tensor?) -> Tensor {
  guard let mask else { return x }
  require(mask.count == x.count, "a mask of \(mask.count) numbers for inputs of shape \(x.shape)")
  return x.zipped(mask) { $0 * $1 }
}

/// Sets every row to `bias`, so that a product can be added to it; without one, leaves the rows unset.
func setRows(_ place: UnsafeMutablePointer<Float>, _ rows: Int, _ columns: Int, _ bias: Tensor?) {
  guard let bias else { return }
  require(bias.count == columns, "a bias of shape \(bias.shape) for \(columns) outputs")
  for row in 0..<rows { (place + row * columns).update(from: bias.pointer, count: columns) }
}

extension Inflow {
  /// Adds, for an operand of one row, the sum of the gradient's rows.
  func addColumnSums(_ index: Int, of gradient: Tensor) {
    guard wants(index) else { return }
    let (rows, columns) = (gradient.shape.rows, gradient.shape.columns)
    add(index) { place, accumulates in
      if !accumulates { place.update(repeating: 0, count: columns) }
      for row in 0..<rows {
        mapInPlace(columns, gradient.pointer + row * columns, UnsafePointer(place), place) { $1 + $0 }
      }
    }
  }
}

extension Shape {
  /// The same sizes but the last.
  func replacingLast(_ size: Int) -> Shape { Shape(dimensions.dropLast() + [size]) }
}
