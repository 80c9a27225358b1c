import Autodiff
import Testing

@testable import Weights

/// The small worked example of the method's note, computed there in double precision; widened to 32 columns, since codes
/// are packed 32 at a time, by columns of zeros that depend on no other and leave the mean of the diagonal as it is.
struct GPTQTests {
  private let weights = Tensor((0..<32).map { Float(29 * $0 % 41 - 20) / 16 }, shape: [4, 8])
  private let inputs = Tensor((0..<128).map { Float(53 * $0 % 67 - 33) / 32 }, shape: [16, 8])

  /// W and E[x xᵀ], wider.
  private var padded: (weights: Tensor, moment: Tensor) {
    let moment = matmul(inputs, inputs, transposingA: true) * Tensor(1 / 16)
    let mean = (0..<8).reduce(Float(0)) { $0 + moment.values[9 * $1] } / 8
    func widen(_ t: Tensor, _ rows: Int, _ diagonal: Float) -> Tensor {
      var wide = [Float](repeating: 0, count: rows * 32)
      for row in 0..<t.shape[0] {
        for column in 0..<8 { wide[row * 32 + column] = t.values[row * 8 + column] }
      }
      for row in t.shape[0]..<rows { wide[row * 33] = diagonal }
      return Tensor(wide, shape: [rows, 32])
    }
    return (widen(weights, 4, 0), widen(moment, 32, mean))
  }

  private func error(_ codes: OrderedCodes) throws -> Float {
    let wrong = try codes.packed().unpacked().columns(0..<8) - weights
    return squares(matmul(inputs, wrong, transposingB: true))
  }

