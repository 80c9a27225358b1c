import Autodiff
import Networks
import Testing
import Weights

@testable import Adapters

struct INT21Tests {
  private func normal(_ shape: Shape, _ stream: Int) -> Tensor { .normal(shape, from: RandomKey(seed: 6)[stream]) }

  /// A layer rounded to two bits, with a bias.
  private func layer() throws -> FrozenLinear {
    FrozenLinear(try FrozenWeight(0.2 * normal([48, 64], 0), packing: .int2(group: 64)), bias: normal([48], 1))
  }

  private func correction() -> LowRankFactors {
    LowRankFactors(a: normal([3, 64], 2), b: normal([48, 3], 3), scale: 0.5)
  }

  /// Both stages, with random numbers in the task's factors.
  private func stacked(on base: FrozenLinear, dropout: Float = 0) throws -> INT21 {
    var base = base
    var adapter = try INT21(
      correction(), on: &base, LoRA.Configuration(rank: 2, scale: 3, dropout: dropout),
      Setup(site: "x", random: RandomKey(seed: 1)))
    adapter.forEachParameter { name, parameter in
      if parameter.isTrainable { parameter.value = normal(parameter.value.shape, name.contains("A") ? 4 : 5) }
    }
    return adapter
  }

  private func distance(_ a: Tensor, _ b: Tensor) -> Float {
    a.shape == b.shape ? zip(a.values, b.values).reduce(0) { max($0, abs($1.0 - $1.1)) } : .infinity
  }

  private func product(_ x: Tensor, _ a: Tensor, _ b: Tensor) -> Tensor {
    matmul(matmul(x, a, transposingB: true), b, transposingB: true)
  }

  @Test func `Both changes are added, each by its scale`() throws {
    let base = try layer(), adapter = try stacked(on: base), x = normal([5, 64], 6), first = correction()
    let parts = base(x) + 0.5 * product(x, first.a, first.b) + 3 * product(x, normal([2, 64], 4), normal([48, 2], 5))
    // Sums of 64 terms of size up to 100.
    #expect(distance(adapter(x, over: base, Context()), parts) < 5e-4)
    #expect(distance(adapter.merged(into: base, Context())(x), parts) < 5e-4)
    let whole = try #require(adapter.lowRankFactors)
    #expect(whole.scale == 1 && whole.a.shape == [5, 64] && whole.b.shape == [48, 5])
  }

  @Test func `Dropout is the task's alone`() throws {
    let base = try layer(), adapter = try stacked(on: base, dropout: 0.5), x = normal([5, 64], 6), first = correction()
    let random = RandomKey(seed: 12)
    let drawn = try #require(dropoutMask(x.shape, 0.5, random["x"])), mask = drawn()
    let parts =
      base(x) + 0.5 * product(x, first.a, first.b) + 3 * product(x * mask, normal([2, 64], 4), normal([48, 2], 5))
    #expect(distance(adapter(x, over: base, Context(random: random)), parts) < 5e-4)
  }

  @Test(arguments: [0, 0.5] as [Float])
  func `The task's gradients are those of its own product`(_ dropout: Float) throws {
    let base = try layer(), random: RandomKey? = dropout > 0 ? RandomKey(seed: 12) : nil
    let x = normal([5, 64], 6), direction = normal([5, 48], 7)
    let (_, ours) = valueAndGradients(of: try stacked(on: base, dropout: dropout)) {
      ($0(x, over: base, Context(random: random)) * direction).sum
    }
    let a = normal([2, 64], 4).watched, b = normal([48, 2], 5).watched
    let mask = dropoutMask(x.shape, dropout, random?["x"]), read = mask.map { x * $0() } ?? x
    let theirs = gradients(of: (3 * product(read, a, b) * direction).sum, at: [a, b])
    #expect(ours.count == 2)
    for (mine, their) in zip(ours, theirs) { #expect(distance(mine, their) < 1e-3) }
  }

  @Test func `The gradient of the input is that of the unpacked matrix`() throws {
    let base = try layer(), x = normal([5, 64], 6).watched, direction = normal([5, 48], 7)
    let packed = gradients(of: (base(x) * direction).sum, at: [x])[0]
    let floats = gradients(of: (linear(x, weight: base.weight.unpacked()) * direction).sum, at: [x])[0]
    #expect(distance(packed, floats) < 1e-5)
  }

  @Test(arguments: [ErrorCorrection.svd, .lqer, .eora])
  func `A correction's start is the correction whatever the scale`(_ kind: ErrorCorrection) throws {
    let original = FrozenWeight(0.2 * normal([48, 64], 0))
    var base = try layer()
    let x = normal([40, 64], 8)
    let measured = SiteStatistics(
      secondMoment: (1 / 40) * matmul(x, x, transposingA: true), meanMagnitude: .filled(0.8, [64]),
      meanSquare: .filled(1, [64]), rows: 40)
    // α / r = 0.25, which leaves three quarters of the error where nothing divides by it.
    let lora = LoRA.Configuration(rank: 8, scale: 0.25)
    let adapter = try INT21(
      on: &base, INT21.Configuration(lora: lora, correction: kind),
      Setup(site: "x", random: RandomKey(seed: 1), statistics: measured, original: original))
    let error = original.unpacked() - base.weight.unpacked()
    let wanted = try #require(try kind.factors(of: error, rank: 8, measured))
    let change = adapter.merged(into: base, Context()).weight.unpacked() - base.weight.unpacked()
    #expect(distance(change, matmul(wanted.b, wanted.a)) < 1e-5)
    #expect(adapter.trainableParameters.count == 2)
  }

  @Test func `A layer that rounding left alone starts as LoRA does`() throws {
    let original = FrozenWeight(normal([48, 64], 0))
    var base = FrozenLinear(original)
    let adapter = try INT21(
      on: &base, INT21.Configuration(lora: LoRA.Configuration(rank: 4, scale: 1), correction: .svd),
      Setup(site: "x", random: RandomKey(seed: 1), original: original))
    let factors = try #require(adapter.lowRankFactors)
    #expect(factors.b == .zeros([48, 4]) && factors.a.values.contains { $0 != 0 })
  }

  @Test func `What cannot be is refused`() throws {
    var base = try layer()
    let error = #expect(throws: GraftError.self) {
      try INT21(
        on: &base, INT21.Configuration(lora: LoRA.Configuration(rank: 4, scale: 1), correction: .svd),
        Setup(site: "x", random: RandomKey(seed: 1)))
    }
    #expect(
      error?.description
        == "correction svd corrects what rounding took: add a quantization section, or name the original as objective.teacher of a packed base, or set correction: none"
    )
    var settings = AdapterSettings()
    settings.options["correction"] = "best"
    let option = #expect(throws: AdapterOptionError.self) { try INT21.statistics(settings) }
    #expect(option?.description == "adapter.correction 'best' is not none, svd, lqer, eora")
    for (kind, needed) in [("none", Statistics()), ("svd", []), ("lqer", .magnitudes), ("eora", .secondMoment)] {
      settings.options["correction"] = kind
      #expect(try INT21.statistics(settings) == needed)
    }
  }
}
