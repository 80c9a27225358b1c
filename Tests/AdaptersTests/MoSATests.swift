import Autodiff
import Files
import Foundation
import Networks
import Testing
import Weights

@testable import Adapters

private let shares = Splits.Share.allCases
private let training = Context(random: RandomKey(seed: 20))

struct MoSATests {
  private let base = FrozenLinear(
    FrozenWeight(.normal([6, 9], from: RandomKey(seed: 1))), bias: .normal([6], from: RandomKey(seed: 2)))
  private let x = Tensor.normal([5, 9], from: RandomKey(seed: 3))

  /// A fresh adapter of rank 4 and scale ½.
  private func fresh(_ splits: Splits, dropout: Float = 0) throws -> MoSA {
    var base = base
    let lora = LoRA.Configuration(rank: 4, scale: 0.5, dropout: dropout)
    return try MoSA(on: &base, .init(lora, splits: splits), Setup(site: "layer", random: RandomKey(seed: 4)))
  }

  /// One whose trainable numbers are all far from where they started.
  private func trained(_ splits: Splits, dropout: Float = 0) throws -> MoSA {
    var adapter = try fresh(splits, dropout: dropout)
    adapter.forEachParameter { name, parameter in
      guard parameter.isTrainable else { return }
      parameter.value = .normal(parameter.value.shape, from: RandomKey(seed: 5)[name])
    }
    return adapter
  }

  @Test(arguments: shares) func `A fresh adapter leaves the layer as it is`(_ share: Splits.Share) throws {
    let adapter = try fresh(Splits(4, share: share), dropout: 0.3)
    #expect(adapter(x, over: base, Context()) == base(x))
    #expect(adapter(x, over: base, training) == base(x))
    #expect(adapter.merged(into: base, Context()).weight.unpacked() == base.weight.unpacked())
  }

  @Test(arguments: shares, [1, 3]) func `Every derivative is what central differences say`(
    _ share: Splits.Share, _ parts: Int
  ) throws {
    let adapter = try trained(Splits(parts, share: share), dropout: 0.3)
    expectDerivatives(of: adapter) { $0(x, over: base, training) }
    expectDerivatives(of: adapter) { $0(x, over: base, Context()) }
  }

