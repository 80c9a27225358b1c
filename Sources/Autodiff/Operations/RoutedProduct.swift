/// s x Aᵢᵀ Bᵢᵀ for the rows of run i: a low-rank change whose factors differ from one run of rows to the next.
///
/// Shapes: `x` `[rows, inputs]`, `a` `[factors, rank, inputs]`, `b` `[factors, outputs, rank]`; each run names its pair
/// of factors, which several may share, and together the runs are all rows, in order. Keeps `x` (for A's gradient, unless
/// it can be had again) and x Aᵢᵀ (for B's).
public func routedLowRank(
  _ x: Tensor, a: Tensor, b: Tensor, scale: Float, runs: [(factors: Int, rows: Range<Int>)]
) -> Tensor {
  require(a.shape.rank == 3 && b.shape.rank == 3, "routed factors have 3 axes; got \(a.shape) and \(b.shape)")
  let (pairs, rank, inputs, outputs, rows) = (a.shape[0], a.shape[1], a.shape[2], b.shape[1], x.shape.rows)
  require(b.shape == [pairs, outputs, rank], "factors of shapes \(a.shape) and \(b.shape)")
  require(x.shape.columns == inputs, "inputs of shape \(x.shape) for factors \(a.shape)")
  var end = 0
  for run in runs {
    require(run.rows.lowerBound == end, "a run of rows starts at \(run.rows.lowerBound), the last ended at \(end)")
    require(run.factors >= 0 && run.factors < pairs, "a run names factors \(run.factors) of \(pairs)")
    end = run.rows.upperBound
  }
  require(end == rows, "runs of \(end) rows for \(rows)")
  let kept = x.kept, aValue = a.detached, bValue = b.detached
  let hidden = Tensor(shape: [rows, rank]) { place in
    withExtendedLifetime(x.storage) {
      for (i, run) in runs {
        gemm(
          false, true, run.count, rank, inputs, x.pointer + run.lowerBound * inputs, inputs,
          aValue.pointer + i * rank * inputs, inputs, place + run.lowerBound * rank, rank)
      }
    }
  }
  let change = Tensor(shape: x.shape.replacingLast(outputs)) { place in
    for (i, run) in runs {
      gemm(
        false, true, run.count, outputs, rank, alpha: scale, hidden.pointer + run.lowerBound * rank, rank,
        bValue.pointer + i * outputs * rank, rank, place + run.lowerBound * outputs, outputs)
    }
  }
  return Tensor(change, of: [x, a, b]) { gradient, inflow in
    let back = Tensor(shape: [rows, rank]) { place in  // s g B, the gradient of x Aᵀ
      for (i, run) in runs {
        gemm(
          false, false, run.count, rank, outputs, alpha: scale, gradient.pointer + run.lowerBound * outputs, outputs,
          bValue.pointer + i * outputs * rank, rank, place + run.lowerBound * rank, rank)
      }
    }
    inflow.add(0) { place, accumulates in
      for (i, run) in runs {
        gemm(
          false, false, run.count, inputs, rank, back.pointer + run.lowerBound * rank, rank,
          aValue.pointer + i * rank * inputs, inputs, beta: accumulates ? 1 : 0, place + run.lowerBound * inputs, inputs
        )
      }
    }
    if inflow.wants(1) {
      let x = kept()
      inflow.add(1) { place, accumulates in
        if !accumulates { place.update(repeating: 0, count: pairs * rank * inputs) }
        withExtendedLifetime((x.storage, back.storage)) {
          for (i, run) in runs where !run.isEmpty {
            gemm(
              true, false, rank, inputs, run.count, back.pointer + run.lowerBound * rank, rank,
              x.pointer + run.lowerBound * inputs, inputs, beta: 1, place + i * rank * inputs, inputs)
          }
        }
      }
    }
    inflow.add(2) { place, accumulates in
      if !accumulates { place.update(repeating: 0, count: pairs * outputs * rank) }
      for (i, run) in runs where !run.isEmpty {
        gemm(
          true, false, outputs, rank, run.count, alpha: scale, gradient.pointer + run.lowerBound * outputs, outputs,
          hidden.pointer + run.lowerBound * rank, rank, beta: 1, place + i * outputs * rank, rank)
      }
    }
  }
}
