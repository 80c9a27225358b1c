import Autodiff
import Networks
import Testing
import Weights

@testable import Adapters

struct LRQATTests {
  private func layer(_ packing: String) throws -> FrozenLinear {
    let values = (0..<16 * 64).map { (i: Int) -> Float in Float((i * 37) % 101 - 50) / 64 }
    return FrozenLinear(try FrozenWeight(Tensor(values, shape: [16, 64]), packing: try Packing(parsing: packing)))
  }

  private func adapter(over layer: inout FrozenLinear, _ size: Float) throws -> LRQAT {
    var adapter = try LRQAT(
      on: &layer, LRQAT.configuration(AdapterSettings(rank: 2, alpha: 4), at: "x"),
      Setup(site: "x", random: RandomKey(seed: 3)))
    adapter.forEachParameter { name, parameter in
      guard name == "lora_B.weight" else { return }
      parameter.value = Tensor(
        (0..<parameter.value.count).map { Float($0 % 7 - 3) * size }, shape: parameter.value.shape)
    }
    return adapter
  }

  private let slope = Tensor((0..<5 * 16).map { (i: Int) -> Float in Float(i % 9 - 4) / 8 }, shape: [5, 16])
  private let x = Tensor((0..<5 * 64).map { (i: Int) -> Float in Float((i * 29) % 83 - 41) / 40 }, shape: [5, 64])

  @Test(arguments: ["q4_0", "q4_1", "int4-g32", "int3-g32", "nf4", "int4-g32-f16-zero"])
  func `What is trained is what folding packs, bit for bit`(
    _ packing: String
  ) throws {
    var base = try layer(packing)
    let adapter = try adapter(over: &base, 0.05)
    let folded = adapter.merged(into: base, Context())
    #expect(folded.weight.packing == base.weight.packing)
    #expect(folded.weight.withBytes { Array($0) } != base.weight.withBytes { Array($0) })
    #expect(adapter(x, over: base, Context()) == linear(x, folded.weight))
  }

  @Test(arguments: ["q4_0", "q4_1", "q8_0", "int2-g32", "int4-g32", "int3-g32", "nf4", "int4-g32-f16-zero"])
  func `A change below half a step of the packing moves nothing, and still learns`(_ packing: String) throws {
    var base = try layer(packing), tiny = try adapter(over: &base, 1e-7)
    #expect(tiny.merged(into: base, Context()).weight.withBytes { Array($0) } == base.weight.withBytes { Array($0) })
    let gradients = valueAndGradients(of: tiny) { ($0(x, over: base, Context()) * slope).sum }.gradients
    #expect(gradients.count == 2 && gradients[1].values.contains { abs($0) > 1e-2 })
    tiny.forEachParameter { _, parameter in parameter.value = 2e6 * parameter.value }
    #expect(tiny.merged(into: base, Context()).weight.withBytes { Array($0) } != base.weight.withBytes { Array($0) })
  }

  @Test func `Its factors get the gradient that plain LoRA gets from the same output's slope`() throws {
    var base = try layer("q4_0")
    let mine = try adapter(over: &base, 0.05)
    let settings = AdapterSettings(rank: 2, alpha: 4)
    var plain = try LoRA(
      on: &base, LoRA.configuration(settings, at: "x"), Setup(site: "x", random: RandomKey(seed: 3)))
    var values: [Tensor] = []
    var copy = mine
    copy.forEachParameter { values.append($1.value) }
    var index = 0
    plain.forEachParameter { _, parameter in
      parameter.value = values[index]
      index += 1
    }
    let got = valueAndGradients(of: mine) { ($0(x, over: base, Context()) * slope).sum }.gradients
    let wanted = valueAndGradients(of: plain) { ($0(x, over: base, Context()) * slope).sum }.gradients
    for (got, wanted) in zip(got, wanted) {
      #expect(zip(got.values, wanted.values).allSatisfy { abs($0 - $1) <= 1e-5 * max(1, abs($1)) })
    }
  }

  @Test func `What plain LoRA has and this has not is refused`() throws {
    var settings = AdapterSettings(rank: 2, alpha: 4)
    settings.start = "pissa"
    #expect(throws: GraftError.self) { _ = try LRQAT.configuration(settings, at: "x") }
    (settings.start, settings.hasBias) = ("default", true)
    #expect(throws: GraftError.self) { _ = try LRQAT.configuration(settings, at: "x") }
  }
}