  @Test(arguments: shares) func `Only the entries of the module drawn receive a gradient`(_ share: Splits.Share) throws
  {
    let adapter = try trained(Splits(4, share: share)), random = training.random!["layer"]
    let (_, slopes) = valueAndGradients(of: adapter) { $0(x, over: base, training).sum }
    let gradients = Dictionary(
      uniqueKeysWithValues: zip(adapter.trainableParameters.map(\.name), slopes))
    for (name, matrix, side) in [("lora_A", adapter.a, "A"), ("lora_B", adapter.b, "B")] {
      guard let partition = matrix.partition else {
        // The shared factor is one matrix and learns whole.
        let slope = try #require(gradients[name + ".weight"])
        #expect(slope.values.allSatisfy { $0 != 0 })
        continue
      }
      let mask = partition.masking(.filled(1, matrix.weight.value.shape), to: matrix.draw(random[side])!).values
      let slope = try #require(gradients[name + ".change"])
      for (slope, mask) in zip(slope.values, mask) { #expect((slope != 0) == (mask == 1)) }
      #expect(gradients[name + ".weight"] == nil)
    }
    #expect(slopes.count == 2)
  }

  @Test(arguments: shares) func `Its output is the expectation of the modules' outputs`(_ share: Splits.Share) throws {
    let adapter = try trained(Splits(4, share: share))
    var sum = Tensor.zeros([5, 6])
    for i in 0..<4 {
      for j in 0..<4 {
        let (a, b) = (adapter.a(i), adapter.b(j))
        sum = sum + lowRankLinear(x, base.weight, bias: base.bias?.value, a: a, b: b, scale: 0.5)
      }
    }
    // Sixteen outputs of up to some 20 added up: 16 × 20 × 2⁻²⁴, divided by 16.
    expectWithin((1.0 / 16) * sum, adapter(x, over: base, Context()), 3e-5)
  }

  @Test(arguments: shares) func `It folds, and what is stored is the LoRA it computes`(_ share: Splits.Share) throws {
    let adapter = try trained(Splits(4, share: share)), y = adapter(x, over: base, Context())
    // 9 + 4 products a number, of terms up to about 5.
    expectWithin(adapter.merged(into: base, Context())(x), y, 2e-5)
    let stored = try #require(adapter.stored as? LoRA)
    #expect(stored(x, over: base, Context()) == y)
    #expect(stored.trainableParameters.map(\.name) == ["lora_A.weight", "lora_B.weight"])
    #expect(stored.trainableParameters.map(\.role) == [.factorA, .factorB])
    let factors = try #require(adapter.lowRankFactors)
    expectWithin(
      base.weight.unpacked() + factors.scale * matmul(factors.b, factors.a),
      adapter.merged(
        into: base, Context()
      ).weight.unpacked(), 1e-6)
  }

  @Test func `One module is a LoRA to the bit`() throws {
    var copy = base
    let setup = Setup(site: "layer", random: RandomKey(seed: 4))
    let lora = try LoRA(on: &copy, LoRA.Configuration(rank: 4, scale: 0.5, dropout: 0.3), setup)
    let adapter = try fresh(Splits(1), dropout: 0.3)
    #expect(adapter.trainableParameters.map(\.name) == lora.trainableParameters.map(\.name))
    #expect(zip(adapter.trainableParameters, lora.trainableParameters).allSatisfy { $0.value == $1.value })
    let moved = try trained(Splits(1), dropout: 0.3)
    var plain = lora
    plain.forEachParameter { name, parameter in
      parameter.value = .normal(parameter.value.shape, from: RandomKey(seed: 5)[name])
    }
    #expect(moved(x, over: base, training) == plain(x, over: base, training))
    let (a, b) = (
      valueAndGradients(of: moved) { $0(x, over: base, training).sum },
      valueAndGradients(of: plain) { $0(x, over: base, training).sum }
    )
    #expect(a.value == b.value && a.gradients == b.gradients)
  }

  @Test func `Draws differ between passes and sites, and the mean does not depend on them`() throws {
    let adapter = try trained(Splits(4))
    let outputs = (0..<20).map { adapter(x, over: base, Context(random: RandomKey(seed: $0))).values }
    #expect(Set(outputs).count == 4)
    var other = base
    let elsewhere = try MoSA(
      on: &other, .init(LoRA.Configuration(rank: 4, scale: 0.5)), Setup(site: "other", random: RandomKey(seed: 4)))
    let draws = (0..<20).map { pass in
      let random = RandomKey(seed: UInt64(pass))
      return adapter.b.draw(random["layer"]["B"]) == elsewhere.b.draw(random["other"]["B"])
    }
    #expect(draws.contains(false) && draws.contains(true))
    #expect(adapter(x, over: base, Context()) == adapter(x, over: base, Context()))
  }

  @Test(arguments: [
    (["splits": "0"], "adapter.splits '0' is not a whole number from 1 to 256"),
    (["splits": "257"], "adapter.splits '257' is not a whole number from 1 to 256"),
    (["splits": "four"], "adapter.splits 'four' is not a whole number from 1 to 256"),
    (["share": "left"], "adapter.share 'left' is not down, up or none"),
    (["consistency": "-1"], "adapter.consistency '-1' is not a number ≥ 0"),
    (["consistency": "inf"], "adapter.consistency 'inf' is not a number ≥ 0"),
  ]) func `A value that means nothing is refused`(_ options: [String: String], _ message: String) {
    var settings = AdapterSettings()
    settings.options = options
    #expect { try MoSA.configuration(settings, at: "q") } throws: { "\($0)" == message }
    #expect { try Bottleneck.configuration(settings, at: "mlp") } throws: { "\($0)" == message }
  }

  @Test func `More modules than numbers, and a bias of its own, are refused`() {
    #expect {
      _ = try fresh(Splits(100))
    } throws: {
      "\($0)" == "adapter 'mosa' cannot split the 24 numbers of a matrix at 'layer' into 100 modules; lower splits"
    }
    var settings = AdapterSettings()
    settings.hasBias = true
    #expect { try MoSA.configuration(settings, at: "q") } throws: {
      "\($0)" == "'mosa' has no bias of its own; remove lora_bias"
    }
  }

  @Test func `Two passes are asked for where there is more than one module`() throws {
    func weight(_ method: String, _ options: [String: String]) throws -> Double? {
      var settings = AdapterSettings()
      settings.options = options
      return try Catalogue.consistency(of: method, settings)
    }
    #expect(try weight("mosa", [:]) == 1 && weight("mosa", ["splits": "1"]) == nil)
    #expect(try weight("mosa", ["consistency": "0.5"]) == 0.5 && weight("mosa", ["consistency": "0"]) == nil)
    #expect(try weight("bottleneck", [:]) == nil && weight("bottleneck", ["splits": "2"]) == 1)
    #expect(try weight("lora", [:]) == nil)
  }

  /// p₁ = (0.7, 0.2, 0.1) and p₂ = (0.5, 0.3, 0.2): ½ (KL(p₂ ‖ p₁) + KL(p₁ ‖ p₂)) = ½ Σ (p₁ − p₂) ln (p₁ / p₂)
  /// = ½ (0.2 ln 1.4 + 0.1 ln 1.5 + 0.1 ln 2) = 0.0885778.
  @Test func `The divergence of two passes is the one worked by hand, and so is its slope`() {
    let p1: [Float] = [0.7, 0.2, 0.1], p2: [Float] = [0.5, 0.3, 0.2]
    let z1 = Tensor(p1, shape: [1, 3]).logarithm.watched, z2 = Tensor(p2, shape: [1, 3]).logarithm.watched
    let apart = 0.5 * (divergenceSum(student: z1, teacher: z2) + divergenceSum(student: z2, teacher: z1))
    #expect(abs(apart.scalar - 0.0885778) < 2e-7)
    let slopes = gradients(of: apart, at: [z1, z2])
    expectWithin(slopes[0], Tensor([0.1, -0.05, -0.05], shape: [1, 3]), 1e-7)
    expectWithin(slopes[1], Tensor([-0.1, 0.05, 0.05], shape: [1, 3]), 1e-7)
    #expect(divergenceSum(student: z1, teacher: z1).scalar == 0)
  }

  @Test func `A folder holds a plain LoRA that computes the same logits to the bit`() throws {
    var model = try Checkpoint("\(fixtures)/models/llama-untied").model()
    let fresh = model
    var plan = GraftPlan(method: "mosa", settings: AdapterSettings(rank: 4, alpha: 8))
    plan.settings.options = ["share": "none", "splits": "3"]
    try model.graft(plan, random: RandomKey(seed: 6))
    model.forEachParameter { name, parameter in
      guard parameter.isTrainable else { return }
      parameter.value = .normal(parameter.value.shape, deviation: 0.3, from: RandomKey(seed: 7)[name])
    }
    let folder = NSTemporaryDirectory() + "graft-" + UUID().uuidString
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try AdapterFolder.save(model, PEFTConfiguration(plan, baseModel: nil), to: folder)
    var again = fresh
    let configuration = try AdapterFolder.load(folder, onto: &again)
    #expect(configuration.plan.method == "lora" && configuration.plan.settings.options.isEmpty)
    let batch = TokenBatch([[3, 17, 29, 40, 55]])
    #expect(again.logits(batch) == model.logits(batch))
    #expect(again.logits(batch) != fresh.logits(batch))
  }
}