  @Test func `Codes of four bits are the published ones`() throws {
    let layout = GroupLayout(.integer(bits: 4), group: 0, scale: .single, zero: .code)
    let (wide, moment) = padded
    let found = try GPTQ().codes(wide, moment: moment, layout: layout)
    let codes = (0..<4).map { row in Array(found.codes.codes[row * 32..<row * 32 + 8]) }
    #expect(
      codes == [
        [0, 11, 7, 2, 13, 9, 4, 15], [11, 6, 0, 13, 8, 3, 15, 11], [5, 0, 12, 7, 2, 15, 9, 5],
        [15, 10, 5, 0, 12, 7, 3, 15],
      ])
    let lost = try error(found)
    #expect(abs(lost - 0.130593) < 1e-5)
  }

  @Test func `Ordered by activation, codes of three bits are the published ones`() throws {
    let layout = GroupLayout(.integer(bits: 3), group: 0, scale: .single, zero: .code)
    var method = GPTQ()
    method.ordersByActivation = true
    let (wide, moment) = padded
    let found = try method.codes(wide, moment: moment, layout: layout)
    let order = try #require(found.columnOrder)
    // Back in the matrix's order.
    let codes = (0..<4).map { row in
      (0..<8).map { column in found.codes.codes[row * 32 + (order.firstIndex(of: Int32(column)) ?? 0)] }
    }
    #expect(
      codes == [
        [0, 6, 4, 1, 6, 4, 2, 6], [5, 3, 0, 6, 3, 1, 7, 5], [3, 1, 7, 4, 2, 7, 5, 2], [7, 5, 3, 0, 6, 3, 1, 6],
      ])
    let lost = try error(found)
    #expect(abs(lost - 0.710212) < 1e-5)
    method.hasStaticGroups = true
    let still = try method.codes(wide, moment: moment, layout: layout)
    // With one group a row, static groups are the same groups: only where columns lie differs.
    #expect(still.columnOrder == nil)
    #expect(try still.packed().unpacked().values == found.packed().unpacked().values)
  }

  private func random(_ rows: Int, _ columns: Int, seed: UInt64) -> Tensor {
    var noise = Noise(seed: seed)
    return Tensor(noise.normals(rows * columns), shape: [rows, columns])
  }

  /// Inputs whose channels depend on one another, which is where there is something to make good.
  private func correlated(_ tokens: Int, _ width: Int) -> Tensor {
    matmul(random(tokens, 16, seed: 1), random(16, width, seed: 2)) + random(tokens, width, seed: 3) * Tensor(0.3)
  }

  @Test(arguments: [
    GroupLayout(.integer(bits: 2), group: 64), GroupLayout(.integer(bits: 3), group: 32),
    GroupLayout(.integer(bits: 4), group: 0, scale: .half, zero: .code), GroupLayout(.levels(.normalFloat), group: 64),
    GroupLayout(.levels(.e2m1), group: 32, scale: .power), GroupLayout(.integer(bits: 3), group: 64, axis: .output),
  ])
  func `On inputs that depend on one another it loses less than rounding to nearest`(_ layout: GroupLayout) throws {
    let weights = random(64, 192, seed: 7), x = correlated(400, 192)
    let moment = matmul(x, x, transposingA: true) * Tensor(1 / 400)
    func loss(_ weight: FrozenWeight) -> Float {
      squares(matmul(x, weight.unpacked() - weights, transposingB: true))
    }
    let nearest = loss(try FrozenWeight(weights, packing: layout.packing))
    for (orders, isStatic) in [(false, false), (true, false), (true, true), (false, true)] {
      var method = GPTQ()
      (method.ordersByActivation, method.hasStaticGroups) = (orders, isStatic)
      let found = loss(try method.codes(weights, moment: moment, layout: layout).packed())
      #expect(found < 0.75 * nearest, "\(layout.name) \(orders) \(isStatic): \(found) against \(nearest)")
    }
  }

  @Test func `Inputs that do not depend on one another leave nothing to make good`() throws {
    let weights = random(32, 128, seed: 4), layout = GroupLayout(.integer(bits: 3), group: 64)
    let diagonal = Tensor((0..<128 * 128).map { $0 % 129 == 0 ? 2 : 0 }, shape: [128, 128])
    let found = try GPTQ().codes(weights, moment: diagonal, layout: layout)
    #expect(found.codes.codes == (try GroupedCodes(rounding: weights, to: layout)).codes)
  }

  @Test func `The block changes where errors go, not what they add up to`() throws {
    let weights = random(32, 192, seed: 8), x = correlated(400, 192)
    let moment = matmul(x, x, transposingA: true) * Tensor(1 / 400)
    let layout = GroupLayout(.integer(bits: 4), group: 0)
    var small = GPTQ()
    small.block = 32
    let a = try GPTQ().codes(weights, moment: moment, layout: layout)
    let b = try small.codes(weights, moment: moment, layout: layout)
    // One group a row, fitted once: the same columns in the same order, up to rounding of the sums.
    let same = zip(a.codes.codes, b.codes.codes).count { $0 == $1 }
    #expect(same > 32 * 192 * 98 / 100, "\(same)")
  }

  @Test func `An input never seen has its weights rounded to zero`() throws {
    let weights = random(8, 64, seed: 5), layout = GroupLayout(.integer(bits: 4), group: 32)
    var moment = [Float](repeating: 0, count: 64 * 64)
    for i in 0..<64 where i != 9 { moment[i * 65] = 1 }
    let found = try GPTQ().codes(weights, moment: Tensor(moment, shape: [64, 64]), layout: layout).packed().unpacked()
    #expect((0..<8).allSatisfy { abs(found.values[$0 * 64 + 9]) < 0.2 })
  }

  @Test func `A moment that is not finite is refused`() {
    let bad = Tensor([Float](repeating: .nan, count: 32 * 32), shape: [32, 32])
    #expect(throws: DecompositionError.self) {
      try GPTQ().codes(.zeros([1, 32]), moment: bad, layout: GroupLayout(.integer(bits: 4), group: 32))
    }
  }
}

private func squares(_ t: Tensor) -> Float { t.values.reduce(0) { $0 + $1 * $1 } }
