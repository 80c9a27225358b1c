import Autodiff
import Files
import Foundation
import Networks
import Testing
import Weights

@testable import Adapters

struct S2FTTests {
  static let sides: [S2FT.Side] = [.input, .output]

  private func normal(_ shape: Shape, _ stream: Int) -> Tensor { .normal(shape, from: RandomKey(seed: 5)[stream]) }

  /// A layer of 96 inputs and 64 outputs with a bias, packed in 8 bits.
  private func layer() throws -> FrozenLinear {
    FrozenLinear(try FrozenWeight(0.2 * normal([64, 96], 0), packing: .q8_0), bias: normal([64], 1))
  }

  /// An adapter on four channels of `base`, with random numbers in it.
  private func trained(_ side: S2FT.Side, on base: FrozenLinear, _ channels: [Int] = [1, 2, 40, 63]) throws -> S2FT {
    var base = base
    var adapter = try S2FT(
      on: &base, S2FT.Configuration(side: side),
      Setup(site: "x", random: RandomKey(seed: 1), channels: channels))
    let shape = try #require(adapter.delta).value.shape
    adapter.delta?.value = normal(shape, 2 + channels[0])
    return adapter
  }

  private func distance(_ a: Tensor, _ b: Tensor) -> Float {
    a.shape == b.shape ? zip(a.values, b.values).reduce(0) { max($0, abs($1.0 - $1.1)) } : .infinity
  }

  @Test(arguments: sides)
  func `Training starts at the base, bit for bit`(_ side: S2FT.Side) throws {
    var base = try layer()
    let fresh = try S2FT(
      on: &base, S2FT.Configuration(side: side), Setup(site: "x", random: RandomKey(seed: 1), channels: [0, 9, 33]))
    let x = normal([5, 96], 3)
    #expect(fresh(x, over: base, Context()) == base(x))
    #expect(fresh.merged(into: base, Context()).weight.unpacked() == base.weight.unpacked())
  }

  @Test(arguments: sides)
  func `Merging keeps the output`(_ side: S2FT.Side) throws {
    // A stream of its own: the output side's change is drawn from the third.
    let base = try layer(), adapter = try trained(side, on: base), x = normal([7, 96], 8)
    let apart = adapter(x, over: base, Context())
    #expect(distance(apart, base(x)) > 1)
    // Float sums in two orders, whose rounding follows the size of the sums and differs between processors.
    let size = apart.values.reduce(0) { max($0, abs($1)) }
    #expect(distance(adapter.merged(into: base, Context())(x), apart) < 2e-6 * size)
  }

  @Test(arguments: sides)
  func `Every entry outside the chosen channels keeps its bits`(_ side: S2FT.Side) throws {
    let base = try layer(), adapter = try trained(side, on: base)
    let before = base.weight.unpacked().values, after = adapter.merged(into: base, Context()).weight.unpacked().values
    for index in before.indices {
      let channel = side == .input ? index % 96 : index / 96
      #expect((before[index].bitPattern == after[index].bitPattern) != adapter.channels.contains(channel))
    }
  }

  @Test(arguments: sides)
  func `Its gradient is the slice of the whole matrix's`(_ side: S2FT.Side) throws {
    let base = try layer(), adapter = try trained(side, on: base)
    let whole = adapter.merged(into: base, Context()).weight.unpacked().watched, x = normal([7, 96], 3).watched
    let direction = normal([7, 64], 4)
    var watching = adapter
    watching.delta?.value = try #require(adapter.delta).value.watched
    let delta = try #require(watching.delta).value
    let ours = gradients(of: (watching(x, over: base, Context()) * direction).sum, at: [delta, x])
    let theirs = gradients(
      of: (linear(x, weight: whole, bias: base.bias?.value) * direction).sum, at: [whole, x])
    let indices = adapter.channels.map(Int32.init)
    let slice =
      side == .input ? theirs[0].transposed.gathered(indices).transposed : theirs[0].gathered(indices)
    #expect(distance(ours[0], slice) < 2e-5)
    #expect(distance(ours[1], theirs[1]) < 2e-5)
  }

  @Test(arguments: sides)
  func `All channels are full fine-tuning of the matrix`(_ side: S2FT.Side) throws {
    let base = try layer(), all = Array(0..<(side == .input ? 96 : 64))
    var adapter = try trained(side, on: base, all)
    let change = normal([64, 96], 9)
    adapter.delta?.value = change
    let merged = adapter.merged(into: base, Context()).weight.unpacked()
    #expect(merged == base.weight.unpacked() + change)
  }

