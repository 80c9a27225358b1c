import Autodiff
import Networks
import Testing
import Weights

@testable import Adapters

struct QLLMTests {
  private func settings(_ options: [String: String] = [:]) -> AdapterSettings {
    var settings = AdapterSettings(rank: 4, alpha: 1)
    settings.options = options
    return settings
  }

  /// A layer with a fresh adapter, and its input.
  private func layer(
    _ options: [String: String], bias: Bool = true, seed: UInt64 = 1
  ) throws -> (AdaptedLinear, WideInput) {
    let input = WideInput(inputs: 32, tokens: 48, seed: seed)
    var layer = AdaptedLinear(
      FrozenLinear(FrozenWeight(input.weight), bias: bias ? .normal([12], from: RandomKey(seed: 5)) : nil))
    let settings = settings(options)
    let chosen = try QLLM.plan(
      [Site(name: "up", base: layer.base, statistics: input.statistics)], settings, random: RandomKey(seed: 1))
    layer.adapter = try QLLM(
      on: &layer.base, QLLM.configuration(settings, at: "up"),
      Setup(site: "up", random: RandomKey(seed: 3), channels: chosen["up"]))
    return (layer, input)
  }

  private func adapter(of layer: AdaptedLinear) throws -> QLLM { try #require(layer.adapter as? QLLM) }

  @Test(arguments: ["4", "6", "8"])
  func `A fresh adapter is the base on the rounded input`(_ bits: String) throws {
    let (layer, input) = try layer(["activation_bits": bits])
    let rounding = try adapter(of: layer).rounding
    #expect(rounding.bits == Int(bits) && (bits != "4" || !rounding.reassembly.isIdentity))
    #expect(layer(input.x, Context()) == layer.base(rounding(input.x)))
    #expect(layer(input.x, Context()) != layer.base(input.x))
  }

  @Test func `The correction is α / r B A of the rounded input`() throws {
    let moved = try layer(["activation_bits": "4"]).0.moved(), input = WideInput(inputs: 32, tokens: 48, seed: 1)
    var copy = moved
    var factors: [Tensor] = []
    copy.forEachParameter { if $1.isTrainable { factors.append($1.value) } }
    #expect(factors.map(\.shape) == [[4, 32], [12, 4]])
    let x = try adapter(of: moved).rounding(input.x)
    let change = matmul(matmul(x, factors[0], transposingB: true), factors[1], transposingB: true)
    #expect(distance(moved(input.x, Context()), moved.base(x) + 0.25 * change) < 1e-4)
  }

  @Test func `Without rounding it is LoRA, bit for bit, and is stored as one`() throws {
    let (fresh, input) = try layer(["activation_bits": "16"])
    let layer = fresh.moved()
    var lora = AdaptedLinear(layer.base)
    lora.adapter = try adapter(of: layer).stored
    #expect(lora.adapter is LoRA && lora(input.x, Context()) == layer(input.x, Context()))
    #expect(layer.lowRankFactors == lora.lowRankFactors && layer.lowRankFactors != nil)
    let stored = QLLM.stored(settings(["activation_bits": "16", "reassembly_ratio": "0"]))
    #expect(stored.method == "lora" && stored.settings == settings())
    #expect(distance(layer.merged(Context())(input.x, Context()), layer(input.x, Context())) < 1e-3)
  }

  @Test func `What rounds is stored as it is, and has no factors that say all`() throws {
    let layer = try layer(["activation_bits": "8"]).0.moved()
    #expect(try adapter(of: layer).stored is QLLM && layer.lowRankFactors == nil)
    #expect(QLLM.stored(settings()).method == "qllm" && QLLM.stored(settings()).settings == settings())
    let plan = GraftPlan(method: "qllm", settings: settings())
    #expect(
      plan.foldingObjection
        == "adapter 'qllm' cannot be merged: it rounds its layers' inputs to 8 bits, which no matrix does; train with activation_bits: 16 for a correction that folds"
    )
    #expect(GraftPlan(method: "qllm", settings: settings(["activation_bits": "16"])).foldingObjection == nil)
  }

  @Test(arguments: ["4", "8", "16"])
  func `Factors learn by central differences`(_ bits: String) throws {
    let (layer, input) = try layer(["activation_bits": bits])
    // The output is linear in each factor, rounded input or not.
    #expect(layer.moved().gradientError(input.x) < 2e-3)
  }

