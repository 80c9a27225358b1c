import Autodiff
import Networks
import Testing
import Weights

@testable import Adapters

/// A layer whose input has a few channels of huge range, and some that are alike.
struct WideInput {
  let weight: Tensor, x: Tensor

  init(outputs: Int = 12, inputs: Int = 24, tokens: Int = 64, seed: UInt64) {
    let random = RandomKey(seed: seed)
    weight = .normal([outputs, inputs], from: random["w"])
    let sizes = Tensor((0..<inputs).map { $0 % 11 == 5 ? 30 : 1 }, shape: [inputs])
    let shared = Tensor.normal([tokens, 1], from: random["shared"])
    x = sizes * (.normal([tokens, inputs], from: random["x"]) + 0.5 * shared)
  }

  var statistics: SiteStatistics {
    let width = x.shape[1], rows = x.shape[0]
    let largest = (0..<width).map { column in (0..<rows).map { abs(x.values[$0 * width + column]) }.max() ?? 0 }
    return SiteStatistics(
      meanMagnitude: .filled(1, [width]), meanSquare: .filled(1, [width]),
      largestMagnitude: Tensor(largest, shape: [width]), samples: x, rows: rows)
  }

  func best(_ ratio: Double = 0.2, bits: Int = 4, _ metric: ReassemblySearch.Metric = .exact) -> ChannelReassembly {
    ReassemblySearch(ratio: ratio, metric: metric).best(
      bits: bits, weight: FrozenWeight(weight), original: nil, samples: x,
      largest: statistics.largestMagnitude ?? .zeros([0]))
  }

  /// The mean squared change of the layer's output.
  func error(_ reassembly: ChannelReassembly, bits: Int?) -> Double {
    let output = matmul(InputRounding(bits: bits, reassembly)(x), weight, transposingB: true)
    return Double(meanSquaredError(output, matmul(x, weight, transposingB: true)).scalar)
  }
}

extension ChannelReassembly {
  /// Where each channel of the rearranged input comes from: some channels of the layer's, whose mean is divided by T.
  private var places: [(members: [Int], copies: Int)] {
    (0..<channels).flatMap { channel -> [(members: [Int], copies: Int)] in
      if partners[channel] != nil { return [] }
      let times = copies[channel] ?? 1
      let members = [channel] + partners.filter { $0.value == channel }.map(\.key).sorted()
      return Array(repeating: (members, times), count: times)
    }
  }

  /// R x as the paper writes it: copies side by side, averages in the place of their b.
  func rearranged(_ x: Tensor) -> Tensor {
    let (rows, width) = (x.shape[0], x.shape[1]), places = places
    return Tensor(
      (0..<rows).flatMap { row in
        places.map { members, copies in
          members.reduce(0) { $0 + x.values[row * width + $1] } / Float(members.count) / Float(copies)
        }
      }, shape: [rows, places.count])
  }

  /// W̃: columns repeated for copies, added up for averages.
  func rearranged(weight: Tensor) -> Tensor {
    let (rows, width) = (weight.shape[0], weight.shape[1]), places = places
    return Tensor(
      (0..<rows).flatMap { row in
        places.map { members, _ in members.reduce(0) { $0 + weight.values[row * width + $1] } }
      }, shape: [rows, places.count])
  }
}

struct ChannelReassemblyTests {
  private let reassemblies = [
    ChannelReassembly(channels: 24, copies: [5: 3, 16: 2], partners: [2: 7, 4: 7, 8: 1]),
    ChannelReassembly(channels: 24, copies: [0: 2], partners: [22: 23]),
    ChannelReassembly(channels: 24, copies: [23: 4], partners: [0: 1, 2: 1, 6: 1]), .identity(24),
  ]

  @Test(arguments: [4, 8])
  func `Repeating and adding up columns is sending copies and averages back`(_ bits: Int) {
    let input = WideInput(seed: 1)
    for reassembly in reassemblies + [input.best()] {
      #expect(reassembly.width == 24)
      let rounded = roundedRows(reassembly.rearranged(input.x), bits: bits)
      #expect(rounded.shape == [64, 24])
      let wide = matmul(rounded, reassembly.rearranged(weight: input.weight), transposingB: true)
      let back = matmul(InputRounding(bits: bits, reassembly)(input.x), input.weight, transposingB: true)
      // Sums of 24 products up to 100, in another order.
      #expect(distance(wide, back) < 1e-3)
    }
  }

