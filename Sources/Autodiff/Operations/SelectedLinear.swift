/// y = x Wᵀ + b + x[:, columns] Δᵀ: a frozen product, and a change of some of its input columns.
///
/// Shapes: `x` `[…, inputs]`, `delta` `[outputs, columns.count]`. The same as adding `delta` to those columns of `W`.
/// Keeps `x[:, columns]` alone, columns.count numbers a token, where a low-rank change keeps all of `x`.
public func linear(
  _ x: Tensor, _ weight: any FrozenMatrix, bias: Tensor? = nil, columns: [Int], delta: Tensor
) -> Tensor {
  let (inputs, outputs, tokens, count) = (weight.columns, weight.rows, x.shape.rows, columns.count)
  require(x.shape.columns == inputs, "inputs of shape \(x.shape) for a matrix [\(outputs), \(inputs)]")
  require(
    delta.shape == [outputs, count] && columns.allSatisfy { $0 >= 0 && $0 < inputs },
    "a change of shape \(delta.shape) for \(count) columns of a matrix [\(outputs), \(inputs)]")
  let change = delta.detached
  let chosen = x.detached.selected(columns)
  let y = frozenProduct(x, weight, bias) { place in
    gemm(false, true, tokens, outputs, count, chosen.pointer, count, change.pointer, count, beta: 1, place, outputs)
  }
  return Tensor(y, of: [x, delta] + (bias.map { [$0] } ?? [])) { [hasBias = bias != nil] gradient, inflow in
    let g = gradient.pointer
    inflow.add(0) { place, accumulates in
      weight.multiplyTransposed(g, tokens: tokens, into: place, accumulates: accumulates)
      let share = Tensor(shape: [tokens, count]) {
        gemm(false, false, tokens, count, outputs, g, outputs, change.pointer, count, $0, count)
      }
      share.scatter(columns, adding: place, width: inputs)
    }
    inflow.add(1) { place, accumulates in
      gemm(
        true, false, outputs, count, tokens, g, outputs, chosen.pointer, count, beta: accumulates ? 1 : 0, place, count)
    }
    if hasBias { inflow.addColumnSums(2, of: gradient) }
  }
}

/// y = x Wᵀ + b, and y[:, rows] += x Δᵀ: a frozen product, and a change of some of its output rows.
///
/// Shapes: `x` `[…, inputs]`, `delta` `[rows.count, inputs]`. The same as adding `delta` to those rows of `W`. Keeps `x`,
/// unless it can be had again; what is small here is the gradient alone.
public func linear(
  _ x: Tensor, _ weight: any FrozenMatrix, bias: Tensor? = nil, rows: [Int], delta: Tensor
) -> Tensor {
  let (inputs, outputs, tokens, count) = (weight.columns, weight.rows, x.shape.rows, rows.count)
  require(x.shape.columns == inputs, "inputs of shape \(x.shape) for a matrix [\(outputs), \(inputs)]")
  require(
    delta.shape == [count, inputs] && rows.allSatisfy { $0 >= 0 && $0 < outputs },
    "a change of shape \(delta.shape) for \(count) rows of a matrix [\(outputs), \(inputs)]")
  let change = delta.detached, kept = x.kept
  let y = frozenProduct(x, weight, bias) { place in
    let added = Tensor(shape: [tokens, count]) {
      gemm(false, true, tokens, count, inputs, x.pointer, inputs, change.pointer, inputs, $0, count)
    }
    added.scatter(rows, adding: place, width: outputs)
  }
  return Tensor(y, of: [x, delta] + (bias.map { [$0] } ?? [])) { [hasBias = bias != nil] gradient, inflow in
    let chosen = gradient.selected(rows)
    inflow.add(0) { place, accumulates in
      weight.multiplyTransposed(gradient.pointer, tokens: tokens, into: place, accumulates: accumulates)
      gemm(
        false, false, tokens, inputs, count, chosen.pointer, count, change.pointer, inputs, beta: 1, place, inputs)
    }
    if inflow.wants(1) {
      let x = kept()
      inflow.add(1) { place, accumulates in
        gemm(
          true, false, count, inputs, tokens, chosen.pointer, count, x.pointer, inputs, beta: accumulates ? 1 : 0,
          place, inputs)
      }
    }
    if hasBias { inflow.addColumnSums(2, of: gradient) }
  }
}

/// x Wᵀ + b, to which `add` adds in place.
private func frozenProduct(
  _ x: Tensor, _ weight: any FrozenMatrix, _ bias: Tensor?, _ add: (UnsafeMutablePointer<Float>) -> Void
) -> Tensor {
  let tokens = x.shape.rows
  return withExtendedLifetime(x.storage) {
    Tensor(shape: x.shape.replacingLast(weight.rows)) { place in
      setRows(place, tokens, weight.rows, bias)
      weight.multiply(x.pointer, tokens: tokens, into: place, accumulates: bias != nil)
      add(place)
    }
  }
}

extension Tensor {
  /// The named columns of every row, `[rows, columns.count]`, without history.
  fileprivate func selected(_ columns: [Int]) -> Tensor {
    let (rows, width, count) = (shape.rows, shape.columns, columns.count), source = pointer
    return withExtendedLifetime(storage) {
      Tensor(shape: [rows, count]) { place in
        Parallel.forRanges(rows, grain: max(1, elementGrain / max(1, count))) { range in
          for row in range {
            let (line, target) = (source + row * width, place + row * count)
            for (i, column) in columns.enumerated() { target[i] = line[column] }
          }
        }
      }
    }
  }

  /// Adds column i of this to column `columns[i]` of the rows at `place`, which are `width` wide.
  fileprivate func scatter(_ columns: [Int], adding place: UnsafeMutablePointer<Float>, width: Int) {
    let (rows, count) = (shape.rows, columns.count), source = pointer
    withExtendedLifetime(storage) {
      Parallel.forRanges(rows, grain: max(1, elementGrain / max(1, count))) { range in
        for row in range {
          let (line, target) = (source + row * count, place + row * width)
          for (i, column) in columns.enumerated() { target[column] += line[i] }
        }
      }
    }
  }
}
