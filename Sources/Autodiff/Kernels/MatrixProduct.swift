import COpenBLAS

/// C ← α op(A) op(B) + β C for row-major matrices, op(A) `[m, k]`, op(B) `[k, n]`, C `[m, n]`.
///
/// OpenBLAS computes each tile on one thread; the tiles are cut by the shape alone, so the result's bits do not depend
/// on how many threads there are.
package func gemm(
  _ transposeA: Bool, _ transposeB: Bool, _ m: Int, _ n: Int, _ k: Int,
  alpha: Float = 1, _ a: UnsafePointer<Float>, _ lda: Int, _ b: UnsafePointer<Float>, _ ldb: Int,
  beta: Float = 0, _ c: UnsafeMutablePointer<Float>, _ ldc: Int
) {
  guard m > 0, n > 0 else { return }
  let longest = max(m, n)
  if m * n * k < 1 << 19 || longest < 64 {
    return gemmTile(transposeA, transposeB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
  }
  // An even number of tiles of about 256, so that two threads finish together; each tile packs the other operand anew,
  // so smaller ones cost more.
  let tiles = max(2, (longest + 256) / 512 * 2)
  let size = ((longest + tiles - 1) / tiles + 15) & ~15
  Parallel.forRanges(longest, grain: size) { range in
    let start = range.lowerBound
    if m >= n {
      let tileA = transposeA ? a + start : a + start * lda
      gemmTile(transposeA, transposeB, range.count, n, k, alpha, tileA, lda, b, ldb, beta, c + start * ldc, ldc)
    } else {
      let tileB = transposeB ? b + start * ldb : b + start
      gemmTile(transposeA, transposeB, m, range.count, k, alpha, a, lda, tileB, ldb, beta, c + start, ldc)
    }
  }
}

/// The same on the calling thread alone.
@inline(__always)
package func gemmTile(
  _ transposeA: Bool, _ transposeB: Bool, _ m: Int, _ n: Int, _ k: Int,
  _ alpha: Float, _ a: UnsafePointer<Float>, _ lda: Int, _ b: UnsafePointer<Float>, _ ldb: Int,
  _ beta: Float, _ c: UnsafeMutablePointer<Float>, _ ldc: Int
) {
  cblas_sgemm(
    CblasRowMajor, transposeA ? CblasTrans : CblasNoTrans, transposeB ? CblasTrans : CblasNoTrans,
    blasint(m), blasint(n), blasint(k), alpha, a, blasint(lda), b, blasint(ldb), beta, c, blasint(ldc))
}
