import Autodiff
import Networks
import Testing

@testable import Adapters

private let variants = CLR.Variant.allCases

struct CLRTests {
  private let x = Tensor.normal([2, 3, 9, 8], from: RandomKey(seed: 1))

  private func convolution(
    _ filters: Shape, stride: Int = 1, padding: Int = 0, groups: Int = 1, bias: Bool = true
  ) -> FrozenConvolution {
    FrozenConvolution(
      0.5 * .normal(filters, from: RandomKey(seed: 2)["\(filters)"]),
      bias: bias ? .normal([filters[0]], from: RandomKey(seed: 3)) : nil, stride: stride, padding: Padding(padding),
      groups: groups)
  }

  private func fresh(_ variant: CLR.Variant, on base: FrozenConvolution) -> CLR {
    var base = base
    return CLR(on: &base, variant, Setup(site: "conv", random: RandomKey(seed: 4)))
  }

  /// One whose numbers are all far from where they started.
  private func trained(_ variant: CLR.Variant, on base: FrozenConvolution, seed: UInt64 = 5) -> CLR {
    var adapter = fresh(variant, on: base)
    adapter.forEachParameter { name, parameter in
      parameter.value = .normal(parameter.value.shape, from: RandomKey(seed: seed)[name])
    }
    return adapter
  }

  /// Convolution, filters, batch norm, rectifier, twice, as a ResNet's stem and first 1 × 1 convolution stand.
  private struct Stack: Module {
    var first: AdaptedConvolution, second: AdaptedConvolution
    var weight: Parameter, bias: Parameter

    func callAsFunction(_ x: Tensor) -> Tensor {
      let u = first(x, Context())
      let n = batchNorm(u, weight: weight.value, bias: bias.value, epsilon: 1e-5).result
      return second(n.sigmoid, Context())
    }

    mutating func visit(_ visitor: Visitor) {
      visitor("first", &first)
      visitor("norm.weight", &weight)
      visitor("norm.bias", &bias)
      visitor("second", &second)
    }
  }

  private func stack(_ variant: CLR.Variant?, seed: UInt64 = 5) -> Stack {
    var stack = Stack(
      first: AdaptedConvolution(convolution([4, 3, 3, 3], stride: 2, padding: 1)),
      second: AdaptedConvolution(convolution([5, 4, 1, 1])),
      weight: Parameter(.normal([4], from: RandomKey(seed: 6)), role: .norm),
      bias: Parameter(.normal([4], from: RandomKey(seed: 7)), role: .norm))
    if let variant {
      stack.first.adapter = trained(variant, on: stack.first.base, seed: seed)
      stack.second.adapter = trained(variant, on: stack.second.base, seed: seed)
    }
    return stack
  }

  @Test(arguments: variants) func `A fresh adapter leaves the convolution as it is`(_ variant: CLR.Variant) {
    for base in [
      convolution([4, 3, 3, 3], stride: 2, padding: 1), convolution([5, 3, 1, 1]),
      convolution([6, 1, 3, 3], padding: 1, groups: 3), convolution([4, 3, 5, 5], bias: false),
    ] {
      #expect(fresh(variant, on: base)(x, over: base, Context()) == base(x))
    }
  }

  @Test(arguments: variants) func `Every derivative through a stack is what central differences say`(
    _ variant: CLR.Variant
  ) {
    let stack = stack(variant)
    let expected = variant == .reduced ? 3 : 4
    #expect(stack.trainableParameters.count == expected + (variant == .gated ? 2 : 0))
    expectDerivatives(of: stack) { $0(x) }
  }

  @Test(arguments: variants) func `Each variant is its equation`(_ variant: CLR.Variant) throws {
    let base = convolution([4, 3, 3, 3], padding: 1), adapter = trained(variant, on: base)
    let u = base(x).values, filters = try #require(adapter.filters).value.values
    let gates = adapter.gate?.value.values
    let y = adapter(x, over: base, Context()).values
    for image in 0..<2 {
      for channel in 0..<4 {
        let plane = (image * 4 + channel) * 72
        for row in 0..<9 {
          for column in 0..<8 {
            var sum = 0.0
            for i in 0..<3 {
              for j in 0..<3 where (0..<9).contains(row + i - 1) && (0..<8).contains(column + j - 1) {
                sum += Double(filters[channel * 9 + i * 3 + j]) * Double(u[plane + (row + i - 1) * 8 + column + j - 1])
              }
            }
            let here = plane + row * 8 + column
            let expected = gates.map { Double(u[here]) + Double($0[channel]) * sum } ?? sum
            // Nine products of numbers up to about 10.
            #expect(abs(Double(y[here]) - expected) < 2e-5)
          }
        }
      }
    }
  }