  @Test func `The input's gradient goes straight through the rounding`() throws {
    let (fresh, input) = try layer(["activation_bits": "4"])
    let layer = fresh.moved(), reassembly = try adapter(of: layer).rounding.reassembly
    #expect(!reassembly.isIdentity)
    let slope = Tensor.normal([48, 12], from: RandomKey(seed: 8)), x = input.x.watched
    let found = gradients(of: (layer(x, Context()) * slope).sum, at: [x])[0]
    // Of the map without rounding: P (W + s B A)ᵀ g.
    let whole = layer.merged(Context()).base.weight.unpacked()
    let wanted = matmul(slope, whole).averagingChannels(reassembly.groups)
    #expect(distance(found, wanted) < 1e-4)
  }

  @Test func `The output of attention keeps its channels, and so do the layers that are named`() throws {
    let input = WideInput(inputs: 32, tokens: 48, seed: 1), base = FrozenLinear(FrozenWeight(input.weight))
    func split(_ name: String, _ more: [String: String] = [:]) throws -> Bool {
      let options = ["activation_bits": "4"].merging(more) { $1 }
      let site = Site(name: name, base: base, statistics: input.statistics)
      return try QLLM.plan([site], settings(options), random: RandomKey(seed: 1))[name] != []
    }
    #expect(try split("h.0.mlp.c_proj") && split("layers.0.up_proj"))
    #expect(try !split("layers.0.self_attn.o_proj") && !split("h.0.attn.c_proj"))
    #expect(try split("layers.0.self_attn.o_proj", ["reassembly_skip": ""]))
    #expect(try !split("layers.0.up_proj", ["reassembly_skip": "down_proj,up_proj"]))
    #expect(try !split("layers.0.up_proj", ["reassembly_skip": "down_proj, up_proj"]))
    let nothing = try QLLM.plan(
      [Site(name: "up", base: base)], settings(["reassembly_ratio": "0"]), random: RandomKey(seed: 1))
    #expect(nothing.isEmpty)
  }

  @Test func `Samples are asked for only where channels are reassembled`() throws {
    #expect(try QLLM.statistics(settings()) == .samples)
    #expect(try QLLM.statistics(settings(["reassembly_ratio": "0"])) == [])
    #expect(try QLLM.statistics(settings(["activation_bits": "16"])) == [])
    let base = FrozenLinear(FrozenWeight(WideInput(seed: 1).weight))
    #expect(
      throws: GraftError(
        "the channels of layer 'up' are reassembled by its inputs, and these were not measured; set reassembly_ratio: 0 to leave them as they are",
        key: "reassembly_ratio")
    ) { try QLLM.plan([Site(name: "up", base: base)], settings(), random: RandomKey(seed: 1)) }
  }

  @Test(
    arguments: [
      (["activation_bits": "5"], "adapter.activation_bits '5' is not 4, 6, 8 or 16"),
      (["activation_bits": "eight"], "adapter.activation_bits 'eight' is not 4, 6, 8 or 16"),
      (["reassembly_ratio": "-0.1"], "adapter.reassembly_ratio '-0.1' is not a number from 0 to 0.5"),
      (["reassembly_ratio": "nan"], "adapter.reassembly_ratio 'nan' is not a number from 0 to 0.5"),
      (["reassembly_ratio": "0.51"], "adapter.reassembly_ratio '0.51' is not a number from 0 to 0.5"),
      (["reassembly_metric": "paper"], "adapter.reassembly_metric 'paper' is not exact or code"),
      (
        ["activation_bits": "16", "reassembly_ratio": "0.2"],
        "reassembly_ratio 0.2 makes inputs easier to round, and with activation_bits: 16 they are not rounded; remove one of the two"
      ),
    ] as [([String: String], String)])
  func `What means nothing is refused`(_ options: [String: String], _ sentence: String) {
    #expect { try QLLM.configuration(settings(options), at: "up") } throws: { "\($0)" == sentence }
  }

  @Test func `A start that moves the base is refused, and so is an adapter without its reassembly`() throws {
    var moving = settings()
    moving.start = "pissa"
    #expect(throws: GraftError.self) { try QLLM.configuration(moving, at: "up") }
    var base = FrozenLinear(FrozenWeight(WideInput(seed: 1).weight))
    #expect(
      throws: GraftError(
        "no reassembly was stored for 'up'; was the adapter made for other layers?", key: "reassembly_ratio")
    ) {
      try QLLM(
        on: &base, QLLM.configuration(settings(), at: "up"), Setup(site: "up", random: RandomKey(seed: 1)))
    }
  }
}
