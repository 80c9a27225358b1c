import Autodiff
import Networks
import Testing
import Weights

@testable import Adapters

struct S2FTSelectionTests {
  private func settings(rank: Int = 8, _ options: [String: String] = [:]) -> AdapterSettings {
    var settings = AdapterSettings(rank: rank)
    settings.options = options
    return settings
  }

  private func site(
    _ name: String, _ weight: Tensor, unit: Int = 1, magnitude: [Float]? = nil, square: [Float]? = nil
  ) -> Site<FrozenLinear> {
    let count = weight.shape[1]
    let statistics =
      magnitude ?? square == nil
      ? nil
      : SiteStatistics(
        meanMagnitude: Tensor(magnitude ?? [Float](repeating: 1, count: count), shape: [count]),
        meanSquare: Tensor(square ?? [Float](repeating: 1, count: count), shape: [count]), rows: 10)
    return Site(name: name, base: FrozenLinear(FrozenWeight(weight)), statistics: statistics, unit: unit)
  }

  private func plan(_ sites: [Site<FrozenLinear>], _ settings: AdapterSettings) throws -> [String: [Int]] {
    try S2FT.plan(sites, settings, random: RandomKey(seed: 3))
  }

  /// The counts the paper's settings give, for 32 layers: Llama2-7B with o .052 and d .02, Llama3-8B with d .03.
  @Test func `The paper's shares give the paper's numbers of trained weights`() throws {
    func count(_ name: String, _ channels: Int, unit: Int, _ ratio: String) throws -> Int {
      let sites = (0..<32).map { site("layers.\($0).\(name)", .zeros([1, channels]), unit: unit) }
      return try plan(sites, settings(["ratio": ratio])).values.reduce(0) { $0 + $1.count }
    }
    let heads = try count("o_proj", 4096, unit: 128, "0.052"), ffn = try count("down_proj", 11008, unit: 1, "0.02")
    #expect(heads == 53 * 128 && ffn == 7045)
    #expect((heads + ffn) * 4096 == 56_643_584)
    #expect(try count("down_proj", 14336, unit: 1, "0.03") * 4096 == 56_369_152)
  }

  @Test func `Without a share, a layer trains as many numbers as its LoRA`() throws {
    let square = site("a.o_proj", .zeros([64, 64])), wide = site("a.down_proj", .zeros([64, 192]))
    let chosen = try plan([square, wide], settings(rank: 8))
    // 2 r on a square matrix; r (64 + 192) / 64 on the other.
    #expect(chosen["a.o_proj"]?.count == 16 && chosen["a.down_proj"]?.count == 32)
    let rows = try plan([site("a.up_proj", .zeros([192, 64]))], settings(rank: 8))
    #expect(rows["a.up_proj"]?.count == 32)
  }

  @Test func `A quota is drawn over all layers of a name, and by layer where that is asked`() throws {
    let sites = (0..<16).map { site("layers.\($0).down_proj", .zeros([8, 64])) }
    let global = try plan(sites, settings(["ratio": "0.05"])).mapValues(\.count)
    #expect(global.values.reduce(0, +) == 51 && Set(global.values).count > 1 && global.count == 16)
    let even = try plan(sites, settings(["ratio": "0.05", "quota": "layer"])).mapValues(\.count)
    #expect(even.values.allSatisfy { $0 == 3 })
  }

  @Test func `A share too small for one unit still trains one`() throws {
    let chosen = try plan([site("a.o_proj", .zeros([8, 64]), unit: 16)], settings(["ratio": "0.001"]))
    #expect(chosen["a.o_proj"]?.count == 16)
  }

