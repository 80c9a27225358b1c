import Autodiff

/// A change cut to a lower rank, and what that cost.
public struct Truncation: Sendable {
  /// The closest change of that rank.
  public let change: LowRankFactors
  /// ‖Δ‖² of the whole change, and ‖Δ − s B A‖² of what is left out; squares of Frobenius norms.
  public let energy: Double, lost: Double

  /// The share of the energy that is left out.
  public var residual: Double { energy > 0 ? lost / energy : 0 }
}

extension LowRankFactors {
  /// The closest change of at most the given rank, in the Frobenius norm (Eckart and Young 1936).
  ///
  ///     B = Q₁ R₁,  Aᵀ = Q₂ R₂,  s R₁ R₂ᵀ = U Σ Vᵀ:   s B A = (Q₁ U √Σ) (√Σ Vᵀ Q₂ᵀ)
  ///
  /// `[outputs, inputs]` is never formed: the cost is that of two thin QR factorisations. √Σ on either side leaves both
  /// factors equally large, for whoever trains on.
  ///
  /// - Throws: a `DecompositionError` when a number is not finite.
  public func truncated(to rank: Int) throws -> Truncation {
    let left = try orthogonalTriangular(b), right = try orthogonalTriangular(a.transposed)
    let core = try Self.split(scale * matmul(left.r, right.r, transposingB: true), at: rank)
    let change = LowRankFactors(
      a: matmul(core.a, right.q, transposingB: true), b: matmul(left.q, core.b), scale: 1,
      bias: bias.map { scale * $0 })
    return Truncation(change: change, energy: core.energy, lost: core.lost)
  }

  /// The change of at most the given rank closest to `delta` `[outputs, inputs]`.
  ///
  /// - Throws: a `DecompositionError` when a number is not finite.
  public static func closest(to delta: Tensor, rank: Int, bias: Tensor? = nil) throws -> Truncation {
    let parts = try split(delta, at: rank)
    return Truncation(
      change: LowRankFactors(a: parts.a, b: parts.b, scale: 1, bias: bias), energy: parts.energy, lost: parts.lost)
  }

  /// ‖s B A‖², without forming it.
  func energy() throws -> Double {
    let left = try orthogonalTriangular(b).r, right = try orthogonalTriangular(a.transposed).r
    let core = scale * matmul(left, right, transposingB: true)
    return core.withValues { $0.reduce(into: 0) { $0 += Double($1) * Double($1) } }
  }

  private static func split(
    _ matrix: Tensor, at rank: Int
  ) throws -> (b: Tensor, a: Tensor, energy: Double, lost: Double) {
    let (u, values, vt) = try singularValues(of: matrix)
    let kept = min(rank, values.count)
    let energies = values.values.map { Double($0) * Double($0) }
    let roots = Tensor(values.values.prefix(kept).map { max(0, $0).squareRoot() }, shape: [kept])
    return (
      u.columns(0..<kept) * roots, roots.reshaped([kept, 1]) * vt.rows(0..<kept), energies.reduce(0, +),
      energies.dropFirst(kept).reduce(0, +)
    )
  }
}