  @Test(arguments: sides)
  func `Adam on the change is Adam on the slice of the matrix`(_ side: S2FT.Side) throws {
    let base = try layer(),
      rule = AdamRule(
        decay: 1, beta1: 0.9, beta2: 0.999, size: 0.01, correction: 1, epsilon: 1e-8)
    var adapter = try trained(side, on: base)
    let start = try #require(adapter.delta).value
    var (change, changeM, changeV) = (start, Tensor?.none, Tensor?.none)
    let indices = adapter.channels.map(Int32.init), matrix = base.weight.unpacked()
    let frozen = side == .input ? matrix.transposed.gathered(indices).transposed : matrix.gathered(indices)
    var (slice, sliceM, sliceV) = (frozen + start, Tensor?.none, Tensor?.none)
    for step in 0..<3 {
      let gradient = normal(start.shape, 20 + step)
      let a = adamStep(change, gradient, m: changeM, v: changeV, rule)
      let b = adamStep(slice, gradient, m: sliceM, v: sliceV, rule)
      (change, changeM, changeV, slice, sliceM, sliceV) = (a.value, a.m, a.v, b.value, b.m, b.v)
    }
    adapter.delta?.value = change
    // The slice is larger than its change and is rounded more coarsely: three steps at 2⁻²² each.
    #expect(distance(slice - frozen, change) < 2e-6)
  }

  @Test func `Disjoint adapters fuse without meeting`() throws {
    for side in Self.sides {
      let base = try layer(), a = try trained(side, on: base, [3, 8]), b = try trained(side, on: base, [0, 5, 9])
      let both = try S2FT.fused([(a, 1), (b, 1)]), turned = try S2FT.fused([(b, 1), (a, 1)])
      #expect(both.channels == [0, 3, 5, 8, 9])
      let stepwise = b.merged(into: a.merged(into: base, Context()), Context())
      #expect(both.merged(into: base, Context()).weight.unpacked() == stepwise.weight.unpacked())
      #expect(both.delta?.value == turned.delta?.value)
    }
  }

  @Test func `Overlapping adapters add up, each by its factor`() throws {
    let base = try layer(), a = try trained(.input, on: base, [3, 8]), b = try trained(.input, on: base, [8])
    let both = try S2FT.fused([(a, 0.5), (b, 2)])
    let first = try #require(a.delta).value.columns(0..<1), second = try #require(a.delta).value.columns(1..<2)
    let sum = 0.5 * second + 2 * (try #require(b.delta).value)
    #expect(both.channels == [3, 8])
    #expect(both.delta?.value == Tensor.concatenated([(0.5 * first).transposed, sum.transposed]).transposed)
  }

  @Test func `Adapters of other sides or sizes do not fuse`() throws {
    let base = try layer()
    let error = #expect(throws: GraftError.self) {
      try S2FT.fused([(try trained(.input, on: base), 1), (try trained(.output, on: base), 1)])
    }
    #expect(error?.description == "adapters of 96 input channels and of 64 output channels cannot be fused")
  }

  @Test func `Switching there and back restores every bit`() throws {
    for side in Self.sides {
      let base = try layer(), a = try trained(side, on: base, [3, 8]), b = try trained(side, on: base, [0, 8, 9])
      var served = ChannelMatrix(base.weight.unpacked())
      try served.switchTo(a)
      #expect(served.tensor == a.merged(into: base, Context()).weight.unpacked())
      let first = served.tensor
      try served.switchTo(b)
      #expect(served.tensor == b.merged(into: base, Context()).weight.unpacked())
      try served.switchTo(a)
      #expect(served.tensor == first)
      try served.switchTo(nil)
      #expect(served.tensor.values.map(\.bitPattern) == base.weight.unpacked().values.map(\.bitPattern))
      var other = ChannelMatrix(.zeros([3, 3]))
      #expect(throws: GraftError.self) { try other.switchTo(a) }
    }
  }

  @Test(arguments: sides)
  func `The same change is a product of two thin matrices`(_ side: S2FT.Side) throws {
    let base = try layer(), adapter = try trained(side, on: base), factors = try #require(adapter.lowRankFactors)
    #expect(factors.a.shape == [4, 96] && factors.b.shape == [64, 4])
    let plain = LoRA(a: factors.a, b: factors.b, scale: factors.scale, site: "x")
    #expect(
      plain.merged(into: base, Context()).weight.unpacked() == adapter.merged(into: base, Context()).weight.unpacked())
  }

  @Test func `Channels that do not fit the layer are refused`() throws {
    var base = try layer()
    for channels in [[96], [-1], [4, 4], [5, 4]] {
      let error = #expect(throws: GraftError.self) {
        try S2FT(
          on: &base, S2FT.Configuration(side: .input), Setup(site: "x", random: RandomKey(seed: 1), channels: channels))
      }
      #expect(
        error?.description
          == "the channels of 'x' must rise and lie in 0..<96; was the adapter trained on another model?")
    }
    #expect(throws: GraftError.self) {
      try S2FT(on: &base, S2FT.Configuration(side: .input), Setup(site: "x", random: RandomKey(seed: 1)))
    }
  }
}
