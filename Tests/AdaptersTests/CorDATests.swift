import Autodiff
import Files
import Foundation
import Networks
import Testing
import Weights

@testable import Adapters

struct CorDATests {
  private func settings(
    _ mode: String = "ipm", rank: Int = 3, alpha: Double = 6, _ more: [String: String] = [:]
  )
    -> AdapterSettings
  {
    var settings = AdapterSettings(rank: rank, alpha: alpha)
    settings.options = ["mode": mode].merging(more) { $1 }
    return settings
  }

  private func corda(_ layer: AdaptedLinear) throws -> CorDA { try #require(layer.adapter as? CorDA) }

  /// s B A.
  private func product(_ layer: AdaptedLinear) throws -> Tensor { try corda(layer).lora.change }

  private func magnitudes(_ x: Tensor) -> [Float] { x.values.map(abs) }

  // Notes of the method, worked there: W = diag(3, 1), C = diag(1, 100), r = 1, s = 1. Signs of singular vectors are free.
  @Test(
    arguments: [
      // mode, damping, |A|, |B|, what is left of W
      ("ipm", "0", [0, 0.1], [0, 10], [3, 0, 0, 0]),
      ("kpm", "0", [1.7320508, 0], [1.7320508, 0], [0, 0, 0, 1]),
      // C' = diag(1.505, 100.505)
      ("ipm", "0.01", [0, 0.099748], [0, 10.025218], [3, 0, 0, 0]),
    ] as [(String, String, [Float], [Float], [Float])])
  func `A worked example of two channels`(
    _ mode: String, _ damping: String, _ a: [Float], _ b: [Float], _ rest: [Float]
  ) throws {
    var layer = AdaptedLinear(FrozenLinear(FrozenWeight(Tensor([3, 0, 0, 1], shape: [2, 2]))))
    let moment = Tensor([1, 0, 0, 100], shape: [2, 2])
    let setup = Setup(site: "x", random: RandomKey(seed: 0), statistics: LayerSpecimen.statistics(moment))
    let configuration = try CorDA.configuration(settings(mode, rank: 1, alpha: 1, ["damping": damping]), at: "x")
    layer.adapter = try CorDA(on: &layer.base, configuration, setup)
    let lora = try corda(layer).lora
    for (ours, golden) in zip(magnitudes(lora.a.value), a) { #expect(abs(ours - golden) < 2e-6) }
    for (ours, golden) in zip(magnitudes(lora.b.value), b) { #expect(abs(ours - golden) < 2e-5) }
    #expect(distance(layer.base.weight.unpacked(), Tensor(rest, shape: [2, 2])) < 1e-6)
  }

  static let shapes = [(12, 8), (8, 12), (9, 9)]

  @Test(arguments: shapes, ["ipm", "kpm"])
  func `It starts at the base model, with both factors ready to learn`(_ shape: (Int, Int), _ mode: String) throws {
    let specimen = LayerSpecimen(outputs: shape.0, inputs: shape.1)
    let layer = try specimen.adapted(CorDA.self, settings(mode), LayerSpecimen.statistics(shape.1))
    let y = specimen.original(specimen.x)
    // Float, sums of at most 12 products in another order.
    #expect(distance(layer(specimen.x, Context()), y) < 1e-5 * 10)
    #expect(
      distance(layer.base.weight.unpacked() + (try product(layer)), specimen.original.weight.unpacked()) < 2e-6)
    let gradients = valueAndGradients(of: layer) { (l: AdaptedLinear) in (l(specimen.x, Context()) * y).sum }.gradients
    #expect(gradients.count == 2)
    #expect(gradients.allSatisfy { norm($0) > 0.1 })
    #expect(layer.trainableParameters.map(\.value.count).reduce(0, +) == 3 * (shape.0 + shape.1))
  }

  @Test(arguments: shapes)
  func `The two modes share the matrix out between them`(_ shape: (Int, Int)) throws {
    let specimen = LayerSpecimen(outputs: shape.0, inputs: shape.1), k = min(shape.0, shape.1)
    let statistics = LayerSpecimen.statistics(shape.1)
    let first = try product(specimen.adapted(CorDA.self, settings("ipm", rank: 3), statistics))
    let last = try product(specimen.adapted(CorDA.self, settings("kpm", rank: k - 3), statistics))
    #expect(distance(first + last, specimen.original.weight.unpacked()) < 1e-4)
    #expect(norm(first) > 0.1 && norm(last) > 0.1)
  }

  @Test func `What it takes is the best of its rank in the norm of the data`() throws {
    let specimen = LayerSpecimen(outputs: 10, inputs: 14), statistics = LayerSpecimen.statistics(14)
    let moment = try #require(statistics.secondMoment), c = try CorDA.damped(moment, from: 0.01, at: "x").moment
    let w = specimen.original.weight.unpacked()
    let values = try singularValues(of: matmul(w, c)).values.values
    let ipm = try specimen.adapted(CorDA.self, settings("ipm"), statistics).base.weight.unpacked()
    let kpm = try specimen.adapted(CorDA.self, settings("kpm"), statistics).base.weight.unpacked()
    // ‖(W − B A) C'‖² is the sum of the squares of the components left: all but the first, or all but the last, three.
    func root(_ values: some Sequence<Float>) -> Double {
      values.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
    }
    #expect(abs(norm(matmul(ipm, c)) - root(values.dropFirst(3))) < 1e-4 * Double(values[0]))
    #expect(abs(norm(matmul(kpm, c)) - root(values.dropLast(3))) < 1e-4 * Double(values[0]))
    #expect(norm(matmul(ipm, c)) < 0.9 * norm(matmul(kpm, c)))
  }

  @Test func `Inputs that are all alike make it PiSSA`() throws {
    let specimen = LayerSpecimen(outputs: 12, inputs: 8)
    let identity = Tensor((0..<64).map { $0 % 9 == 0 ? 7 : 0 }, shape: [8, 8])
    let ours = try product(specimen.adapted(CorDA.self, settings(), LayerSpecimen.statistics(identity)))
    var pissa = AdapterSettings(rank: 3, alpha: 6)
    pissa.start = "pissa"
    let theirs = try #require(try specimen.adapted(LoRA.self, pissa).adapter as? LoRA).change
    #expect(distance(ours, theirs) < 1e-5)
  }

  @Test func `The size of the moments moves the factors against each other and not their product`() throws {
    let specimen = LayerSpecimen(outputs: 12, inputs: 8), statistics = LayerSpecimen.statistics(8)
    let larger = LayerSpecimen.statistics(100 * (try #require(statistics.secondMoment)))
    let (one, hundred) = (
      try specimen.adapted(CorDA.self, settings(), statistics), try specimen.adapted(CorDA.self, settings(), larger)
    )
    #expect(distance(try product(one), try product(hundred)) < 1e-5)
    let (a, b) = (try corda(one).lora, try corda(hundred).lora)
    #expect(abs(norm(b.a.value) / norm(a.a.value) - 0.1) < 1e-4)
    #expect(abs(norm(b.b.value) / norm(a.b.value) - 10) < 1e-2)
    // Balanced, both have one norm whatever the moments.
    for statistics in [statistics, larger] {
      let layer = try specimen.adapted(CorDA.self, settings("ipm", ["balanced": "true"]), statistics)
      let lora = try corda(layer).lora
      #expect(abs(norm(lora.a.value) / norm(lora.b.value) - 1) < 1e-5)
      #expect(distance(try product(layer), try product(one)) < 1e-5)
    }
  }

  @Test func `Damping doubles until the inverse is one`() throws {
    // Of rank 1: without damping there is no inverse at all.
    let row = Tensor.normal([1, 48], from: RandomKey(seed: 4)), moment = matmul(row, row, transposingA: true)
    let (damped, share) = try CorDA.damped(moment, from: 1e-7, at: "x")
    let doublings = (0..<30).first { share == (0..<$0).reduce(Float(1e-7)) { share, _ in 2 * share } }
    #expect(try #require(doublings) > 0)
    let mean = moment.values.enumerated().filter { $0.offset % 49 == 0 }.map(\.element).reduce(0, +) / 48
    #expect(abs(damped.values[0] - moment.values[0] - share * mean) < 1e-6)
    #expect(abs(damped.values[1] - moment.values[1]) == 0)
    // A moment that is well conditioned keeps the first share, and zero goes on to the usual one.
    #expect(
      try CorDA.damped(try #require(LayerSpecimen.statistics(8, rows: 400).secondMoment), from: 0.01, at: "x").damping
        == 0.01)
    #expect(try CorDA.damped(moment, from: 0, at: "x").damping == 0.01)
    let specimen = LayerSpecimen(outputs: 20, inputs: 48)
    let layer = try specimen.adapted(CorDA.self, settings(), LayerSpecimen.statistics(moment))
    #expect(distance(layer(specimen.x, Context()), specimen.original(specimen.x)) < 1e-4)
  }

  @Test func `Its gradients are those of central differences`() throws {
    let specimen = LayerSpecimen(outputs: 5, inputs: 6)
    let layer = try specimen.adapted(CorDA.self, settings(rank: 2), LayerSpecimen.statistics(6)).moved()
    #expect(layer.gradientError(specimen.x) < 1e-3)
  }

  @Test(arguments: ["ipm", "kpm"])
  func `Trained, it folds, and is plain LoRA of twice the rank over the original`(_ mode: String) throws {
    let specimen = LayerSpecimen(outputs: 12, inputs: 8)
    let layer = try specimen.adapted(CorDA.self, settings(mode), LayerSpecimen.statistics(8)).moved()
    let y = layer(specimen.x, Context())
    #expect(distance(y, specimen.original(specimen.x)) > 0.1)
    #expect(distance(layer.merged(Context())(specimen.x, Context()), y) < 2e-5)
    var plain = AdaptedLinear(specimen.original)
    plain.adapter = layer.adapter?.stored
    let lora = try #require(plain.adapter as? LoRA)
    #expect(lora.a.value.shape == [6, 8] && lora.b.value.shape == [12, 6])
    #expect(distance(plain(specimen.x, Context()), y) < 2e-5)
    let factors = try #require(try corda(layer).lowRankFactors)
    #expect(distance(factors.scale * matmul(factors.b, factors.a), lora.change) == 0)
  }

  @Test func `It is refused where it cannot start, each time with the remedy`() throws {
    let specimen = LayerSpecimen(outputs: 12, inputs: 8)
    func message(_ settings: AdapterSettings, _ statistics: SiteStatistics?) -> String {
      do {
        _ = try specimen.adapted(CorDA.self, settings, statistics)
        return "started"
      } catch { return "\(error)" }
    }
    let statistics = LayerSpecimen.statistics(8)
    #expect(
      message(settings(), nil) == "'corda' starts from the inputs of layer 'block.0.up', and they were not measured")
    #expect(
      message(settings(rank: 9), statistics)
        == "'corda' takes rank 9 from layer 'block.0.up', which is [12, 8] and has only 8 components; set a rank of at most 8 there with rank_pattern"
    )
    #expect(message(settings("last"), statistics) == "adapter.mode 'last' is not ipm or kpm")
    #expect(
      message(settings("ipm", ["damping": "-1"]), statistics) == "adapter.damping '-1' is not a number from 0 to 1")
    #expect(message(settings(alpha: 0), statistics) == "'corda' divides by alpha, which must be above 0")
    #expect(
      message(settings(), LayerSpecimen.statistics(.zeros([8, 8])))
        == "the inputs of layer 'block.0.up' on the calibration data are all zero; give other data")
    var other = settings()
    other.start = "pissa"
    #expect(message(other, statistics) == "'corda' has a start of its own; remove adapter.init 'pissa'")
  }
}