  @Test func `Copies add up to what was split, and only averages change without rounding`() {
    let input = WideInput(seed: 2), split = ChannelReassembly(channels: 24, copies: [5: 3, 16: 7], partners: [:])
    #expect(split.width == 32)
    let parts = split.rearranged(input.x).values
    for row in 0..<64 {
      let whole = input.x.values[row * 24 + 5]
      #expect(abs((0..<3).reduce(0) { $0 + parts[row * 32 + 5 + $1] } - whole) <= abs(whole) * 1e-6)
    }
    #expect(InputRounding(bits: nil, split)(input.x) == input.x)
    #expect(input.error(reassemblies[0], bits: nil) > 0.1)
  }

  @Test func `Averaging channels that are alike loses nothing`() {
    var values = WideInput(seed: 3).x.values
    for row in 0..<64 { values[row * 24 + 4] = values[row * 24 + 9] }
    let x = Tensor(values, shape: [64, 24])
    #expect(InputRounding(bits: nil, ChannelReassembly(channels: 24, copies: [:], partners: [4: 9]))(x) == x)
  }

  @Test func `A merger costs the square of what it does to the output`() {
    let input = WideInput(seed: 4), costs = MergeCosts(.exact, input.x, input.weight).table
    #expect(costs.shape == [12, 12])
    for (a, b) in [(0, 1), (2, 21), (16, 5), (22, 23)] {
      let merged = ChannelReassembly(channels: 24, copies: [:], partners: [a: b])
      let squares = input.error(merged, bits: nil) * Double(64 * 12)
      let cost = Double(costs.values[a / 2 * 12 + b / 2])
      #expect(abs(cost - squares) < 1e-4 * squares, "\(a) and \(b)")
    }
    // Zero where the channels, or the columns, are equal.
    var x = input.x.values, w = input.weight.values
    for row in 0..<64 { x[row * 24 + 6] = x[row * 24 + 3] }
    for row in 0..<12 { w[row * 24 + 8] = w[row * 24 + 13] }
    let equal = MergeCosts(.exact, Tensor(x, shape: [64, 24]), Tensor(w, shape: [12, 24])).table.values
    let largest = equal.max() ?? 0
    #expect(equal[3 * 12 + 1] < 1e-5 * largest && equal[4 * 12 + 6] < 1e-5 * largest)
    #expect(equal.filter { $0 < 1e-5 * largest }.count == 2)
  }

  @Test func `The score of the authors' code, by hand`() {
    // x₀ − x₁ = (1, 2); columns of W add up to 3 and 7: 5 · 10².
    let x = Tensor([2, 1, 3, 1], shape: [2, 2]), w = Tensor([1, 3, 2, 4], shape: [2, 2])
    #expect(MergeCosts(.code, x, w).table.values == [500])
    // Columns differ by 2 and 2: ¼ · 5 · 8.
    #expect(MergeCosts(.exact, x, w).table.values == [10])
  }

  @Test func `Each channel of the one half goes to its cheapest of the other, those that are split to none`() {
    // Channels 0, 2, 4 | 1, 3, 5 of one token, with columns of W so far apart that distance in x decides.
    let x = Tensor([0, 9, 10, 1, 8, 50], shape: [1, 6]), w = Tensor([0, 1, 0, 1, 0, 1], shape: [1, 6])
    let costs = MergeCosts(.exact, x, w)
    #expect(costs.cheapest(1, sparing: [:]) == [0: 3])
    #expect(costs.cheapest(3, sparing: [:]) == [0: 3, 2: 1, 4: 1])
    #expect(costs.cheapest(3, sparing: [5: 4]) == [0: 3, 2: 1, 4: 1])
    #expect(costs.cheapest(2, sparing: [3: 2, 0: 2]) == [2: 1, 4: 1])
    #expect(costs.cheapest(2, sparing: [0: 2, 2: 2]) == nil && costs.cheapest(1, sparing: [1: 2, 3: 2, 5: 2]) == nil)
  }

  @Test func `Thresholds fall from the largest magnitude to the smallest`() {
    let thresholds = ReassemblySearch.thresholds([3, 8, 0.5])
    #expect(thresholds.count == 100 && thresholds.first == 8 - 0.075 && abs((thresholds.last ?? 0) - 0.5) < 1e-12)
    #expect(ReassemblySearch.thresholds([100, 0]).count == 199)
    #expect(ReassemblySearch.thresholds([1e6, 1]).count == 1000)
    #expect(ReassemblySearch.thresholds([2, 2]).isEmpty && ReassemblySearch.thresholds([0, 0]).isEmpty)
    #expect(ReassemblySearch.copies([3, 8, 0.5], 8).isEmpty)
    // Three halves are three, not four.
    #expect(ReassemblySearch.copies([1.5, 8, 0.5], 0.5) == [0: 3, 1: 4])
    #expect(ReassemblySearch.copies([1e30, 1], 1e-30) == [0: 3, 1: 3])
  }

