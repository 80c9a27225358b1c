import Autodiff
import Foundation
import Networks
import Testing
import Weights

@testable import Adapters

struct HydraTests {
  private static func normal(_ shape: Shape, _ name: String) -> Tensor {
    .normal(shape, deviation: 0.5, from: RandomKey(seed: 31)[name])
  }

  private func base(_ outputs: Int = 7, _ inputs: Int = 5, hasBias: Bool) -> FrozenLinear {
    FrozenLinear(
      FrozenWeight(Self.normal([outputs, inputs], "W")), bias: hasBias ? Self.normal([outputs], "b") : nil)
  }

  /// An adapter all of whose numbers are away from zero.
  private func trained(_ base: FrozenLinear, _ configuration: Hydra.Configuration) -> Hydra {
    var base = base
    var adapter = Hydra(on: &base, configuration, Setup(site: "layer", random: RandomKey(seed: 1)))
    adapter.forEachParameter { $1.value = Self.normal($1.value.shape, $0) }
    return adapter
  }

  private func set(_ module: inout some Module, _ values: [String: Tensor]) {
    module.forEachParameter { name, parameter in if let value = values[name] { parameter.value = value } }
  }

  /// 2 × 2, worked by hand in the method notes: y₀ = [6, 0].
  private func worked() -> (base: FrozenLinear, adapter: Hydra) {
    let base = FrozenLinear(FrozenWeight(Tensor([1, 2, 0, 1], shape: [2, 2])), bias: Tensor([1, -1], shape: [2]))
    var adapter = trained(base, Hydra.Configuration(rank: 1, scale: 0.5))
    set(
      &adapter,
      [
        "hydra_parallel.down.weight": Tensor([1, -1], shape: [1, 2]),
        "hydra_parallel.down.bias": Tensor([0.5], shape: [1]),
        "hydra_parallel.up.weight": Tensor([2, 0], shape: [2, 1]),
        "hydra_parallel.up.bias": Tensor([0, 1], shape: [2]),
        "hydra_sequential.down.weight": Tensor([1, 1], shape: [1, 2]),
        "hydra_sequential.down.bias": Tensor([-1], shape: [1]),
        "hydra_sequential.up.weight": Tensor([1, -1], shape: [2, 1]),
        "hydra_sequential.up.bias": Tensor([0.25, 0], shape: [2]),
      ])
    return (base, adapter)
  }

  @Test func `A 2 × 2 layer worked by hand`() {
    let (base, adapter) = worked()
    // y₀ = [6, 0]; beside: 2.5 · [2, 0] + [0, 1]; behind: 5 · [1, −1] + [.25, 0]; y = y₀ + ½ [10.25, −4].
    #expect(adapter(Tensor([3, 1], shape: [1, 2]), over: base, Context()).values == [11.125, -2])
  }

  @Test func `Hydra folds its second head into the bias`() {
    let (base, adapter) = worked()
    let merged = adapter.merged(into: base, Context())
    // W' = W + ½ ([[2, −2], [0, 0]] + [1, −1]ᵀ [1, 3]); b' = [1, −1] + ½ ([1, 1] + (0 − 1) [1, −1] + [.25, 0]).
    #expect(merged.weight.unpacked().values == [2.5, 2.5, -0.5, -0.5])
    #expect(merged.bias?.value.values == [1.125, 0])
  }

  @Test(arguments: [true, false], [true, false])
  func `Training starts at the base, bit for bit`(_ hasBias: Bool, _ hasBiases: Bool) {
    var base = base(hasBias: hasBias)
    let x = Self.normal([9, 5], "x"), before = base(x)
    for start in [Hydra.Configuration.Start.uniform, .gaussian] {
      let configuration = Hydra.Configuration(rank: 3, sequentialRank: 2, scale: 4, hasBiases: hasBiases, start: start)
      let adapter = Hydra(on: &base, configuration, Setup(site: "layer", random: RandomKey(seed: 1)))
      #expect(adapter(x, over: base, Context()) == before)
      #expect(adapter.parallel.down.value.values.allSatisfy { $0 != 0 })
    }
  }

  @Test func `At the start what writes has a gradient and what reads has none`() {
    var base = base(hasBias: true)
    let adapter = Hydra(
      on: &base, Hydra.Configuration(rank: 3, scale: 1), Setup(site: "layer", random: RandomKey(seed: 1)))
    let x = Self.normal([9, 5], "x")
    let slopes = valueAndGradients(of: adapter) { ($0(x, over: base, Context()) * Self.normal([9, 7], "g")).sum }
    for (parameter, slope) in zip(adapter.trainableParameters, slopes.gradients) {
      let writes = parameter.name.contains(".up.")
      #expect(slope.values.contains { $0 != 0 } == writes, "\(parameter.name)")
    }
  }

