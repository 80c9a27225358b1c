import Autodiff
import Networks
import Testing
import Weights

@testable import Adapters

struct ErrorCorrectionTests {
  private func normal(_ shape: Shape, _ stream: Int) -> Tensor { .normal(shape, from: RandomKey(seed: 7)[stream]) }

  /// 500 rows whose channels share three strong directions and differ tenfold in size.
  private func inputs(_ channels: Int, _ stream: Int = 0) -> Tensor {
    let shared = matmul(normal([500, 3], stream), 2 * normal([3, channels], stream + 1))
    let sizes = Tensor((0..<channels).map { 0.2 + 2 * Float($0 % 7) / 7 }, shape: [channels])
    return (shared + normal([500, channels], stream + 2)) * sizes
  }

  private func statistics(_ x: Tensor) -> SiteStatistics {
    let rows = Float(x.shape[0]), columns = x.shape[1]
    let magnitudes = Tensor(x.values.map(abs), shape: x.shape)
    return SiteStatistics(
      secondMoment: (1 / rows) * matmul(x, x, transposingA: true),
      meanMagnitude: (1 / rows) * magnitudes.transposed.rowSums.reshaped([columns]),
      meanSquare: (1 / rows) * (x * x).transposed.rowSums.reshaped([columns]), rows: x.shape[0])
  }

  private func rounded(_ shape: Shape, _ packing: Packing = .int2(group: 32)) throws -> (error: Tensor, base: Tensor) {
    let w = 0.1 * normal(shape, 20), q = try FrozenWeight(w, packing: packing).unpacked()
    return (w - q, w)
  }

  private func length(_ a: Tensor) -> Double {
    a.values.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
  }

  private func left(_ error: Tensor, _ kind: ErrorCorrection, _ rank: Int, _ measured: SiteStatistics) throws -> Tensor
  {
    let factors = try #require(try kind.factors(of: error, rank: rank, measured))
    #expect(factors.scale == 1 && factors.a.shape == [rank, error.shape[1]])
    return error - matmul(factors.b, factors.a)
  }

  @Test(arguments: [[40, 64], [96, 32], [32, 32]] as [Shape], [1, 4, 12])
  func `Each is best by its own norm`(_ shape: Shape, _ rank: Int) throws {
    for packing in [Packing.int2(group: 32), .int4(group: 32)] {
      let (error, _) = try rounded(shape, packing), x = inputs(shape[1]), measured = statistics(x)
      let kinds: [ErrorCorrection] = [.svd, .lqer, .eora]
      let rest = try kinds.map { try left(error, $0, rank, measured) }
      let inMatrix = rest.map(length), inOutput = rest.map { length(matmul(x, $0, transposingB: true)) }
      let inMagnitudes = rest.map { length($0 * measured.meanMagnitude) }
      // Differences of Float products, a few parts in a million.
      let slack = 1 + 1e-5
      #expect(inMatrix[0] <= slack * inMatrix[1] && inMatrix[0] <= slack * inMatrix[2])
      #expect(inMagnitudes[1] <= slack * inMagnitudes[0] && inMagnitudes[1] <= slack * inMagnitudes[2])
      #expect(inOutput[2] <= slack * inOutput[0] && inOutput[2] <= slack * inOutput[1])
      #expect(inOutput[2] < 0.99 * inOutput[0])
    }
  }