  @Test(arguments: [1, 2, 3, 4] as [UInt64], ReassemblySearch.Metric.allCases)
  func `What is found is judged as it is applied, and no worse than no split`(
    _ seed: UInt64, _ metric: ReassemblySearch.Metric
  ) {
    let input = WideInput(inputs: 64, seed: seed), best = input.best(0.2, metric)
    #expect(input.error(best, bits: 4) <= input.error(.identity(64), bits: 4))
    #expect(best.width == 64 && best.copies.values.reduce(0) { $0 + $1 - 1 } <= 12)
    let split = Set(best.copies.keys)
    #expect(split.isDisjoint(with: best.partners.keys) && split.isDisjoint(with: best.partners.values))
    #expect(best.partners.allSatisfy { $0.key % 2 == 0 && $0.value % 2 == 1 })
    // The outliers are 5, 16, 27, …: a channel thirty times as wide costs the others their grid.
    #expect(metric == .code || input.error(best, bits: 4) < 0.7 * input.error(.identity(64), bits: 4))
    #expect(metric == .code || (!split.isEmpty && split.allSatisfy { $0 % 11 == 5 }))
    let none = input.best(0, metric)
    #expect(none == .identity(64))
  }

  @Test func `The search follows the matrix before rounding where there is one`() {
    // Ŵ = 0 gives every candidate the same output, so none is better than no split.
    let input = WideInput(inputs: 64, seed: 5), largest = input.statistics.largestMagnitude ?? .zeros([0])
    func best(_ weight: Tensor, _ original: Tensor?, bits: Int = 8) -> ChannelReassembly {
      ReassemblySearch(ratio: 0.2).best(
        bits: bits, weight: FrozenWeight(weight), original: original.map { FrozenWeight($0) }, samples: input.x,
        largest: largest)
    }
    #expect(best(.zeros([12, 64]), input.weight).isIdentity)
    // Eight bits need no split here. But where the original has the averages already, averaging is free.
    let coarse = best(input.weight, nil, bits: 4)
    #expect(!coarse.isIdentity && best(input.weight, nil).isIdentity && best(input.weight, input.weight).isIdentity)
    #expect(best(input.weight, input.weight.averagingChannels(coarse.groups)) == coarse)
  }

  @Test func `It comes back from the numbers it is stored as`() throws {
    for reassembly in reassemblies {
      #expect(try ChannelReassembly(numbers: reassembly.numbers, channels: 24, at: "q") == reassembly)
    }
    #expect(reassemblies[1].numbers == [1, 0, 2, 22, 23] && ChannelReassembly.identity(9).numbers == [])
    #expect(try ChannelReassembly(numbers: [0], channels: 3, at: "q").isIdentity)
  }

  @Test(
    arguments: [
      ([1, 0, 2], "turns 24 channels into 25"), ([-1, 0, 2], "names -1 split channels in 3 numbers"),
      ([2, 0, 2], "names 2 split channels in 3 numbers"), ([1, 0], "names 1 split channels in 2 numbers"),
      ([.max, 0, 2], "names 9223372036854775807 split channels in 3 numbers"),
      ([1, 24, 2, 0, 1], "splits channel 24 of 24, or splits it twice"),
      ([2, 3, 2, 3, 2, 4, 5, 6, 7], "splits channel 3 of 24, or splits it twice"),
      ([1, 0, 1], "splits channel 0 into 1 parts"),
      ([1, 0, .max], "splits channel 0 into 9223372036854775807 parts"),
      ([1, 0, 2, 0, 1], "averages channels 0 and 1 of 24"), ([1, 0, 2, 2, 2], "averages channels 2 and 2 of 24"),
      ([1, 0, 2, -1, 3], "averages channels -1 and 3 of 24"),
      ([1, 0, 3, 2, 3, 2, 5], "averages channels 2 and 5 of 24"),
      ([1, 0, 3, 2, 3, 3, 5], "averages a channel into one that is averaged away"),
    ] as [([Int], String)])
  func `Numbers that mean nothing are refused`(_ numbers: [Int], _ what: String) {
    #expect(
      throws: GraftError("the reassembly of 'q' \(what); was the adapter trained on another model?")
    ) { try ChannelReassembly(numbers: numbers, channels: 24, at: "q") }
  }
}
