import Autodiff
import Networks

/// A low-rank correction of what rounding did to a matrix, in closed form: the B A nearest to E = W − Ŵ.
///
/// Nearest by the norm of (E − B A) S, where S weighs input channels. With U the first r left singular vectors of E S,
/// the answer is B A = U Uᵀ E for any S of full rank: it is E seen in the r output directions in which the weighed error
/// is largest. So S is never inverted, and small eigenvalues do no harm.
///
/// The factors are balanced, Bᵢ and Aᵢ of one length, as Σ^½ on both sides makes them for S = 1; the authors of LQER put
/// all of Σ on one side, which changes the product by nothing and training by a rate.
///
/// Papers: LQER <https://arxiv.org/abs/2402.02446>, EoRA <https://arxiv.org/abs/2410.21271>
public enum ErrorCorrection: String, Sendable, CaseIterable {
  /// No correction.
  case none
  /// S = 1: nearest in the matrix itself.
  case svd
  /// S = diag(E|x|): nearest for inputs whose channels are uncorrelated and as large as measured.
  case lqer
  /// S = C^½ with C = E[x xᵀ]: nearest in the layer's output on what was measured, exactly.
  case eora

  /// What it has to know of the layer's input.
  public var statistics: Statistics {
    switch self {
    case .none, .svd: []
    case .lqer: .magnitudes
    case .eora: .secondMoment
    }
  }

  /// The factors of the correction of `error` `[outputs, inputs]`, of scale 1; nil for ``none`` and where there is no
  /// error.
  ///
  /// - Throws: when `rank` exceeds what the matrix has, or what was not measured is needed; a ``DecompositionError`` when
  ///   a number is not finite.
  public func factors(of error: Tensor, rank: Int, _ measured: SiteStatistics?) throws -> LowRankFactors? {
    guard self != .none, !error.withValues({ $0.allSatisfy { $0 == 0 } }) else { return nil }
    let most = min(error.shape[0], error.shape[1])
    guard rank <= most else {
      throw GraftError("a correction of rank \(rank) of a matrix \(error.shape), whose rank is at most \(most)")
    }
    let u = try singularValues(of: try weighed(error, measured)).u.columns(0..<rank)
    let a = matmul(u, error, transposingA: true)
    // Row i of A is as long as the error in that direction; half of the length, as a factor, goes to B.
    let half = (a * a).rowSums.squareRoot.squareRoot
    let safe = Tensor(half.values.map { $0 > 0 ? $0 : 1 }, shape: half.shape)
    return LowRankFactors(a: a / safe.reshaped([rank, 1]), b: u * safe, scale: 1)
  }

  /// E S.
  private func weighed(_ error: Tensor, _ measured: SiteStatistics?) throws -> Tensor {
    switch self {
    case .none, .svd: return error
    case .lqer:
      guard let magnitudes = measured?.meanMagnitude else { throw unmeasured }
      return error * Tensor(magnitudes.values.map { max($0, 1e-4) }, shape: magnitudes.shape)
    case .eora:
      guard let moment = measured?.secondMoment else { throw unmeasured }
      let (values, vectors) = try symmetricEigenvalues(of: moment)
      // Float gives eigenvalues to some 10⁻⁷ of the largest: below, they are noise of either sign. A floor there keeps
      // every direction in sight, so that full rank recovers the matrix even from few measured rows.
      let floor = 1e-7 * max(values.values.last ?? 0, .leastNormalMagnitude)
      let roots = Tensor(values.values.map { max($0, floor).squareRoot() }, shape: values.shape)
      return matmul(error, vectors, transposingB: true) * roots
    }
  }

  private var unmeasured: GraftError {
    GraftError(
      "correction \(rawValue) needs measurements of the layers' inputs, and there are none; choose svd, which needs none",
      key: "correction"
    )
  }
}
