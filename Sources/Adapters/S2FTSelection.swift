import Autodiff
import Networks

/// How S²FT chooses the channels that learn.
///
/// All layers of one name, such as every `down_proj`, share one quota, and its units (heads in attention, single channels
/// elsewhere) are drawn over all of them together, so that a layer may get more or fewer than its share, or none;
/// `quota: layer` gives each layer its own. The quota is `ratio` of the units, or else what costs about as many numbers as
/// a LoRA of the adapter's rank on the same layers: s = r (inputs + outputs) / other side, 2r on a square matrix. It is
/// rounded down to whole units, but never to none.
///
/// The authors' released code draws at random, which is the default here. The paper compares it with other scores; their
/// exact norms are ours.
public struct S2FTSelection: Sendable {
  /// Recipe keys.
  static let options = ["ratio", "selection", "order", "quota"]

  /// By what units are ranked.
  public enum Score: String, Sendable, CaseIterable {
    /// By nothing: they are drawn evenly.
    case random
    /// ‖W of the unit‖, Frobenius.
    case weight
    /// E|x|, the mean over the unit; only input channels have it.
    case activation
    /// ‖W diag(√E[x²]) of the unit‖, Frobenius: what the unit contributes, were inputs uncorrelated.
    case weightActivation = "weight_activation"
    /// ‖∂L/∂W of the unit‖, Frobenius: how steeply the loss of the calibration rows falls along it.
    case gradient

    /// What must be measured.
    var statistics: Statistics {
      switch self {
      case .random, .weight: []
      case .activation, .weightActivation: .magnitudes
      case .gradient: .gradient
      }
    }
  }

  /// The share of all units that learn; nil for as many as a LoRA of equal cost.
  public let ratio: Double?
  /// The rank of units.
  public let score: Score
  /// Whether the largest scores are taken.
  public let takesLargest: Bool
  /// Whether every layer has a quota of its own.
  public let isByLayer: Bool

  /// What `settings` choose.
  public init(_ settings: AdapterSettings) throws {
    let share = try settings.option("ratio", 0.0, expected: "a share in (0, 1]") { text in
      Double(text).flatMap { $0 > 0 && $0 <= 1 ? $0 : nil }
    }
    ratio = share > 0 ? share : nil
    let score = try settings.option(
      "selection", Score.random, expected: Score.allCases.map(\.rawValue).joined(separator: ", "),
      Score.init(rawValue:))
    self.score = score
    takesLargest = try settings.option(
      "order", false, expected: score == .random ? "of use to selection random; remove it" : "largest or smallest"
    ) { text in
      guard score != .random else { return nil }
      return ["largest": true, "smallest": false][text]
    }
    isByLayer = try settings.option("quota", false, expected: "global or layer") {
      ["layer": true, "global": false][$0]
    }
  }

  /// One unit that could be chosen.
  private struct Unit {
    let site: Int, index: Int
    let score: Double
  }

  /// The channels of each site.
  func channels(
    of sites: [Site<FrozenLinear>], _ settings: AdapterSettings, random: RandomKey
  ) throws -> [String: [Int]] {
    var chosen: [String: [Int]] = [:]
    for site in sites { chosen[site.name] = [] }
    var groups: [(name: String, sites: [Site<FrozenLinear>])] = []
    for site in sites {
      let name = isByLayer ? site.name : String(site.name.split(separator: ".").last ?? "")
      if let index = groups.firstIndex(where: { $0.name == name }) {
        groups[index].sites.append(site)
      } else {
        groups.append((name, [site]))
      }
    }
    for (name, members) in groups {
      var units: [Unit] = [], wanted = 0.0
      for (position, site) in members.enumerated() {
        let side = try S2FT.side(settings, at: site.name), count = side == .input ? site.base.inputs : site.base.outputs
        guard site.unit > 0, count % site.unit == 0 else {
          throw GraftError("the \(count) channels of '\(site.name)' are no whole number of units of \(site.unit)")
        }
        let other = side == .input ? site.base.outputs : site.base.inputs, here = count / site.unit
        let equalCost = Double(settings.rank(at: site.name) * (count + other)) / Double(other * site.unit)
        wanted += ratio.map { $0 * Double(here) } ?? min(equalCost, Double(here))
        let scores = try scores(of: site, side)
        units += (0..<here).map { Unit(site: position, index: $0, score: scores[$0]) }
      }
      // A hair above, so that 0.29 of 100 units is 29 and not 28.
      let quota = max(1, min(units.count, Int(wanted + 1e-6)))
      for unit in ordered(units, random["channels"][name]).prefix(quota) {
        let size = members[unit.site].unit
        chosen[members[unit.site].name, default: []] += unit.index * size..<(unit.index + 1) * size
      }
    }
    return chosen.mapValues { $0.sorted() }
  }

  private func ordered(_ units: [Unit], _ random: RandomKey) -> [Unit] {
    guard score != .random else { return random.permutation(units.count).map { units[$0] } }
    // Equal scores fall by place, so that the choice is the same on every machine.
    return units.sorted { a, b in
      if a.score != b.score { return takesLargest ? a.score > b.score : a.score < b.score }
      return (a.site, a.index) < (b.site, b.index)
    }
  }

  /// The score of every unit of a site.
  private func scores(of site: Site<FrozenLinear>, _ side: S2FT.Side) throws -> [Double] {
    let count = side == .input ? site.base.inputs : site.base.outputs
    guard score != .random else { return [Double](repeating: 0, count: count / site.unit) }
    if score == .activation, side == .output {
      throw GraftError(
        "selection activation ranks what a layer reads, and '\(site.name)' trains what it writes; choose weight_activation, weight or random, or side: in",
        key: "selection"
      )
    }
    let isMeasured = score == .gradient ? site.statistics?.gradient != nil : site.statistics != nil
    guard score.statistics.isEmpty || isMeasured else {
      throw GraftError(
        "selection \(score.rawValue) needs measurements of '\(site.name)' on calibration data, and there are none",
        key: "selection")
    }
    if score == .gradient, let gradient = site.statistics?.gradient {
      let squares = (side == .input ? gradient.inputs : gradient.outputs).values.map(Double.init)
      return stride(from: 0, to: count, by: site.unit).map { first in
        squares[first..<first + site.unit].reduce(0, +).squareRoot()
      }
    }
    if score == .activation, let statistics = site.statistics {
      let magnitudes = statistics.meanMagnitude.values.map(Double.init)
      return stride(from: 0, to: count, by: site.unit).map { first in
        magnitudes[first..<first + site.unit].reduce(0, +) / Double(site.unit)
      }
    }
    let size = score == .weightActivation ? site.statistics?.meanSquare.values.map(Double.init) : nil
    let matrix = site.base.weight.unpacked(), columns = site.base.inputs
    var squares = [Double](repeating: 0, count: count / site.unit)
    matrix.withValues { values in
      for row in 0..<site.base.outputs {
        for column in 0..<columns {
          let value = Double(values[row * columns + column]), weight = size?[column] ?? 1
          squares[(side == .input ? column : row) / site.unit] += weight * value * value
        }
      }
    }
    return squares.map { $0.squareRoot() }
  }
}
