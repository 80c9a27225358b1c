/// The matrix product of the last two axes, batched over the ones before, which must be equal.
///
/// With `transposingB`, `b` is `[…, n, k]` as checkpoints store weights.
public func matmul(_ a: Tensor, _ b: Tensor, transposingA: Bool = false, transposingB: Bool = false) -> Tensor {
  require(a.shape.rank >= 2 && b.shape.rank >= 2, "matmul needs matrices; got \(a.shape) and \(b.shape)")
  let (m, k) = transposingA ? (a.shape[-1], a.shape[-2]) : (a.shape[-2], a.shape[-1])
  let (k2, n) = transposingB ? (b.shape[-1], b.shape[-2]) : (b.shape[-2], b.shape[-1])
  let lead = a.shape.dimensions.dropLast(2)
  require(
    k == k2 && lead == b.shape.dimensions.dropLast(2),
    "matmul needs [n, k] and [k, m]; got \(a.shape)\(transposingA ? "ᵀ" : "") and \(b.shape)\(transposingB ? "ᵀ" : "")")
  let result = batchedProduct(a.detached, transposingA, b.detached, transposingB, Array(lead), m, n, k)
  // Each is read for the other's gradient alone.
  let x = b.hasHistory ? a.kept : nil, y = a.hasHistory ? b.kept : nil
  return Tensor(result, of: [a, b]) { g, inflow in
    if inflow.wants(0), let y = y?() {
      // A = op(A)ᵀ if transposed: dA is (g op(B)ᵀ), or its transpose op(B) gᵀ.
      inflow.add(
        0,
        transposingA
          ? batchedProduct(y, transposingB, g, true, Array(lead), k, m, n)
          : batchedProduct(g, false, y, !transposingB, Array(lead), m, k, n))
    }
    if inflow.wants(1), let x = x?() {
      inflow.add(
        1,
        transposingB
          ? batchedProduct(g, true, x, transposingA, Array(lead), n, k, m)
          : batchedProduct(x, !transposingA, g, false, Array(lead), k, n, m))
    }
  }
}

private func batchedProduct(
  _ a: Tensor, _ transposeA: Bool, _ b: Tensor, _ transposeB: Bool, _ lead: [Int], _ m: Int, _ n: Int, _ k: Int
) -> Tensor {
  let batches = lead.reduce(1, *)
  return withExtendedLifetime((a.storage, b.storage)) {
    Tensor(shape: Shape(lead + [m, n])) { place in
      let (lda, ldb) = (transposeA ? m : k, transposeB ? k : n)
      if batches == 1 { return gemm(transposeA, transposeB, m, n, k, a.pointer, lda, b.pointer, ldb, place, n) }
      Parallel.forEach(batches) { i in
        gemmTile(
          transposeA, transposeB, m, n, k, 1, a.pointer + i * m * k, lda, b.pointer + i * k * n, ldb, 0,
          place + i * m * n, n)
      }
    }
  }
}

/// y = x Wᵀ + b with all three able to learn; `x` is `[…, inputs]`, `weight` `[outputs, inputs]`.
public func linear(_ x: Tensor, weight: Tensor, bias: Tensor? = nil) -> Tensor {
  let flat = x.shape.rank == 2 ? x : x.reshaped([x.shape.rows, x.shape.columns])
  let product = matmul(flat, weight, transposingB: true)
  let y = bias.map { product + $0 } ?? product
  return x.shape.rank == 2 ? y : y.reshaped(x.shape.replacingLast(weight.shape[0]))
}
