import Autodiff
import Networks
import Synchronization

/// Measuring what arrives at layers while a model reads: second moments, mean magnitudes, mean squares, samples.
///
/// A layer is measured by an adapter that changes nothing and listens; the model with the listeners is thrown away.
public enum Calibration {
  /// Bytes that running sums may take at once; the text is read again for each group of layers that fits.
  public static let budget = 512 << 20
  /// Tokens read at once, if the longest sequence allows.
  private static let tokensAtOnce = 1024
  /// Rows kept of each layer's input where samples are asked for: 1 kB an input channel.
  public static let sampleRows = 256

  /// What `wanted` asks about the inputs of the layers `sites` of `model`, which carry no adapter yet.
  ///
  /// Sequences are laid end to end without padding, so every row is a token. A batch is multiplied in single precision
  /// and added up in double.
  ///
  /// - Throws: a ``GraftError`` when a layer sees no token or sees numbers that are not finite.
  public static func measure(
    _ model: any TextNetwork, _ wanted: Statistics, of sites: [String], on sequences: [[Int32]],
    segments: [[Int32]] = [], budget: Int = Calibration.budget
  ) throws -> [String: SiteStatistics] {
    guard !wanted.isEmpty else { return [:] }
    var widths: [String: Int] = [:]
    var copy = model
    copy.forEachLinear { widths[$0] = $1.base.inputs }
    var found: [String: SiteStatistics] = [:]
    let batches = batches(sequences, segments)
    for group in groups(sites, widths, wanted, budget) {
      try measure(model, wanted, of: group, on: batches, into: &found)
    }
    return found
  }

  /// Which rows are kept of `count`: one drawn from each of ``sampleRows`` equal parts, or all where there are fewer.
  public static func sampledRows(of count: Int) -> [Int] {
    guard count > sampleRows else { return Array(0..<count) }
    var random = RandomKey(seed: 0)["calibration rows"].generator
    return (0..<sampleRows).map { part in
      let (start, end) = (part * count / sampleRows, (part + 1) * count / sampleRows)
      return start + Int(random.uniform() * Double(end - start))
    }
  }

  private static func measure(
    _ model: any TextNetwork, _ wanted: Statistics, of sites: [String], on batches: [TokenBatch],
    into found: inout [String: SiteStatistics]
  ) throws {
    let tokens = sampledRows(of: batches.reduce(0) { $0 + $1.ids.count })
    let sequences = sampledRows(of: batches.reduce(0) { $0 + $1.lengths.count })
    let hearsHead = sites.contains(model.headName) || model is any Classifier
    // A classifier's head, which lies in no block, reads one row a sequence.
    let heard = try listen(
      model, wanted, of: sites, keeping: { model is any Classifier && blockIndex($0) == nil ? sequences : tokens }
    ) { listening in
      for batch in batches {
        let states = listening.states(batch, Context())
        if hearsHead { _ = listening.logits(states, Context()) }
      }
    }
    found.merge(heard) { $1 }
  }

  /// What `wanted` asks about the inputs of the layers `sites` of `model` while `run` has a copy of it, whose layers
  /// listen, read what it likes.
  ///
  /// - Parameter keeping: the rows of a layer's input to keep where samples are asked for.
  /// - Throws: what `run` throws, and a ``GraftError`` when a layer sees no token or sees numbers that are not finite.
  public static func listen(
    _ model: any TextNetwork, _ wanted: Statistics, of sites: [String], keeping rows: (String) -> [Int],
    _ run: (any TextNetwork) throws -> Void
  ) throws -> [String: SiteStatistics] {
    var listening = model
    var moments: [String: Moments] = [:], found: [String: SiteStatistics] = [:]
    listening.forEachLinear { name, layer in
      guard sites.contains(name) else { return }
      let sums = Moments(
        layer.base.inputs, products: wanted.contains(.secondMoment),
        keeping: wanted.contains(.samples) ? rows(name) : nil)
      moments[name] = sums
      layer.adapter = Observer(sums)
    }
    try run(listening)
    for name in sites {
      guard let statistics = moments[name]?.statistics else {
        throw GraftError("no token of the calibration data reached layer '\(name)'", key: "calibration.data")
      }
      guard statistics.meanSquare.isFinite, statistics.secondMoment?.isFinite ?? true else {
        throw GraftError(
          "the inputs of layer '\(name)' on the calibration data are not finite", key: "calibration.data")
      }
      found[name] = statistics
    }
    return found
  }

  /// The layers in their order, as many at a time as the budget allows and at least one.
  static func groups(
    _ sites: [String], _ widths: [String: Int], _ wanted: Statistics, _ budget: Int
  ) -> [[String]] {
    groups(sites, budget) { site in
      let width = widths[site] ?? 0
      return 8 * (wanted.contains(.secondMoment) ? width * width + 2 * width : 2 * width)
        + (wanted.contains(.samples) ? 4 * width * (sampleRows + 1) : 0)
    }
  }

  /// The same, where `bytes` says what a layer takes.
  static func groups(_ sites: [String], _ budget: Int, bytes: (String) -> Int) -> [[String]] {
    var groups: [[String]] = [], room = 0
    for site in sites {
      let bytes = bytes(site)
      if groups.isEmpty || bytes > room {
        groups.append([])
        room = budget
      }
      groups[groups.count - 1].append(site)
      room -= bytes
    }
    return groups
  }

