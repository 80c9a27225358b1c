import Autodiff
import Files
import Foundation
import Networks
import Testing
import Text
import Weights

@testable import Adapters

/// The gradients that S²FT can choose by, against those of full fine-tuning.
struct CalibrationGradientTests {
  private func model() throws -> any LanguageModel { try Checkpoint("\(fixtures)/models/llama-untied").model() }

  /// Rows of many lengths, more than one batch of them, whose first third is a prompt.
  private let rows: [Example] = (0..<40).map { row in
    let ids = (0..<1 + row * 13 % 90).map { Int32(($0 * 37 + row * 101) % 320) }
    let labels = ids.enumerated().map { $0.offset < ids.count / 3 ? Example.unsupervised : $0.element }
    return Example(ids: ids, labels: labels, source: "row \(row)")
  }

  private static let targets = ["o_proj", "v_proj", "q_proj", "down_proj", "up_proj"]

  private func sites(_ model: any LanguageModel) throws -> [String] {
    try model.linearSites(of: GraftPlan(method: S2FT.method, targets: .names(Self.targets)))
  }

  /// ∂L/∂W of the named layers, by training them whole on all rows as one batch.
  private func gradients(_ model: any LanguageModel) throws -> [String: Tensor] {
    var model = model
    try model.graft(GraftPlan(method: Full.method, targets: .names(Self.targets)), random: RandomKey(seed: 0))
    func measured(_ model: some LanguageModel) -> [Tensor] {
      valueAndGradients(of: model) { model in
        let (sum, count) = model.lossSum(
          TokenBatch(rows.map(\.ids)), labels: rows.flatMap(\.labels), Context())
        return (1 / Float(count)) * sum
      }.gradients
    }
    let names = model.trainableParameters.map { String($0.name.dropLast(".weight".count)) }
    return Dictionary(uniqueKeysWithValues: zip(names, measured(model)))
  }

  /// ‖G of the unit‖ of each unit of `size` channels, by hand.
  private func norms(_ gradient: Tensor, byColumn: Bool, unit size: Int) -> [Double] {
    let columns = gradient.shape[1], count = byColumn ? columns : gradient.shape[0]
    var squares = [Double](repeating: 0, count: count / size)
    for (index, value) in gradient.values.enumerated() {
      squares[(byColumn ? index % columns : index / columns) / size] += Double(value) * Double(value)
    }
    return squares.map { $0.squareRoot() }
  }

  @Test func `They are those of full fine-tuning, whatever the batches`() throws {
    let model = try model(), sites = try sites(model), wanted = try gradients(model)
    let squares = try Calibration.gradientSquares(model, of: sites, on: rows)
    #expect(Set(squares.keys) == Set(wanted.keys) && sites.count == 10)
    for (site, gradient) in wanted {
      for (byColumn, found) in [(true, squares[site]?.inputs), (false, squares[site]?.outputs)] {
        let found = try #require(found).values.map { Double($0).squareRoot() }
        let expected = norms(gradient, byColumn: byColumn, unit: 1)
        #expect(found.count == expected.count)
        let largest = expected.max() ?? 0
        // Sums of a thousand tokens in single precision, in another order.
        #expect(largest > 1e-3 && zip(found, expected).allSatisfy { abs($0 - $1) < 2e-5 * largest }, "\(site)")
      }
    }
  }

  @Test func `Groups of layers under a budget change no bit`() throws {
    let model = try model(), sites = try sites(model)
    let whole = try Calibration.gradientSquares(model, of: sites, on: rows)
    // Room for two of the smallest: most layers stand alone.
    let small = try Calibration.gradientSquares(model, of: sites, on: rows, budget: 2 * 4 * 64 * 64)
    #expect(whole == small)
  }

