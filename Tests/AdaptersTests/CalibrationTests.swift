import Autodiff
import Files
import Foundation
import Networks
import Testing

@testable import Adapters

struct CalibrationTests {
  private func model() throws -> any LanguageModel { try Checkpoint("\(fixtures)/models/llama-untied").model() }

  /// Sequences of many lengths, more than one batch of them.
  private let sequences: [[Int32]] = (0..<40).map { row in
    let length = 1 + row * 13 % 90
    return (0..<length).map { position in Int32((position * 37 + row * 101) % 320) }
  }

  private func sites(_ model: any LanguageModel) throws -> [String] {
    try model.linearSites(of: GraftPlan(method: "corda"))
  }

  @Test func `Moments are those of the rows that reach the layer`() throws {
    let model = try model(), first = "model.layers.0.self_attn.q_proj"
    let measured = try #require(
      try Calibration.measure(model, [.secondMoment, .magnitudes], of: [first], on: sequences)[first])
    // The first layer reads the norm of the embedding, which can be had without the model: rows in double.
    let source = try Safetensors("\(fixtures)/models/llama-untied/model.safetensors")
    let table = try source.entry("model.embed_tokens.weight").floats()
    let weight = try source.entry("model.layers.0.input_layernorm.weight").floats()
    let config = try JSON.read("\(fixtures)/models/llama-untied/config.json")
    let epsilon = try #require(config["rms_norm_eps"]?.double)
    let n = weight.count
    var products = [Double](repeating: 0, count: n * n), magnitudes = [Double](repeating: 0, count: n)
    let ids = sequences.flatMap(\.self)
    for id in ids {
      let row = table[Int(id) * n..<(Int(id) + 1) * n].map(Double.init)
      let scale = 1 / (row.reduce(0) { $0 + $1 * $1 } / Double(n) + epsilon).squareRoot()
      let x = zip(row, weight).map { $0 * scale * Double($1) }
      for i in 0..<n {
        magnitudes[i] += abs(x[i])
        for j in 0..<n { products[i * n + j] += x[i] * x[j] }
      }
    }
    let count = Double(ids.count)
    let moment = Tensor(products.map { Float($0 / count) }, shape: [n, n])
    #expect(measured.rows == ids.count)
    // Float rows of about 1, a thousand of them a batch.
    #expect(distance(try #require(measured.secondMoment), moment) < 2e-5)
    #expect(distance(measured.meanMagnitude, Tensor(magnitudes.map { Float($0 / count) }, shape: [n])) < 1e-6)
    #expect(distance(measured.meanSquare, Tensor((0..<n).map { moment.values[$0 * (n + 1)] }, shape: [n])) < 2e-5)
  }

  @Test func `Groups of layers, a budget and threads change no bit`() throws {
    let model = try model(), sites = try sites(model)
    let whole = try Calibration.measure(model, .secondMoment, of: sites, on: sequences)
    let small = try Calibration.measure(model, .secondMoment, of: sites, on: sequences, budget: 50_000)
    #expect(Set(whole.keys) == Set(sites))
    for site in sites {
      #expect(whole[site]?.secondMoment == small[site]?.secondMoment)
      #expect(whole[site]?.meanMagnitude == small[site]?.meanMagnitude)
    }
    let threads = Parallel.threads
    defer { Parallel.threads = threads }
    Parallel.threads = threads == 1 ? 2 : 1
    let other = try Calibration.measure(model, .secondMoment, of: sites, on: sequences)
    for site in sites { #expect(whole[site]?.secondMoment == other[site]?.secondMoment) }
  }

  @Test func `Layers are taken in order, as many at once as the budget holds`() {
    let widths = ["a": 10, "b": 20, "c": 5, "d": 100]
    // 8 bytes for each of n² + 2 n sums: 960, 3520, 280, 81600.
    func groups(_ budget: Int) -> [[String]] {
      Calibration.groups(["a", "b", "c", "d"], widths, .secondMoment, budget)
    }
    #expect(groups(1 << 20) == [["a", "b", "c", "d"]])
    #expect(groups(4480) == [["a", "b"], ["c"], ["d"]])
    #expect(groups(4760) == [["a", "b", "c"], ["d"]])
    #expect(groups(0) == [["a"], ["b"], ["c"], ["d"]])
    #expect(Calibration.groups(["a", "b", "c", "d"], widths, .magnitudes, 2160) == [["a", "b", "c", "d"]])
  }

  @Test func `Nothing asked is nothing measured, and a layer no token reaches is named`() throws {
    let model = try model()
    #expect(try Calibration.measure(model, [], of: sites(model), on: sequences).isEmpty)
    #expect(
      throws: GraftError(
        "no token of the calibration data reached layer 'model.layers.0.self_attn.q_proj'",
        key: "calibration.data")
    ) {
      try Calibration.measure(model, .magnitudes, of: ["model.layers.0.self_attn.q_proj"], on: [])
    }
    let head = try Calibration.measure(model, .magnitudes, of: ["lm_head"], on: sequences)
    #expect(head["lm_head"]?.rows == sequences.reduce(0) { $0 + $1.count })
    #expect(head["lm_head"]?.secondMoment == nil)
  }

  @Test func `Kept measurements come back while base and data are the same`() throws {
    let folder = NSTemporaryDirectory() + "graft-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let model = try model(), sites = try sites(model), path = folder + "/s.h5"
    var widths: [String: Int] = [:], copy = model
    copy.forEachLinear { widths[$0] = $1.base.inputs }
    let file = StatisticsFile(path, base: "b", data: "d")
    func reading(_ file: StatisticsFile, _ sites: [String], _ wanted: Statistics = .secondMoment) throws -> String {
      switch try file.read(wanted, of: sites, widths: widths) {
      case .found(let found): "found \(found.count)"
      case .stale(let reason): reason
      }
    }
    #expect(try reading(file, sites) == "it was not there")
    let measured = try Calibration.measure(model, .secondMoment, of: sites, on: sequences)
    try file.write(measured)
    guard case .found(let again) = try file.read(.secondMoment, of: sites, widths: widths) else {
      Issue.record("not found")
      return
    }
    for site in sites {
      #expect(again[site]?.secondMoment == measured[site]?.secondMoment)
      #expect(again[site]?.meanSquare == measured[site]?.meanSquare && again[site]?.rows == measured[site]?.rows)
      #expect(again[site]?.meanMagnitude == measured[site]?.meanMagnitude)
    }
    #expect(try reading(StatisticsFile(path, base: "c", data: "d"), sites) == "it was measured on another base")
    #expect(try reading(StatisticsFile(path, base: "b", data: "e"), sites) == "it was measured on other data")
    #expect(try reading(file, ["lm_head"]) == "it lacks layer 'lm_head'")
    #expect(try reading(file, Array(sites.prefix(2)), .magnitudes) == "found 2")
    try file.write(try Calibration.measure(model, .magnitudes, of: sites, on: sequences))
    #expect(try reading(file, sites) == "it holds no second moments")
    // A file that someone else keeps there is left alone.
    try Data("rows: 3\n".utf8).write(to: URL(fileURLWithPath: path))
    #expect(throws: FileError.self) { try reading(file, sites) }
  }
}
