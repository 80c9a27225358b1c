import Autodiff
import Testing

@testable import Weights

struct PartlyBinaryTests {
  private func row(_ seed: UInt64, _ count: Int = 640) -> [Float] {
    var noise = Noise(seed: seed)
    return noise.normals(count)
  }

  private func squares(_ a: [Float], _ b: [Float]) -> Double {
    var sum = 0.0
    for (x, y) in zip(a, b) { sum += Double(x - y) * Double(x - y) }
    return sum
  }

  @Test(arguments: [1, 10, 20, 50])
  func `So many of a hundred are kept in eight bits, and they are the largest`(_ salient: Int) throws {
    let values = row(1)
    let made = PartlyBinary.Row(values, values.count, salient: salient)
    #expect(made.isSalient.count { $0 } == (640 * salient + 50) / 100)
    let kept = zip(values, made.isSalient).filter(\.1).map { abs($0.0) },
      others = zip(values, made.isSalient).filter { !$0.1 }
    #expect((kept.min() ?? 0) >= (others.map { abs($0.0) }.max() ?? 0))
    let back = unpacked(
      try packed(values, rows: 1, .partlyBinary(salient: salient)), rows: 1, columns: 640,
      .partlyBinary(salient: salient))
    for (column, value) in values.enumerated() { #expect(back[column] == made.rounded(value, column)) }
    let levels = Set(back.indices.filter { !made.isSalient[$0] }.map { back[$0].bitPattern })
    #expect(levels.count == 2)
  }

  @Test func `The magnitude is the best one for these signs`() {
    let values = row(2), made = PartlyBinary.Row(values, values.count, salient: 10)
    func error(_ factor: Float) -> Double {
      var sum = 0.0
      for (column, value) in values.enumerated() where !made.isSalient[column] {
        let sign: Float = value < made.mean ? -1 : 1
        let wrong = Double(made.mean + sign * factor * made.magnitude - value)
        sum += wrong * wrong
      }
      return sum
    }
    for factor: Float in [0.9, 0.99, 1.01, 1.1] { #expect(error(factor) > error(1)) }
  }

  @Test func `The more are salient the less is lost`() throws {
    let values = row(3)
    let lost = try [1, 5, 10, 20, 40].map { salient in
      let packing = Packing.partlyBinary(salient: salient)
      return squares(unpacked(try packed(values, rows: 1, packing), rows: 1, columns: 640, packing), values)
    }
    #expect(lost == lost.sorted(by: >))
  }

  @Test func `Chosen column by column it loses less on inputs that depend on one another`() throws {
    let weights = Tensor(row(4, 64 * 192), shape: [64, 192])
    let shared = Tensor(row(5, 400 * 16), shape: [400, 16]), mix = Tensor(row(6, 16 * 192), shape: [16, 192])
    let x = matmul(shared, mix) + Tensor(row(7, 400 * 192), shape: [400, 192]) * Tensor(0.3)
    let moment = matmul(x, x, transposingA: true) * Tensor(1 / 400)
    func loss(_ weight: FrozenWeight) -> Double {
      squares(matmul(x, weight.unpacked(), transposingB: true).values, matmul(x, weights, transposingB: true).values)
    }
    let nearest = loss(try FrozenWeight(weights, packing: .partlyBinary(salient: 10)))
    let chosen = try FrozenWeight(partlyBinary: weights, salient: 10, moment: moment, by: GPTQ())
    #expect(loss(chosen) < 0.7 * nearest, "\(loss(chosen)) against \(nearest)")
    #expect(chosen.byteCount == 64 * PartlyBinary.rowBytes(192, salient: 10))
  }

  @Test(arguments: ["pb0", "pb51", "pb-3"])
  func `A share that leaves nothing to binarise is refused`(_ name: String) {
    #expect(throws: PackingError.self) { try Packing(parsing: name) }
  }
}
