import Autodiff
import Testing

struct DecompositionTests {
  static let shapes: [Shape] = [[1, 1], [5, 5], [9, 4], [4, 9], [1, 6], [6, 1], [70, 33]]

  // Householder's methods lose a few times n × 2⁻²⁴ of the largest number: 70 × 6e-8 × 4.
  static let tolerance: Float = 2e-5

  static func identity(_ n: Int) -> Tensor {
    Tensor((0..<n * n).map { $0 / n == $0 % n ? 1 : 0 }, shape: [n, n])
  }

  @Test(arguments: shapes)
  func `U Σ Vᵀ is the matrix, with orthonormal factors and falling values`(_ shape: Shape) throws {
    let a = numbers(shape), (u, s, vt) = try singularValues(of: a)
    expectClose(matmul(u * s, vt), a, Self.tolerance)
    expectClose(matmul(u, u, transposingA: true), Self.identity(s.count), Self.tolerance)
    expectClose(matmul(vt, vt, transposingB: true), Self.identity(s.count), Self.tolerance)
    #expect(s.values == s.values.sorted(by: >) && s.values.allSatisfy { $0 >= 0 })
  }

  @Test(arguments: shapes)
  func `Q R is the matrix, with orthonormal Q and triangular R`(_ shape: Shape) throws {
    let a = numbers(shape), (q, r) = try orthogonalTriangular(a), n = shape[1]
    expectClose(matmul(q, r), a, Self.tolerance)
    expectClose(matmul(q, q, transposingA: true), Self.identity(r.shape[0]), Self.tolerance)
    #expect(r.values.indices.allSatisfy { $0 % n >= $0 / n || r.values[$0] == 0 })
  }

  @Test(arguments: [1, 2, 7, 40])
  func `Vᵀ Λ V is the symmetric matrix`(_ n: Int) throws {
    let half = numbers([n, n]), a = half + half.transposed, (values, v) = try symmetricEigenvalues(of: a)
    expectClose(matmul(v, values.reshaped([n, 1]) * v, transposingA: true), a, Self.tolerance)
    expectClose(matmul(v, v, transposingB: true), Self.identity(n), Self.tolerance)
    #expect(values.values == values.values.sorted())
  }

  @Test(arguments: [1, 2, 7, 40])
  func `Cholesky's solution solves the system`(_ n: Int) throws {
    let half = numbers([n, n]), a = matmul(half, half, transposingB: true) + Self.identity(n), b = numbers([n, 3], 1)
    expectClose(matmul(a, try choleskySolution(a, b)), b, Self.tolerance)
  }

  @Test func `A known matrix has its known values`() throws {
    // [[3, 0], [4, 5]]: AᵀA has trace 50 and determinant 225, so eigenvalues 45 and 5.
    let s = try singularValues(of: Tensor([3, 0, 4, 5], shape: [2, 2])).values.values
    #expect(abs(s[0] - Float(45).squareRoot()) < 1e-5 && abs(s[1] - Float(5).squareRoot()) < 1e-5)
    // [[2, 1], [1, 2]] has eigenvalues 1 and 3; the upper triangle is not read.
    let e = try symmetricEigenvalues(of: Tensor([2, 77, 1, 2], shape: [2, 2])).values.values
    #expect(abs(e[0] - 1) < 1e-6 && abs(e[1] - 3) < 1e-6)
  }

  @Test func `What cannot be decomposed throws`() {
    let bad = Tensor([1, .nan, 0, 1], shape: [2, 2]), indefinite = Tensor([1, 2, 2, 1], shape: [2, 2])
    #expect(throws: DecompositionError.self) { try singularValues(of: bad) }
    #expect(throws: DecompositionError.self) { try symmetricEigenvalues(of: bad) }
    #expect(throws: DecompositionError.self) { try orthogonalTriangular(bad) }
    let error = #expect(throws: DecompositionError.self) { try choleskySolution(indefinite, .zeros([2, 1])) }
    #expect(error?.description == "Cholesky's factors of [2, 2]: the leading minor of order 2 is not positive")
  }
}