  /// Sequences, and the segments of their tokens where there are any, in batches; empty ones are left out.
  static func batches(_ sequences: [[Int32]], _ segments: [[Int32]] = []) -> [TokenBatch] {
    var groups: [[Int]] = [], room = 0
    for index in sequences.indices where !sequences[index].isEmpty {
      if groups.isEmpty || sequences[index].count > room {
        groups.append([])
        room = tokensAtOnce
      }
      groups[groups.count - 1].append(index)
      room -= sequences[index].count
    }
    return groups.map { group in
      TokenBatch(group.map { sequences[$0] }, segments: segments.isEmpty ? [] : group.map { segments[$0] })
    }
  }
}

extension TextNetwork {
  /// The linear layers that `plan` would put adapters on, in the order of the model.
  ///
  /// - Throws: as ``graft(_:random:statistics:)`` for targets that match nothing.
  public func linearSites(of plan: GraftPlan) throws -> [String] { try choose(plan).linears }
}

/// Running sums over a layer's inputs. A reference, because the layer that adds to them is a value that is copied.
private final class Moments: Sendable {
  private struct Sums {
    var rows = 0
    var magnitudes: [Double], squares: [Double], products: [Double]
    var largest: [Float], samples: [Float] = []
    /// How many of the rows to keep have been seen.
    var taken = 0

    /// Adds what is summed a channel. Pointers are taken once for all rows, so that the inner loop is plain arithmetic.
    mutating func add(_ values: UnsafeBufferPointer<Float>, rows: Int, width: Int) {
      magnitudes.withUnsafeMutableBufferPointer { magnitudes in
        squares.withUnsafeMutableBufferPointer { squares in
          largest.withUnsafeMutableBufferPointer { largest in
            for row in 0..<rows {
              for column in 0..<width {
                let value = values[row * width + column], magnitude = abs(value)
                magnitudes[column] += Double(magnitude)
                largest[column] = largest[column] < magnitude ? magnitude : largest[column]
                squares[column] += Double(value) * Double(value)
              }
            }
          }
        }
      }
    }
  }

  private let sums: Mutex<Sums>
  private let width: Int
  private let kept: [Int]?

  /// Sums of rows of `width` numbers, of their products if asked for; `kept` are the rows to keep, rising.
  init(_ width: Int, products: Bool, keeping kept: [Int]? = nil) {
    (self.width, self.kept) = (width, kept)
    let zeros = [Double](repeating: 0, count: width)
    sums = Mutex(
      Sums(
        magnitudes: zeros, squares: zeros,
        products: products ? [Double](repeating: 0, count: width * width) : [],
        largest: [Float](repeating: 0, count: width)))
  }

  /// Adds rows, `[…, inputs]`.
  func add(_ x: Tensor) {
    let rows = x.shape.rows, x = x.detached.reshaped([rows, width])
    sums.withLock { sums in
      let first = sums.rows
      sums.rows += rows
      x.withValues { values in
        while let kept, sums.taken < kept.count, kept[sums.taken] < sums.rows {
          let start = (kept[sums.taken] - first) * width
          sums.samples += values[start..<start + width]
          sums.taken += 1
        }
        sums.add(values, rows: rows, width: width)
      }
      guard !sums.products.isEmpty else { return }
      matmul(x, x, transposingA: true).withValues { values in
        sums.products.withUnsafeMutableBufferPointer { products in
          for i in values.indices { products[i] += Double(values[i]) }
        }
      }
    }
  }

  /// The means; nil when no row was seen.
  var statistics: SiteStatistics? {
    sums.withLock { sums in
      guard sums.rows > 0 else { return nil }
      let count = Double(sums.rows)
      func mean(_ sums: [Double], _ shape: Shape) -> Tensor { Tensor(sums.map { Float($0 / count) }, shape: shape) }
      return SiteStatistics(
        secondMoment: sums.products.isEmpty ? nil : mean(sums.products, [width, width]),
        meanMagnitude: mean(sums.magnitudes, [width]), meanSquare: mean(sums.squares, [width]),
        largestMagnitude: kept.map { _ in Tensor(sums.largest, shape: [width]) },
        samples: kept.map { Tensor(sums.samples, shape: [$0.count, width]) }, rows: sums.rows)
    }
  }
}

/// An adapter that changes nothing and adds up what it hears.
private struct Observer: Adapter {
  static let method = "observer"
  static func merging(_ configuration: Statistics) -> Merging { .exact }
  static func configuration(_ settings: AdapterSettings, at site: String) throws -> Statistics { .magnitudes }

  private let moments: Moments

  init(_ moments: Moments) { self.moments = moments }

  init(on base: inout FrozenLinear, _ configuration: Statistics, _ setup: Setup) {
    moments = Moments(base.inputs, products: configuration.contains(.secondMoment))
  }

  func callAsFunction(_ x: Tensor, over base: FrozenLinear, _ context: Context) -> Tensor {
    moments.add(x)
    return base(x)
  }

  func merged(into base: FrozenLinear, _ context: Context) -> FrozenLinear { base }
  mutating func visit(_ visitor: Visitor) {}
}