  @Test func `Heads are chosen whole, query heads and key heads each by their own number`() throws {
    var model = try Checkpoint("\(fixtures)/models/llama-untied").model()
    // Four query heads and two key heads of 16 channels.
    let report = try model.graft(
      GraftPlan(
        method: S2FT.method, settings: settings(["ratio": "0.5"]), targets: .names(["o_proj", "v_proj", "down_proj"])),
      random: RandomKey(seed: 4))
    for (name, channels) in report.channels where !name.hasSuffix("down_proj") {
      #expect(channels.count % 16 == 0)
      #expect(
        stride(from: 0, to: channels.count, by: 16).allSatisfy { first in
          channels[first] % 16 == 0
            && channels[first..<first + 16].elementsEqual(channels[first]..<channels[first] + 16)
        })
      #expect(channels.allSatisfy { $0 < (name.hasSuffix("o_proj") ? 64 : 32) })
    }
    let heads = report.channels.filter { $0.key.hasSuffix("o_proj") }.values.reduce(0) { $0 + $1.count / 16 }
    let keys = report.channels.filter { $0.key.hasSuffix("v_proj") }.values.reduce(0) { $0 + $1.count / 16 }
    #expect(heads == 4 && keys == 2)
  }

  @Test func `Another layer's name does not change what is drawn`() throws {
    let output = (0..<4).map { site("layers.\($0).o_proj", .zeros([8, 64])) }
    let down = (0..<4).map { site("layers.\($0).down_proj", .zeros([8, 64])) }
    let quarter = settings(["ratio": "0.25"])
    let alone = try plan(output, quarter), together = try plan(down + output, quarter)
    for site in output { #expect(alone[site.name] == together[site.name]) }
    #expect(alone[output[0].name] != together[down[0].name])
  }

  @Test func `Units are ranked by weight, activation or both, over all layers`() throws {
    // Columns of ‖·‖ 5, 1, 2 and 3, 4, 1; with magnitudes and √squares below.
    let a = site(
      "a.down_proj", Tensor([3, 1, 0, 4, 0, 2], shape: [2, 3]), magnitude: [1, 9, 2], square: [1, 100, 4])
    let b = site(
      "b.down_proj", Tensor([3, 0, 1, 0, 4, 0], shape: [2, 3]), magnitude: [3, 4, 8], square: [9, 1, 81])
    func chosen(_ options: [String: String]) throws -> [[Int]] {
      let plan = try plan([a, b], settings(options.merging(["ratio": "0.34"]) { $1 }))
      return [plan["a.down_proj"] ?? [], plan["b.down_proj"] ?? []]
    }
    #expect(try chosen(["selection": "weight", "order": "largest"]) == [[0], [1]])
    // Both layers have a column of length 1: equal scores fall by place.
    #expect(try chosen(["selection": "weight"]) == [[1], [2]])
    #expect(try chosen(["selection": "activation", "order": "largest"]) == [[1], [2]])
    #expect(try chosen(["selection": "activation", "order": "smallest"]) == [[0, 2], []])
    // Products 5, 10, 4 and 9, 4, 9.
    #expect(try chosen(["selection": "weight_activation", "order": "largest"]) == [[1], [0]])
    #expect(try chosen(["selection": "weight_activation"]) == [[2], [1]])
  }

  @Test func `Output channels are ranked by rows, and a unit by all its channels`() throws {
    // Rows of ‖·‖² 1, 4, 9, 0; pairs 5 and 9.
    let rows = site("a.up_proj", Tensor([1, 0, 0, 2, 3, 0, 0, 0], shape: [4, 2]), unit: 2, square: [9, 1])
    let half = ["ratio": "0.5", "order": "largest"]
    #expect(try plan([rows], settings(half.merging(["selection": "weight"]) { $1 })) == ["a.up_proj": [2, 3]])
    // Squares weighed by 9 and 1: 9 + 4 and 81.
    let weighed = settings(["ratio": "0.5", "selection": "weight_activation"])
    #expect(try plan([rows], weighed) == ["a.up_proj": [0, 1]])
  }

  @Test func `Statistics are asked for only where they are used`() throws {
    for (selection, needed) in [
      ("random", Statistics()), ("weight", []), ("activation", .magnitudes), ("weight_activation", .magnitudes),
      ("gradient", .gradient),
    ] { #expect(try S2FT.statistics(settings(["selection": selection])) == needed) }
  }

  @Test(arguments: [
    ("ratio", "0", "adapter.ratio '0' is not a share in (0, 1]"),
    ("ratio", "1.5", "adapter.ratio '1.5' is not a share in (0, 1]"),
    ("ratio", "nan", "adapter.ratio 'nan' is not a share in (0, 1]"),
    ("selection", "best", "adapter.selection 'best' is not random, weight, activation, weight_activation, gradient"),
    ("order", "largest", "adapter.order 'largest' is not of use to selection random; remove it"),
    ("quota", "even", "adapter.quota 'even' is not global or layer"),
    ("side", "left", "adapter.side 'left' is not auto, in or out"),
  ])
  func `A value that means nothing is refused by name`(_ key: String, _ value: String, _ message: String) {
    let error = #expect(throws: AdapterOptionError.self) {
      try plan([site("a.o_proj", .zeros([4, 4]))], settings([key: value]))
    }
    #expect(error?.description == message)
  }

  @Test func `Scores that cannot be had are refused, with what to choose instead`() {
    let measured = site("a.up_proj", .zeros([4, 4]), magnitude: [1, 1, 1, 1])
    let error = #expect(throws: GraftError.self) { try plan([measured], settings(["selection": "activation"])) }
    #expect(
      error?.description
        == "selection activation ranks what a layer reads, and 'a.up_proj' trains what it writes; choose weight_activation, weight or random, or side: in"
    )
    let missing = #expect(throws: GraftError.self) {
      try plan([site("a.o_proj", .zeros([4, 4]))], settings(["selection": "activation"]))
    }
    #expect(
      missing?.description
        == "selection activation needs measurements of 'a.o_proj' on calibration data, and there are none")
    #expect(throws: GraftError.self) { try plan([site("a.o_proj", .zeros([4, 4]), unit: 3)], settings()) }
  }

  @Test func `Keys of a low-rank branch are refused`() throws {
    var dropped = AdapterSettings()
    dropped.dropout = 0.1
    let error = #expect(throws: GraftError.self) { try S2FT.configuration(dropped, at: "a.o_proj") }
    #expect(
      error?.description == "'dropout' means nothing to 's2ft', which trains channels of the matrix itself; remove it")
    #expect(try S2FT.configuration(settings(["side": "out"]), at: "a.o_proj").side == .output)
    #expect(try S2FT.configuration(settings(["side": "auto"]), at: "h.0.attn.c_proj").side == .input)
    #expect(try S2FT.configuration(settings(), at: "a.q_proj").side == .output)
  }
}