  @Test func `Over a packed base they are those of its rounded matrices`() throws {
    var packed = try model()
    packed.forEachLinear { name, layer in
      guard name != "lm_head" else { return }
      if let rounded = try? FrozenWeight(layer.base.weight.unpacked(), packing: .int4(group: 32)) {
        layer.base.weight = rounded
      }
    }
    let wanted = try gradients(packed), float = try gradients(try model())
    let site = "model.layers.0.mlp.down_proj"
    let squares = try #require(try Calibration.gradientSquares(packed, of: [site], on: rows)[site])
    let found = squares.inputs.values.map { Double($0).squareRoot() }
    let expected = norms(try #require(wanted[site]), byColumn: true, unit: 1)
    let largest = expected.max() ?? 0
    #expect(zip(found, expected).allSatisfy { abs($0 - $1) < 2e-5 * largest })
    let unrounded = norms(try #require(float[site]), byColumn: true, unit: 1)
    #expect(zip(found, unrounded).contains { abs($0 - $1) > 1e-3 * largest })
  }

  /// Four query heads and two key heads of 16 channels, channels elsewhere; each ranked on the side that it trains.
  @Test(arguments: ["largest", "smallest"])
  func `S²FT takes the units whose gradient is so`(_ order: String) throws {
    var model = try model()
    let wanted = try gradients(model), sites = try sites(model)
    var statistics: [String: SiteStatistics] = [:]
    for (site, squares) in try Calibration.gradientSquares(model, of: sites, on: rows) {
      statistics[site] = SiteStatistics(meanMagnitude: .zeros([1]), meanSquare: .zeros([1]), rows: 1)
      statistics[site]?.gradient = squares
    }
    var settings = AdapterSettings(rank: 4)
    settings.options = ["selection": "gradient", "order": order, "ratio": "0.25", "quota": "layer"]
    let report = try model.graft(
      GraftPlan(method: S2FT.method, settings: settings, targets: .names(Self.targets)), random: RandomKey(seed: 1),
      statistics: statistics)
    for (site, gradient) in wanted {
      let name = site.split(separator: ".").last ?? ""
      let size = ["o_proj", "v_proj", "q_proj"].contains(name) ? 16 : 1
      let norms = norms(gradient, byColumn: ["o_proj", "down_proj"].contains(name), unit: size)
      let ranked = norms.indices.sorted { order == "largest" ? norms[$0] > norms[$1] : norms[$0] < norms[$1] }
      let chosen = ranked.prefix(max(1, norms.count / 4)).sorted().flatMap { $0 * size..<($0 + 1) * size }
      #expect(report.channels[site] == chosen, "\(site)")
    }
  }

  @Test func `Layers share a quota by their gradients`() throws {
    func site(_ name: String, _ inputs: [Float]) -> Site<FrozenLinear> {
      var statistics = SiteStatistics(meanMagnitude: .zeros([4]), meanSquare: .zeros([4]), rows: 1)
      statistics.gradient = ChannelSquares(inputs: Tensor(inputs, shape: [4]), outputs: .zeros([2]))
      return Site(
        name: name, base: FrozenLinear(FrozenWeight(.zeros([2, 4]))), statistics: statistics, unit: 2)
    }
    // Pairs of 3 + 4 and 1 + 1, and of 5 + 0 and 8 + 1.
    let sites = [site("a.down_proj", [3, 4, 1, 1]), site("b.down_proj", [5, 0, 8, 1])]
    var settings = AdapterSettings()
    settings.options = ["selection": "gradient", "order": "largest", "ratio": "0.5"]
    func plan() throws -> [String: [Int]] { try S2FT.plan(sites, settings, random: RandomKey(seed: 1)) }
    #expect(try plan() == ["a.down_proj": [0, 1], "b.down_proj": [2, 3]])
    settings.options["order"] = "smallest"
    #expect(try plan() == ["a.down_proj": [2, 3], "b.down_proj": [0, 1]])
  }

  @Test func `Rows that teach nothing, and layers that were not measured, are refused`() throws {
    let model = try model(), sites = try sites(model)
    let silent = rows.map {
      Example(ids: $0.ids, labels: $0.ids.map { _ in Example.unsupervised }, source: $0.source)
    }
    #expect(
      throws: GraftError(
        "no token of the calibration data is one that the model is trained to predict", key: "calibration.data")
    ) {
      try Calibration.gradientSquares(model, of: sites, on: silent)
    }
    var settings = AdapterSettings()
    settings.options = ["selection": "gradient"]
    var bare = model
    #expect {
      try bare.graft(
        GraftPlan(method: S2FT.method, settings: settings, targets: .names(["o_proj"])), random: RandomKey(seed: 1))
    } throws: {
      "\($0)"
        == "selection gradient needs measurements of 'model.layers.0.self_attn.o_proj' on calibration data, and there are none"
    }
  }

  @Test func `Kept gradients come back to the bit, and are missed where they are not kept`() throws {
    let scratch = try ScratchFolder(), model = try model(), sites = try sites(model)
    var (widths, heights): ([String: Int], [String: Int]) = ([:], [:])
    var copy = model
    copy.forEachLinear { (widths[$0], heights[$0]) = ($1.base.inputs, $1.base.outputs) }
    var measured = try Calibration.measure(model, .gradient, of: sites, on: rows.map(\.ids))
    let file = StatisticsFile(scratch.path + "/s.h5", base: "b", data: "d")
    try file.write(measured)
    guard case .stale(let reason) = try file.read(.gradient, of: sites, widths: widths, heights: heights) else {
      Issue.record("found what was not kept")
      return
    }
    #expect(reason == "it holds no gradients")
    for (site, squares) in try Calibration.gradientSquares(model, of: sites, on: rows) {
      measured[site]?.gradient = squares
    }
    try file.write(measured)
    guard case .found(let again) = try file.read(.gradient, of: sites, widths: widths, heights: heights) else {
      Issue.record("not found")
      return
    }
    for site in sites { #expect(again[site]?.gradient == measured[site]?.gradient && again[site]?.gradient != nil) }
  }
}