  @Test func `Without its second head it is LoRA`() {
    let base = base(hasBias: true), x = Self.normal([9, 5], "x")
    var adapter = trained(base, Hydra.Configuration(rank: 3, scale: 2, hasBiases: false))
    set(&adapter, ["hydra_sequential.up.weight": .zeros([7, 3])])
    let lora = LoRA(
      a: adapter.parallel.down.value, b: adapter.parallel.up.value, scale: 2, site: "layer")
    #expect(largestDifference(adapter(x, over: base, Context()), lora(x, over: base, Context())) < 1e-5)
  }

  @Test func `Without its first head the change is a recombination of the base's outputs`() {
    let base = base(hasBias: false), x = Self.normal([9, 5], "x")
    var adapter = trained(base, Hydra.Configuration(rank: 2, scale: 2, hasBiases: false))
    set(&adapter, ["hydra_parallel.up.weight": .zeros([7, 2])])
    let mixing = matmul(adapter.sequential.up.value, adapter.sequential.down.value)  // [outputs, outputs]
    let expected = base(x) + 2 * matmul(base(x), mixing, transposingB: true)
    #expect(largestDifference(adapter(x, over: base, Context()), expected) < 1e-5)
  }

  @Test(arguments: [true, false], [true, false])
  func `Folding computes the same, and brings a bias only where there was one to bring`(
    _ hasBias: Bool, _ hasBiases: Bool
  ) {
    let base = base(hasBias: hasBias), x = Self.normal([9, 5], "x")
    let adapter = trained(
      base, Hydra.Configuration(rank: 3, sequentialRank: 2, scale: 0.7, hasBiases: hasBiases))
    let merged = adapter.merged(into: base, Context())
    // Products of five small matrices of numbers around 1: some tens of terms × 2⁻²⁴.
    #expect(largestDifference(merged(x), adapter(x, over: base, Context())) < 1e-5)
    #expect((merged.bias != nil) == (hasBias || hasBiases))
    let nothing = Tensor.zeros([1, 5])
    #expect(largestDifference(adapter(nothing, over: base, Context()), merged(nothing)) < 1e-5)
  }

  @Test(arguments: [true, false], [true, false])
  func `Over its base it is a plain LoRA of both ranks together`(_ hasBias: Bool, _ hasBiases: Bool) {
    let base = base(hasBias: hasBias), x = Self.normal([9, 5], "x")
    let adapter = trained(
      base, Hydra.Configuration(rank: 3, sequentialRank: 2, scale: 0.7, hasBiases: hasBiases))
    let lora = adapter.plainLoRA(over: base, Context())
    #expect(lora.a.value.shape == [5, 5] && lora.b.value.shape == [7, 5])
    #expect((lora.bias != nil) == (hasBias || hasBiases))
    #expect(largestDifference(lora(x, over: base, Context()), adapter(x, over: base, Context())) < 1e-5)
    var layer = AdaptedLinear(base)
    layer.adapter = adapter
    #expect((layer.lowRankFactors != nil) == !(hasBias || hasBiases))
  }

  @Test(arguments: [true, false], [0, 0.4] as [Float])
  func `Its gradients are what central differences say`(_ hasBiases: Bool, _ dropout: Float) {
    var layer = AdaptedLinear(base(hasBias: true))
    layer.base.bias?.isTrainable = true
    layer.adapter = trained(
      layer.base,
      Hydra.Configuration(rank: 3, sequentialRank: 2, scale: 0.7, dropout: dropout, hasBiases: hasBiases))
    let context = Context(random: RandomKey(seed: 3))
    expectDerivatives(of: layer, at: Self.normal([9, 5], "x")) { $0($1, context) }
  }

