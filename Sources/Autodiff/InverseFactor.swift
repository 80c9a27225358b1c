import COpenBLAS

/// The upper triangular U with (A + d I)⁻¹ = Uᵀ U for a symmetric `a` `[n, n]`, in double precision throughout; d is
/// `damping` times the mean of A's diagonal.
///
/// Reads the upper triangle of `a`.
///
/// - Throws: when a number is not finite or the damped matrix is not positive definite.
public func inverseFactor(of a: Tensor, damping: Double) throws -> Tensor {
  require(a.shape.rank == 2 && a.shape[0] == a.shape[1], "a square matrix; got shape \(a.shape)")
  let n = a.shape[0], name = "the factor of an inverse of \(a.shape)"
  guard a.isFinite else {
    throw DecompositionError(operation: name, problem: "the matrix holds a number that is not finite")
  }
  // Making the pool of threads is what holds OpenBLAS to one; without, its results would depend on the machine.
  _ = Parallel.threads
  var values = a.values.map(Double.init)
  let mean = (0..<n).reduce(0.0) { $0 + values[$1 * n + $1] } / Double(max(1, n))
  for i in 0..<n { values[i * n + i] += damping * mean }
  // Row-major and symmetric is column-major as well: element (i, j) of the upper triangle stands at j n + i.
  for i in 0..<n { for j in 0..<i { values[i * n + j] = values[j * n + i] } }
  let order = [Int32(n)]
  var info: Int32 = 0
  for step in [dpotrf_, dpotri_, dpotrf_] where info == 0 && n > 0 { step("U", order, &values, order, &info, 1) }
  guard info == 0 else {
    throw DecompositionError(
      operation: name, problem: "the leading minor of order \(info) is not positive; raise the damping")
  }
  return Tensor(shape: [n, n]) { place in
    for i in 0..<n {
      for j in 0..<n { place[i * n + j] = j < i ? 0 : Float(values[j * n + i]) }
    }
  }
}
