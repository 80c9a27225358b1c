import COpenBLAS

/// A decomposition that could not be computed.
public struct DecompositionError: Error, Sendable, Equatable, CustomStringConvertible {
  /// Which decomposition, and of what shape.
  public var operation: String
  /// Why not.
  public var problem: String

  /// One sentence from both.
  public var description: String { "\(operation): \(problem)" }
}

/// A = U Σ Vᵀ for `a` `[m, n]`: `u` `[m, k]`, `values` `[k]` from the largest down, `vt` `[k, n]`, k = min(m, n).
///
/// - Throws: when a number is not finite or the iteration does not converge.
public func singularValues(of a: Tensor) throws -> (u: Tensor, values: Tensor, vt: Tensor) {
  let (m, n) = try sizes(a, "singular values")
  let k = min(m, n)
  let u = Storage(uninitialized: m * k), vt = Storage(uninitialized: k * n), s = Storage(uninitialized: k)
  guard k > 0 else { return (Tensor(u, [m, k]), Tensor(s, [k]), Tensor(vt, [k, n])) }
  // Row-major A is column-major Aᵀ = V Σ Uᵀ, so LAPACK's two factors come out as ours, exchanged and in row order.
  let scratch = copy(of: a)
  let integers = UnsafeMutablePointer<Int32>.allocate(capacity: 8 * k)
  defer { integers.deallocate() }
  let rows = [Int32(n)], columns = [Int32(m)], lesser = [Int32(k)]
  try withWorkspace("singular values of \(a.shape)") { work, size, info in
    sgesdd_(
      "S", rows, columns, scratch.pointer, rows, s.pointer, vt.pointer, rows, u.pointer, lesser, work, size, integers,
      info, 1)
  }
  return (Tensor(u, [m, k]), Tensor(s, [k]), Tensor(vt, [k, n]))
}

/// A = Vᵀ Λ V for a symmetric `a` `[n, n]`: `values` `[n]` from the least up, row i of `vectors` the vector of value i.
///
/// Reads the lower triangle only.
///
/// - Throws: when a number is not finite or the iteration does not converge.
public func symmetricEigenvalues(of a: Tensor) throws -> (values: Tensor, vectors: Tensor) {
  let n = try squareSize(a, "eigenvalues")
  let vectors = copy(of: a), values = Storage(uninitialized: n)
  guard n > 0 else { return (Tensor(values, [0]), Tensor(vectors, [0, 0])) }
  // The lower triangle in row order is the upper one in column order; the columns of vectors come out as rows.
  let integers = UnsafeMutablePointer<Int32>.allocate(capacity: 3 + 5 * n)
  defer { integers.deallocate() }
  let order = [Int32(n)], integerCount = [Int32(3 + 5 * n)]
  try withWorkspace("eigenvalues of \(a.shape)") { work, size, info in
    ssyevd_("V", "U", order, vectors.pointer, order, values.pointer, work, size, integers, integerCount, info, 1, 1)
  }
  return (Tensor(values, [n]), Tensor(vectors, [n, n]))
}

/// A = Q R for `a` `[m, n]`: `q` `[m, k]` with orthonormal columns, `r` `[k, n]` upper triangular, k = min(m, n).
///
/// By Householder reflections, so signs are those of LAPACK's `geqrf`, which PyTorch and NumPy call as well.
///
/// - Throws: when a number is not finite.
public func orthogonalTriangular(_ a: Tensor) throws -> (q: Tensor, r: Tensor) {
  let (m, n) = try sizes(a, "orthogonal and triangular factors")
  let k = min(m, n)
  let q = Storage(uninitialized: m * k), r = Storage(zeros: k * n)
  guard k > 0 else { return (Tensor(q, [m, k]), Tensor(r, [k, n])) }
  // Row-major A is column-major Aᵀ = L Q', so A = Q'ᵀ Lᵀ: the LQ factors are the QR factors in row order.
  let factors = copy(of: a), reflections = Storage(uninitialized: k)
  let name = "orthogonal and triangular factors of \(a.shape)"
  let rows = [Int32(n)], columns = [Int32(m)], lesser = [Int32(k)]
  try withWorkspace(name) { work, size, info in
    sgelqf_(rows, columns, factors.pointer, rows, reflections.pointer, work, size, info)
  }
  for row in 0..<k {
    (r.pointer + row * n + row).update(from: factors.pointer + row * n + row, count: n - row)
  }
  try withWorkspace(name) { work, size, info in
    sorglq_(lesser, columns, lesser, factors.pointer, rows, reflections.pointer, work, size, info)
  }
  for row in 0..<m { (q.pointer + row * k).update(from: factors.pointer + row * n, count: k) }
  return (Tensor(q, [m, k]), Tensor(r, [k, n]))
}