  @Test func `Dropout stands between what reads and what writes, in training alone`() {
    let base = base(hasBias: true), x = Self.normal([9, 5], "x")
    let adapter = trained(base, Hydra.Configuration(rank: 3, scale: 0.7, dropout: 0.5))
    let random = RandomKey(seed: 3)
    func mask(_ head: String) -> Tensor { .dropoutMask([9, 3], rate: 0.5, from: random["layer"][head]["dropout"]) }
    func head(_ head: Hydra.Head, _ x: Tensor, _ mask: Tensor) -> Tensor {
      let hidden = linear(x, weight: head.down.value, bias: head.downBias?.value) * mask
      return linear(hidden, weight: head.up.value, bias: head.upBias?.value)
    }
    let change =
      head(adapter.parallel, x, mask("hydra_parallel")) + head(adapter.sequential, base(x), mask("hydra_sequential"))
    #expect(largestDifference(adapter(x, over: base, Context(random: random)), base(x) + 0.7 * change) < 1e-5)
    let ones = Tensor.filled(1, [9, 3])
    let whole = head(adapter.parallel, x, ones) + head(adapter.sequential, base(x), ones)
    #expect(largestDifference(adapter(x, over: base, Context()), base(x) + 0.7 * whole) < 1e-5)
  }

  @Test func `The base's output is not kept for the way back`() {
    // 4,000 outputs of 256 KB each: were one kept a layer, 1 GB would be live.
    let base = base(1024, 16, hasBias: false)
    var watching = trained(base, Hydra.Configuration(rank: 2, scale: 1))
    watching.forEachParameter { $1.value = $1.value.watched }
    let x = Self.normal([64, 16], "x").watched, before = Memory.live
    var total = Tensor(0)
    for _ in 0..<4000 { total = total + watching(x, over: base, Context()).sum }
    // Other tests of the same process may hold some hundred megabytes at the moment.
    #expect(Memory.live - before < 600 << 20)
    withExtendedLifetime(total) {}
  }

  @Test(arguments: [true, false])
  func `It trains as many numbers as its formula says`(_ hasBiases: Bool) {
    var base = base(hasBias: true)
    let adapter = Hydra(
      on: &base, Hydra.Configuration(rank: 3, sequentialRank: 2, scale: 1, hasBiases: hasBiases),
      Setup(site: "layer", random: RandomKey(seed: 1)))
    let count = adapter.trainableParameters.reduce(0) { $0 + $1.value.count }
    #expect(count == 3 * (5 + 7) + 2 * 2 * 7 + (hasBiases ? 3 + 2 + 2 * 7 : 0))
  }

  @Test func `Its recipe keys set ranks and biases, and refuse what they cannot be`() throws {
    var settings = AdapterSettings(rank: 4, alpha: 8)
    #expect(
      try Hydra.configuration(settings, at: "q")
        == Hydra.Configuration(rank: 4, sequentialRank: 4, scale: 2, hasBiases: true))
    settings.options = ["sequential_rank": "2", "branch_bias": "false"]
    settings.start = "gaussian"
    #expect(
      try Hydra.configuration(settings, at: "q")
        == Hydra.Configuration(rank: 4, sequentialRank: 2, scale: 2, hasBiases: false, start: .gaussian))
    settings.options = ["sequential_rank": "0"]
    #expect(throws: AdapterOptionError.self) { try Hydra.configuration(settings, at: "q") }
    settings.options = ["branch_bias": "perhaps"]
    #expect(throws: AdapterOptionError.self) { try Hydra.configuration(settings, at: "q") }
    settings.options = [:]
    settings.start = "orthogonal"
    #expect(throws: GraftError.self) { try Hydra.configuration(settings, at: "q") }
  }

  @Test func `A model saved and loaded again computes the same bits, and the same when folded`() throws {
    let path = "\(fixtures)/models/qwen2"
    var model = try Checkpoint(path).model()
    var plan = GraftPlan(method: "hydra", settings: AdapterSettings(rank: 3, alpha: 3))
    plan.settings.options = ["sequential_rank": "2"]
    try model.graft(plan, random: RandomKey(seed: 4))
    model.forEachParameter { if $1.isTrainable { $1.value = 0.2 * Self.normal($1.value.shape, $0) } }
    let folder = NSTemporaryDirectory() + "graft-" + UUID().uuidString
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try AdapterFolder.save(model, PEFTConfiguration(plan, baseModel: nil), to: folder)
    var again = try Checkpoint(path).model()
    try AdapterFolder.load(folder, onto: &again)
    let batch = TokenBatch([[3, 17, 29, 40, 55, 90]]), logits = model.logits(batch)
    #expect(again.logits(batch) == logits)
    #expect(largestDifference(try Checkpoint(path).model().logits(batch), logits) > 0.01)
    func merged(_ model: some TextNetwork) -> any TextNetwork { model.merged() }
    #expect(largestDifference(merged(model).logits(batch), logits) < 1e-4)
  }
}
