import Autodiff
import Networks
import Weights

/// Finding the reassembly of one layer's input that costs its output least.
///
/// A threshold θ says all: channel j is split into T_j = max(1, ⌈max|x_j| / θ⌉), and the n = Σ (T_j − 1) cheapest
/// mergers of other channels make room. θ falls from the largest max|x_j| to the smallest in equal steps until n exceeds
/// a share of the channels; each is tried by the mean squared difference, on sampled rows, between the layer's output
/// with the matrix and the rounding of the run and its output with neither. No split is tried first, and stays unless
/// another is better.
///
/// Departures: the authors compare the output of attention, or of the feed-forward block's product, where this compares
/// the layer's own, so that each layer stands alone; q, k and v may be reassembled differently. Their code merges before
/// it splits when it searches and after when it applies, so that what it applies is not what it judged; here both are
/// one.
struct ReassemblySearch: Sendable, Equatable {
  /// What merging channels i and j is taken to cost.
  enum Metric: String, Sendable, CaseIterable {
    /// ¼ ‖x_i − x_j‖² ‖W_i − W_j‖²: the squared error of the output, exactly.
    case exact
    /// (‖x_i − x_j‖ (Σ W_i + Σ W_j))²: what the authors' code computes.
    case code
  }

  /// The largest share of the channels that may be added, and so merged away.
  var ratio: Double
  /// What mergers cost.
  var metric = Metric.exact

  /// The largest number of thresholds tried; the authors' grid of steps of ½ has no bound.
  private static let mostSteps = 1000.0

  /// The best reassembly of inputs rounded to `bits`, for the matrix `weight`, which is `original` rounded; on `samples`
  /// `[rows, inputs]`, with `largest` `[inputs]` the largest magnitude of each channel.
  func best(
    bits: Int, weight: any FrozenMatrix, original: (any FrozenMatrix)?, samples: Tensor, largest: Tensor
  ) -> ChannelReassembly {
    let matrix = weight.unpacked(), channels = weight.columns
    let target = linear(samples, original ?? weight)
    func error(_ reassembly: ChannelReassembly) -> Double {
      let output = matmul(InputRounding(bits: bits, reassembly)(samples), matrix, transposingB: true)
      return Double(meanSquaredError(output, target).scalar)
    }
    var best = ChannelReassembly.identity(channels)
    guard channels > 1 else { return best }
    var least = error(best), tried = 0
    let costs = MergeCosts(metric, samples, matrix), magnitudes = largest.values.map(Double.init)
    for threshold in Self.thresholds(magnitudes) {
      let copies = Self.copies(magnitudes, threshold), added = copies.values.reduce(0) { $0 + $1 - 1 }
      if Double(added) > ratio * Double(channels) { break }
      guard added != tried, let partners = costs.cheapest(added, sparing: copies) else { continue }
      tried = added
      let candidate = ChannelReassembly(channels: channels, copies: copies, partners: partners)
      let cost = error(candidate)
      if cost < least { (best, least) = (candidate, cost) }
    }
    return best
  }

  /// The thresholds, falling, all above zero.
  static func thresholds(_ magnitudes: [Double]) -> [Double] {
    guard let top = magnitudes.max(), let bottom = magnitudes.min(), top > bottom else { return [] }
    let steps = Int(min(mostSteps, max(100, top / 0.5)))
    return (1...steps).map { top - (top - bottom) * Double($0) / Double(steps) }.filter { $0 > 0 }
  }

  /// T of each channel that exceeds `threshold`.
  static func copies(_ magnitudes: [Double], _ threshold: Double) -> [Int: Int] {
    var copies: [Int: Int] = [:]
    for (channel, magnitude) in magnitudes.enumerated() where magnitude > threshold {
      // More parts than channels are never made room for, and a quotient may be too large for a whole number.
      copies[channel] = Int(min((magnitude / threshold).rounded(.up), Double(magnitudes.count) + 1))
    }
    return copies
  }
}

/// The cost of merging any even channel a into any odd channel b.
struct MergeCosts {
  /// `[even channels, odd channels]`.
  let table: Tensor
  private let even: [Int], odd: [Int]

  /// The costs on the rows of `samples` `[rows, inputs]` for the matrix `[outputs, inputs]`.
  init(_ metric: ReassemblySearch.Metric, _ samples: Tensor, _ matrix: Tensor) {
    let channels = samples.shape.columns
    let even = Array(stride(from: 0, to: channels, by: 2)), odd = Array(stride(from: 1, to: channels, by: 2))
    (self.even, self.odd) = (even, odd)
    let apart = Self.squaredDistances(samples.transposed, even, odd)
    switch metric {
    case .exact: table = 0.25 * apart * Self.squaredDistances(matrix.transposed, even, odd)
    case .code:
      let sums = matrix.transposed.rowSums.values
      let both = Tensor(even.flatMap { a in odd.map { sums[a] + sums[$0] } }, shape: apart.shape)
      table = apart * both * both
    }
  }

  /// Each remaining even channel's cheapest odd one, and of these pairs the `count` cheapest; nil where there are fewer.
  func cheapest(_ count: Int, sparing split: [Int: Int]) -> [Int: Int]? {
    let partners = odd.indices.filter { split[odd[$0]] == nil }
    var edges: [(cost: Float, a: Int, b: Int)] = []
    table.withValues { costs in
      for (row, a) in even.enumerated() where split[a] == nil {
        let line = costs[row * odd.count..<(row + 1) * odd.count], start = line.startIndex
        guard let column = partners.min(by: { line[start + $0] < line[start + $1] }) else { continue }
        edges.append((line[start + column], a, odd[column]))
      }
    }
    guard edges.count >= count else { return nil }
    edges.sort { ($0.cost, $0.a) < ($1.cost, $1.a) }
    return Dictionary(uniqueKeysWithValues: edges.prefix(count).map { ($0.a, $0.b) })
  }

  /// ‖v_i − v_j‖² for rows i of `left` and j of `right` among the rows of `v`.
  private static func squaredDistances(_ v: Tensor, _ left: [Int], _ right: [Int]) -> Tensor {
    let (a, b) = (v.gathered(left.map(Int32.init)), v.gathered(right.map(Int32.init)))
    let squares = (a * a).rowSums.reshaped([left.count, 1]) + (b * b).rowSums.reshaped([1, right.count])
    // Rounding may leave less than nothing of vectors that are alike.
    return (squares - 2 * matmul(a, b, transposingB: true)).rectified
  }
}