/// The X of A X = B for a symmetric, positive definite `a` `[n, n]` and `b` `[n, columns]`, by Cholesky's factors.
///
/// Reads the lower triangle of `a` only.
///
/// - Throws: when a number is not finite or `a` is not positive definite.
public func choleskySolution(_ a: Tensor, _ b: Tensor) throws -> Tensor {
  let n = try squareSize(a, "Cholesky's factors")
  let (rows, columns) = try sizes(b, "a right-hand side")
  require(rows == n, "a right-hand side of shape \(b.shape) for a matrix \(a.shape)")
  let factor = copy(of: a), x = copy(of: b)
  guard n > 0, columns > 0 else { return Tensor(x, b.shape) }
  var info: Int32 = 0
  let order = [Int32(n)]
  spotrf_("U", order, factor.pointer, order, &info, 1)
  guard info == 0 else {
    throw DecompositionError(
      operation: "Cholesky's factors of \(a.shape)", problem: "the leading minor of order \(info) is not positive")
  }
  for transposition in [CblasNoTrans, CblasTrans] {
    cblas_strsm(
      CblasRowMajor, CblasLeft, CblasLower, transposition, CblasNonUnit, blasint(n), blasint(columns), 1,
      factor.pointer, blasint(n), x.pointer, blasint(columns))
  }
  return Tensor(x, b.shape)
}

/// The sizes of a matrix of finite numbers, which LAPACK takes as 32-bit integers.
private func sizes(_ a: Tensor, _ operation: String) throws -> (Int, Int) {
  require(a.shape.rank == 2, "\(operation) of a matrix; got shape \(a.shape)")
  // Making the pool of threads is what holds OpenBLAS to one; without, its results would depend on the machine.
  _ = Parallel.threads
  guard a.isFinite else {
    throw DecompositionError(
      operation: "\(operation) of \(a.shape)", problem: "the matrix holds a number that is not finite")
  }
  return (a.shape[0], a.shape[1])
}

private func squareSize(_ a: Tensor, _ operation: String) throws -> Int {
  let (m, n) = try sizes(a, operation)
  require(m == n, "\(operation) of a square matrix; got shape \(a.shape)")
  return n
}

private func copy(of a: Tensor) -> Storage {
  let storage = Storage(uninitialized: a.count)
  a.withValues { values in
    if let base = values.baseAddress { storage.pointer.update(from: base, count: values.count) }
  }
  return storage
}

/// Calls a LAPACK routine twice: to ask how much scratch memory it wants, and with that much.
private func withWorkspace(
  _ operation: String,
  _ body: (UnsafeMutablePointer<Float>, UnsafePointer<Int32>, UnsafeMutablePointer<Int32>) -> Void
) throws {
  var wanted: Float = 0, size: Int32 = -1, info: Int32 = 0
  body(&wanted, &size, &info)
  if info == 0 {
    // The answer comes as a Float, which may have been rounded down.
    size = Int32(max(1, Double(wanted.nextUp).rounded(.up)))
    let work = Storage(uninitialized: Int(size))
    withExtendedLifetime(work) { body(work.pointer, &size, &info) }
  }
  guard info == 0 else {
    throw DecompositionError(
      operation: operation,
      problem: info > 0 ? "the iteration did not converge" : "LAPACK refused its argument \(-info)")
  }
}
