import COpenBLAS

/// W = U Σ V̂ᵀ, its components in the order in which they matter to inputs of the given second moment.
///
///     W C = U Σ Vᵀ        V̂ᵀ = Vᵀ C⁻¹
///
/// `weight` is `[m, n]`, `moment` `[n, n]`, symmetric and positive definite; `u` is `[m, k]` with orthonormal columns,
/// `values` `[k]` from the largest down, `vt` `[k, n]`, whose rows are not orthonormal; k = min(m, n).
///
/// In `Double` inside: the product has the condition of both its factors, and in `Float` its least components would be
/// noise.
///
/// - Throws: when a number is not finite, `moment` is not positive definite or the iteration does not converge.
public func weightedSingularValues(
  of weight: Tensor, by moment: Tensor
) throws -> (u: Tensor, values: Tensor, vt: Tensor) {
  require(
    weight.shape.rank == 2 && moment.shape == [weight.shape.columns, weight.shape.columns],
    "a second moment of shape \(moment.shape) for a matrix \(weight.shape)")
  let name = "weighted singular values of \(weight.shape)"
  guard weight.isFinite, moment.isFinite else {
    throw DecompositionError(operation: name, problem: "a matrix holds a number that is not finite")
  }
  // Making the pool of threads is what holds OpenBLAS to one; without, its results would depend on the machine.
  _ = Parallel.threads
  let (m, n) = (weight.shape[0], weight.shape[1]), k = min(m, n)
  let w = weight.values.map(Double.init)
  var c = moment.values.map(Double.init)
  var product = [Double](repeating: 0, count: m * n)
  cblas_dgemm(
    CblasRowMajor, CblasNoTrans, CblasNoTrans, blasint(m), blasint(n), blasint(n), 1, w, blasint(n), c, blasint(n), 0,
    &product, blasint(n))
  // Row-major A is column-major Aᵀ = V Σ Uᵀ, so LAPACK's two factors come out as ours, exchanged and in row order.
  var u = [Double](repeating: 0, count: m * k), vt = [Double](repeating: 0, count: k * n)
  var values = [Double](repeating: 0, count: k), integers = [Int32](repeating: 0, count: 8 * k)
  let rows = [Int32(n)], columns = [Int32(m)], lesser = [Int32(k)]
  var wanted = [0.0], info: Int32 = 0
  for size in [-1, nil] {
    let length = [Int32(size ?? Int(wanted[0]))]
    if size == nil { wanted = [Double](repeating: 0, count: Int(length[0])) }
    dgesdd_(
      "S", rows, columns, &product, rows, &values, &vt, rows, &u, lesser, &wanted, length, &integers, &info, 1)
    guard info == 0 else {
      throw DecompositionError(operation: name, problem: "the iteration did not converge")
    }
  }
  // The rows of vt are V's columns in LAPACK's order, which is what it solves for.
  dpotrf_("L", rows, &c, rows, &info, 1)
  guard info == 0 else {
    throw DecompositionError(operation: name, problem: "the second moment is not positive definite")
  }
  dpotrs_("L", rows, lesser, c, rows, &vt, rows, &info, 1)
  func single(_ numbers: [Double], _ shape: Shape) -> Tensor { Tensor(numbers.map(Float.init), shape: shape) }
  return (single(u, [m, k]), single(values, [k]), single(vt, [k, n]))
}

/// The `count` largest singular values of `a` `[m, n]` and their vectors, found from a random part of its range.
///
/// `iterations` passes through A Aᵀ sharpen what was drawn; the result is as good as an exact one where the spectrum
/// falls. Shapes are those of ``singularValues(of:)`` with k = `count`.
///
/// Paper: <https://arxiv.org/abs/0909.4061>, algorithms 4.4 and 5.1.
///
/// - Throws: when a number is not finite or an iteration does not converge.
public func leadingSingularValues(
  of a: Tensor, count: Int, iterations: Int, from random: RandomKey
) throws -> (u: Tensor, values: Tensor, vt: Tensor) {
  require(count <= min(a.shape[0], a.shape[1]), "\(count) singular values of a matrix \(a.shape)")
  // A few more than are wanted: the last ones drawn are the least certain.
  let width = min(count + 8, a.shape[0], a.shape[1])
  var range = try orthogonalTriangular(matmul(a, .normal([a.shape[1], width], from: random))).q  // [m, width]
  for _ in 0..<iterations {
    let other = try orthogonalTriangular(matmul(a, range, transposingA: true)).q  // [n, width]
    range = try orthogonalTriangular(matmul(a, other)).q
  }
  let small = try singularValues(of: matmul(range, a, transposingA: true))
  let u = matmul(range, small.u)
  return (
    u.transposed.rows(0..<count).transposed, small.values.reshaped([width, 1]).rows(0..<count).reshaped([count]),
    small.vt.rows(0..<count)
  )
}