  @Test(arguments: variants) func `A filter's gradient depends on its own channel alone`(_ variant: CLR.Variant) {
    let base = convolution([4, 3, 3, 3], padding: 1), adapter = trained(variant, on: base)
    let (_, slopes) = valueAndGradients(of: adapter) { adapter in
      let y = adapter(x, over: base, Context())
      return y.transposed([1, 0, 2, 3]).rows(2..<3).sum
    }
    for (parameter, slope) in zip(adapter.trainableParameters, slopes) {
      let size = parameter.value.count / 4
      for (i, value) in slope.values.enumerated() { #expect((value != 0) == (i / size == 2)) }
    }
  }

  @Test func `A number a channel folds into the convolution, bias included`() {
    for base in [convolution([5, 3, 1, 1]), convolution([5, 3, 1, 1], stride: 2, bias: false)] {
      let adapter = trained(.scalar, on: base)
      #expect(adapter.trainableParameters.map(\.value.count) == [5])
      // Three products and a factor: a few 2⁻²⁴ of numbers up to about 10.
      expectWithin(adapter.merged(into: base, Context())(x), adapter(x, over: base, Context()), 3e-6)
    }
  }

  @Test func `Where there is no filter, nothing changes when folded`() {
    let base = convolution([5, 3, 1, 1]), adapter = trained(.reduced, on: base)
    #expect(adapter.trainableParameters.isEmpty)
    #expect(adapter.merged(into: base, Context())(x) == base(x))
  }

  @Test(arguments: variants) func `As a whole it never folds, and says why`(_ variant: CLR.Variant) {
    var plan = GraftPlan(method: "clr")
    plan.settings.options = ["variant": variant.rawValue]
    #expect { try plan.requireFolding() } throws: {
      "\($0)"
        == "adapter 'clr' cannot be merged: a 3 × 3 filter sees zeros around the map, where one larger convolution would see what lies beyond it; keep it beside its base"
    }
  }

  /// Σ K[u, v] · W shifted by the stride times (u, v): of size k + 2 s, with s more rows of zeros around the image.
  @Test(arguments: [1, 2]) func `One larger convolution agrees inside and differs at the border`(_ stride: Int) throws {
    let base = convolution([4, 3, 3, 3], stride: stride, padding: 1, bias: false), adapter = trained(.reduced, on: base)
    let w = base.weight.unpacked().values, k = try #require(adapter.filters).value.values
    let side = 3 + 2 * stride
    var composite = [Float](repeating: 0, count: 4 * 3 * side * side)
    for output in 0..<4 {
      for input in 0..<3 {
        for (u, v) in (0..<9).map({ ($0 / 3, $0 % 3) }) {
          for (i, j) in (0..<9).map({ ($0 / 3, $0 % 3) }) {
            let place = ((output * 3 + input) * side + i + stride * u) * side + j + stride * v
            composite[place] += k[output * 9 + u * 3 + v] * w[(output * 3 + input) * 9 + i * 3 + j]
          }
        }
      }
    }
    let one = conv2d(
      x, weight: Tensor(composite, shape: [4, 3, side, side]), stride: stride, padding: Padding(1 + stride))
    let two = adapter(x, over: base, Context())
    try #require(one.shape == two.shape)
    let (rows, columns) = (two.shape[2], two.shape[3])
    var inside: Float = 0, border: Float = 0
    for (i, (a, b)) in zip(one.values, two.values).enumerated() {
      let (row, column) = (i / columns % rows, i % columns)
      if (1..<rows - 1).contains(row) && (1..<columns - 1).contains(column) {
        inside = max(inside, abs(a - b))
      } else {
        border = max(border, abs(a - b))
      }
    }
    // 243 products of numbers up to about 10.
    #expect(inside < 1e-4)
    #expect(border > 0.1)
  }

  @Test(arguments: variants) func `The batch norm behind it folds into the filter`(_ variant: CLR.Variant) {
    for filters: Shape in [[4, 3, 3, 3], [4, 3, 1, 1]] {
      let base = convolution(filters), adapter = trained(variant, on: base)
      let (weight, bias) = (Tensor.normal([4], from: RandomKey(seed: 8)), Tensor.normal([4], from: RandomKey(seed: 9)))
      let moments = ChannelMoments(
        mean: .normal([4], from: RandomKey(seed: 10)), variance: Tensor([0.5, 2, 0.1, 1], shape: [4]))
      let v = adapter(x, over: base, Context())
      let normed = batchNorm(v, weight: weight, bias: bias, moments: moments, epsilon: 1e-3)
      let fused = adapter.fused(weight: weight, bias: bias, moments: moments, epsilon: 1e-3)
      let one = conv2d(
        base(x), weight: fused.filter, bias: fused.bias, padding: Padding(fused.filter.shape[-1] / 2), groups: 4)
      // Ten terms of up to some 30, divided by deviations down to 0.3.
      expectWithin(one, normed, 1e-4)
    }
  }