  /// ‖(E − BA) Xᵀ‖² = n Σ σᵢ² over what was left out, with σ the singular values of E C^½.
  @Test func `What EoRA leaves in the output is the sum of the singular values it left out`() throws {
    let (error, _) = try rounded([40, 64]), x = inputs(64), measured = statistics(x), rank = 6
    let (values, vectors) = try symmetricEigenvalues(of: try #require(measured.secondMoment))
    let root = Tensor(values.values.map { max(0, $0).squareRoot() }, shape: values.shape)
    let sigma = try singularValues(of: matmul(error, vectors, transposingB: true) * root).values.values
    let expected = (500 * sigma[rank...].reduce(0.0) { $0 + Double($1) * Double($1) }).squareRoot()
    let found = length(matmul(x, try left(error, .eora, rank, measured), transposingB: true))
    #expect(abs(found / expected - 1) < 1e-4)
  }

  /// Any S with S Sᵀ = C will do: here the columns of X / √n themselves, where B A = U Uᵀ E with U of E Xᵀ / √n.
  @Test func `Another root of the second moment gives the same correction`() throws {
    let (error, _) = try rounded([40, 64]), x = inputs(64), measured = statistics(x)
    let u = try singularValues(of: matmul(error, x, transposingB: true)).u.columns(0..<6)
    let theirs = matmul(u, matmul(u, error, transposingA: true))
    #expect(length(error - (try left(error, .eora, 6, measured)) - theirs) < 1e-4 * length(error))
  }

  @Test func `The size of the magnitudes does not matter`() throws {
    let (error, _) = try rounded([40, 64])
    var measured = statistics(inputs(64))
    let before = try left(error, .lqer, 6, measured)
    measured.meanMagnitude = 50 * measured.meanMagnitude
    #expect(length(try left(error, .lqer, 6, measured) - before) < 1e-4 * length(error))
  }

  /// Two loud channels of opposite sign whose errors are the same cancel in the output; their magnitudes hide that, and
  /// a rank is spent on them.
  @Test func `LQER can do worse than SVD where channels are correlated`() throws {
    let columns = normal([40, 63], 30).transposed
    let error = Tensor.concatenated([columns.rows(0..<1), columns]).transposed
    let loud = 20 * normal([500, 1], 31)
    let x = Tensor.concatenated([loud.transposed, -loud.transposed, normal([62, 500], 32)]).transposed
    let measured = statistics(x)
    let output = try [ErrorCorrection.svd, .lqer, .eora].map {
      length(matmul(x, try left(error, $0, 4, measured), transposingB: true))
    }
    #expect(output[1] > 1.01 * output[0] && output[2] < 0.99 * output[0], "\(output)")
  }

  @Test(arguments: [[40, 64], [96, 32]] as [Shape], [ErrorCorrection.svd, .lqer, .eora])
  func `Full rank gives the matrix back`(_ shape: Shape, _ kind: ErrorCorrection) throws {
    let (error, _) = try rounded(shape), rank = min(shape[0], shape[1])
    #expect(length(try left(error, kind, rank, statistics(inputs(shape[1])))) < 1e-4 * length(error))
    // Ten rows leave most of the second moment's directions unmeasured.
    let few = statistics(inputs(shape[1]).rows(0..<10))
    #expect(length(try left(error, kind, rank, few)) < 1e-3 * length(error))
  }

  @Test func `The factors are balanced`() throws {
    let (error, _) = try rounded([40, 64]),
      factors = try #require(try ErrorCorrection.svd.factors(of: error, rank: 5, nil))
    let sigma = try singularValues(of: error).values.values
    let a = (factors.a * factors.a).rowSums.values, b = (factors.b.transposed * factors.b.transposed).rowSums.values
    for i in 0..<5 { #expect(abs(a[i] - sigma[i]) < 1e-4 * sigma[0] && abs(b[i] - sigma[i]) < 1e-4 * sigma[0]) }
  }

  @Test func `Without an error there is no correction, and without measurements a reason`() throws {
    let nothing = try ErrorCorrection.svd.factors(of: .zeros([4, 6]), rank: 2, nil)
    #expect(nothing == nil)
    let (error, _) = try rounded([40, 64])
    let none = try ErrorCorrection.none.factors(of: error, rank: 2, nil)
    #expect(none == nil)
    for kind in [ErrorCorrection.lqer, .eora] {
      let missing = #expect(throws: GraftError.self) { try kind.factors(of: error, rank: 2, nil) }
      #expect(
        missing?.description
          == "correction \(kind.rawValue) needs measurements of the layers' inputs, and there are none; choose svd, which needs none"
      )
    }
    let large = #expect(throws: GraftError.self) { try ErrorCorrection.svd.factors(of: error, rank: 41, nil) }
    #expect(large?.description == "a correction of rank 41 of a matrix [40, 64], whose rank is at most 40")
  }
}
