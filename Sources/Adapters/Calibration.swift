import Autodiff
import Networks
import Synchronization

/// Measuring what arrives at layers while a model reads: second moments, mean magnitudes, mean squares.
///
/// A layer is measured by an adapter that changes nothing and listens; the model with the listeners is thrown away.
public enum Calibration {
  /// Bytes that running sums may take at once; the text is read again for each group of layers that fits.
  public static let budget = 512 << 20
  /// Tokens read at once, if the longest sequence allows.
  private static let tokensAtOnce = 1024

  /// What `wanted` asks about the inputs of the layers `sites` of `model`, which carry no adapter yet.
  ///
  /// Sequences are laid end to end without padding, so every row is a token. A batch is multiplied in single precision
  /// and added up in double.
  ///
  /// - Throws: a ``GraftError`` when a layer sees no token or sees numbers that are not finite.
  public static func measure(
    _ model: any LanguageModel, _ wanted: Statistics, of sites: [String], on sequences: [[Int32]],
    budget: Int = Calibration.budget
  ) throws -> [String: SiteStatistics] {
    guard !wanted.isEmpty else { return [:] }
    var widths: [String: Int] = [:]
    var copy = model
    copy.forEachLinear { widths[$0] = $1.base.inputs }
    var found: [String: SiteStatistics] = [:]
    for group in groups(sites, widths, wanted, budget) {
      try measure(model, wanted, of: group, on: batches(sequences), into: &found)
    }
    return found
  }

  private static func measure(
    _ model: any LanguageModel, _ wanted: Statistics, of sites: [String], on batches: [TokenBatch],
    into found: inout [String: SiteStatistics]
  ) throws {
    var listening = model
    var moments: [String: Moments] = [:]
    listening.forEachLinear { name, layer in
      guard sites.contains(name) else { return }
      let sums = Moments(layer.base.inputs, products: wanted.contains(.secondMoment))
      moments[name] = sums
      layer.adapter = Observer(sums)
    }
    let hearsHead = sites.contains("lm_head")
    for batch in batches {
      let states = listening.states(batch, Context())
      if hearsHead { _ = listening.logits(states, Context()) }
    }
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
  }

  /// The layers in their order, as many at a time as the budget allows and at least one.
  static func groups(
    _ sites: [String], _ widths: [String: Int], _ wanted: Statistics, _ budget: Int
  ) -> [[String]] {
    groups(sites, budget) { site in
      let width = widths[site] ?? 0
      return 8 * (wanted.contains(.secondMoment) ? width * width + 2 * width : 2 * width)
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

  static func batches(_ sequences: [[Int32]]) -> [TokenBatch] {
    var batches: [[[Int32]]] = [], room = 0
    for sequence in sequences where !sequence.isEmpty {
      if batches.isEmpty || sequence.count > room {
        batches.append([])
        room = tokensAtOnce
      }
      batches[batches.count - 1].append(sequence)
      room -= sequence.count
    }
    return batches.map { TokenBatch($0) }
  }
}

extension LanguageModel {
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
  }

  private let sums: Mutex<Sums>
  private let width: Int

  init(_ width: Int, products: Bool) {
    self.width = width
    let zeros = [Double](repeating: 0, count: width)
    sums = Mutex(
      Sums(
        magnitudes: zeros, squares: zeros,
        products: products ? [Double](repeating: 0, count: width * width) : []))
  }

  /// Adds rows, `[…, inputs]`.
  func add(_ x: Tensor) {
    let rows = x.shape.rows, x = x.detached.reshaped([rows, width])
    sums.withLock { sums in
      sums.rows += rows
      x.withValues { values in
        for row in 0..<rows {
          for column in 0..<width {
            let value = Double(values[row * width + column])
            sums.magnitudes[column] += abs(value)
            sums.squares[column] += value * value
          }
        }
      }
      guard !sums.products.isEmpty else { return }
      matmul(x, x, transposingA: true).withValues { values in
        for i in values.indices { sums.products[i] += Double(values[i]) }
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
        meanMagnitude: mean(sums.magnitudes, [width]), meanSquare: mean(sums.squares, [width]), rows: sums.rows)
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