  /// The outputs and filter sizes of a ResNet's convolutions: the stem, then stages of blocks.
  private func resNet50() -> [(channels: Int, side: Int)] {
    var list = [(64, 7)]
    for (width, blocks) in [(64, 3), (128, 4), (256, 6), (512, 3)] {
      for block in 0..<blocks {
        list += [(width, 1), (width, 3), (4 * width, 1)]
        if block == 0 { list.append((4 * width, 1)) }
      }
    }
    return list
  }

  private func resNet18() -> [(channels: Int, side: Int)] {
    var list = [(64, 7)]
    for (index, width) in [64, 128, 256, 512].enumerated() {
      list += [(width, 3), (width, 3), (width, 3), (width, 3)]
      if index > 0 { list.append((width, 1)) }
    }
    return list
  }

  @Test(arguments: [(CLR.Variant.reduced, 34_560), (.full, 239_040), (.scalar, 57_280), (.gated, 239_040 + 26_560)])
  func `A ResNet-50 has the paper's numbers`(_ variant: CLR.Variant, _ expected: Int) {
    let list = resNet50()
    #expect(list.count == 53)
    #expect(list.reduce(0) { $0 + variant.count(channels: $1.channels, behind: $1.side, by: $1.side) } == expected)
    // With both of a batch norm's parameters and both of its moments a channel: the abstract's "less than 0.6 %".
    let norms = 4 * list.reduce(0) { $0 + $1.channels }
    #expect(norms == 2 * 53_120)
    if variant == .reduced { #expect(expected + norms == 140_800) }
    if variant == .full { #expect(expected + norms == 345_280) }
  }

  @Test func `Only a convolution of one tap counts as one of size 1 × 1`() {
    func sides(_ height: Int, _ width: Int) -> [Int?] { variants.map { $0.side(behind: height, by: width) } }
    // In the order full, reduced, scalar, gated.
    #expect(sides(1, 1) == [3, nil, 1, 3])
    #expect(sides(1, 3) == [3, 3, 3, 3] && sides(3, 1) == [3, 3, 3, 3])
  }

  @Test func `A ResNet-18 has 35,136 numbers`() {
    let list = resNet18()
    #expect(
      list.reduce(0) { $0 + CLR.Variant.reduced.count(channels: $1.channels, behind: $1.side, by: $1.side) } == 35_136)
    #expect(2 * list.reduce(0) { $0 + $1.channels } == 9_600)
  }

  @Test(arguments: variants, [[4, 3, 3, 3], [4, 3, 1, 1], [4, 3, 1, 3]]) func `The count is what is trained`(
    _ variant: CLR.Variant, _ filters: [Int]
  ) {
    let adapter = fresh(variant, on: convolution(Shape(filters)))
    #expect(
      adapter.trainableParameters.reduce(0) { $0 + $1.value.count }
        == variant.count(channels: 4, behind: filters[2], by: filters[3]))
    #expect(adapter.trainableParameters.allSatisfy { $0.role == ($0.name == "clr.gate" ? .magnitude : .filter) })
  }

  @Test(arguments: variants) func `Training one task leaves every bit of the base and of another task`(
    _ variant: CLR.Variant
  ) {
    let one = stack(variant, seed: 5), before = one(x)
    let bits = one.trainableParameters.map { $0.value.values.map(\.bitPattern) }
    let weights = one.first.base.weight.unpacked()

    // The next task: fresh filters on the same base, trained until its output has moved.
    var two = one
    (two.first.adapter, two.second.adapter) = (fresh(variant, on: one.first.base), fresh(variant, on: one.second.base))
    for _ in 0..<5 {
      var slopes = valueAndGradients(of: two) { stack in
        let y = stack(x)
        return (y * y).mean
      }.gradients[...]
      two.forEachParameter { _, parameter in
        guard parameter.isTrainable, let slope = slopes.popFirst() else { return }
        parameter.value = parameter.value + (-0.05) * slope
      }
    }
    #expect(two(x) != before && two(x) != stack(nil)(x))
    #expect(one.trainableParameters.map { $0.value.values.map(\.bitPattern) } == bits)
    #expect(two.first.base.weight.unpacked() == weights)

    // Back to the first task by putting its tensors in again.
    (two.first.adapter, two.second.adapter) = (one.first.adapter, one.second.adapter)
    (two.weight, two.bias) = (one.weight, one.bias)
    #expect(two(x) == before)
  }

  @Test func `An unknown variant, and a model without convolutions, are refused`() throws {
    var settings = AdapterSettings()
    settings.options = ["variant": "tiny"]
    #expect { try CLR.configuration(settings, at: "conv") } throws: {
      "\($0)" == "adapter.variant 'tiny' is not full, reduced, scalar or gated"
    }
    var model = try Checkpoint("\(fixtures)/models/llama-untied").model()
    #expect { try model.graft(GraftPlan(method: "clr"), random: RandomKey(seed: 1)) } throws: {
      "\($0)" == "adapter type 'clr' stands behind convolutions, and the targets match none of the model's 0"
    }
  }
}
