import Autodiff
import Files
import Foundation
import Networks
import Testing

@testable import Adapters
@testable import Weights

struct QALoRATests {
  private func layer(_ packing: String) throws -> FrozenLinear {
    let values = (0..<16 * 64).map { (i: Int) -> Float in Float((i * 37) % 101 - 50) / 64 }
    return FrozenLinear(try FrozenWeight(Tensor(values, shape: [16, 64]), packing: try Packing(parsing: packing)))
  }

  /// An adapter over `layer` that has learned something.
  private func learned(_ layer: inout FrozenLinear, _ options: [String: String] = [:]) throws -> QALoRA {
    var settings = AdapterSettings(rank: 2, alpha: 4)
    settings.options = options
    var adapter = try QALoRA(
      on: &layer, QALoRA.configuration(settings, at: "x"), Setup(site: "x", random: RandomKey(seed: 3)))
    adapter.forEachParameter { name, parameter in
      guard name == "lora_B.weight" else { return }
      parameter.value = Tensor(
        (0..<parameter.value.count).map { Float($0 % 7 - 3) / 40 }, shape: parameter.value.shape)
    }
    return adapter
  }

  @Test func `Folding into offsets of single precision moves them alone, and what is packed is what was trained`()
    throws
  {
    var base = try layer("int4-g32-f32")
    let adapter = try learned(&base), before = try GroupedCodes(base.weight, try #require(base.weight.packing.layout))
    let folded = adapter.merged(into: base, Context())
    let packed = try base.weight.repacked(folded.weight.unpacked())
    let after = try GroupedCodes(packed, before.layout)
    #expect(after.codes == before.codes && after.grids.map(\.scale) == before.grids.map(\.scale))
    #expect(after.grids.map(\.zero) != before.grids.map(\.zero))
    let x = Tensor((0..<5 * 64).map { (i: Int) -> Float in Float((i * 29) % 83 - 41) / 40 }, shape: [5, 64])
    let trained = adapter(x, over: base, Context()).values
    let shipped = linear(x, packed).values
    #expect(zip(trained, shipped).allSatisfy { abs($0 - $1) < 2e-5 })
    #expect(zip(trained, base(x).values).contains { abs($0 - $1) > 1e-3 })
  }

  @Test func `A plain LoRA is rounded away where this one is kept`() throws {
    var base = try layer("int4-g32-f32")
    let adapter = try learned(&base), change = try #require(adapter.lowRankFactors).product * Tensor(0.02)
    func kept(_ wanted: Tensor) throws -> Double {
      let delta = (try base.weight.repacked(base.weight.unpacked() + wanted).unpacked() - base.weight.unpacked()).values
      var along = 0.0, size = 0.0
      for (got, asked) in zip(delta, wanted.values) {
        along += Double(got) * Double(asked)
        size += Double(asked) * Double(asked)
      }
      return along / size
    }
    #expect(abs(try kept(change) - 1) < 1e-3)
    // The same size, but alternating within groups.
    let mixed = Tensor(
      change.values.enumerated().map { $0.offset % 2 == 0 ? $0.element : -$0.element }, shape: change.shape)
    #expect(try kept(mixed) < 0.9)
  }

  @Test func `It reads the means of the packing's groups, or of those it is told`() throws {
    for (packing, options, pooled) in [
      ("int4-g32", [:], 2), ("int4-g64-f32", [:], 1), ("q4_0", [:], 2), ("int4-g32", ["group": "16"], 4),
    ] as [(String, [String: String], Int)] {
      var base = try layer(packing)
      var adapter = try learned(&base, options), shapes: [Shape] = []
      adapter.forEachParameter { shapes.append($1.value.shape) }
      #expect(shapes == [[2, pooled], [16, 2]])
    }
    var base = try layer("int4-g32")
    let error = #expect(throws: GraftError.self) { _ = try learned(&base, ["group": "48"]) }
    #expect(error?.description.contains("groups of 48 do not divide the 64 inputs") == true)
    #expect(throws: AdapterOptionError.self) { _ = try learned(&base, ["group": "no"]) }
    #expect(throws: AdapterOptionError.self) { _ = try learned(&base, ["pool": "sum"]) }
  }

  /// Numbers that the forward pass of PEFT 0.21's `QALoraLinearVariant` gave, at a scaling of 2 and groups of 4.
  @Test func `With scaled means it computes what PEFT does`() throws {
    var base = FrozenLinear(FrozenWeight(.zeros([3, 8])))
    var settings = AdapterSettings(rank: 2, alpha: 4)
    settings.options = ["group": "4", "pool": "scaled"]
    var adapter = try QALoRA(
      on: &base, QALoRA.configuration(settings, at: "x"), Setup(site: "x", random: RandomKey(seed: 3)))
    adapter.forEachParameter { name, parameter in
      parameter.value =
        name == "lora_A.weight"
        ? Tensor([0.5, -0.25, 0.125, 0.75], shape: [2, 2]) : Tensor([1, -0.5, 0.25, 0.5, -1, 2], shape: [3, 2])
    }
    let first = (0..<8).map { (i: Int) -> Float in Float(i * 29 % 17 - 8) / 8 }
    let second = (0..<8).map { (i: Int) -> Float in Float(i * 13 % 11 - 5) / 4 }
    let x = Tensor(first + second, shape: [2, 8]),
      wanted: [Float] = [-1.4609375, 0.171875, 2.75, -1.1875, -0.21875, 1.375]
    #expect(adapter(x, over: base, Context()).values == wanted)
    let change = try #require(adapter.lowRankFactors).product
    #expect(zip(linear(x, weight: change).values, wanted).allSatisfy { abs($0 - $1) < 1e-6 })
  }

  @Test func `PEFT's file of it is read and written, and of one that PEFT passed over plain factors are taken`() throws
  {
    let scratch = FileManager.default.temporaryDirectory.appendingPathComponent("qalora-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: scratch) }
    var settings = AdapterSettings(rank: 2, alpha: 4)
    settings.options = ["group": "8", "pool": "scaled"]
    func model() throws -> any TextNetwork { try Checkpoint("\(fixtures)/models/llama-untied").model() }
    func write(_ plan: GraftPlan) throws -> any TextNetwork {
      var model = try model()
      try model.graft(plan, random: RandomKey(seed: 5))
      model.forEachParameter { name, parameter in
        guard parameter.isTrainable else { return }
        parameter.value = .uniform(parameter.value.shape, in: -1..<1, from: RandomKey(seed: 7)[name])
      }
      try AdapterFolder.save(model, PEFTConfiguration(plan, baseModel: nil), to: scratch)
      return model
    }
    let plan = GraftPlan(method: "qalora", settings: settings, targets: .names(["q_proj", "down_proj"]))
    let saved = try write(plan), path = scratch + "/adapter_config.json", json = try JSON.read(path)
    #expect(json["peft_type"]?.string == "LORA" && json["graft"] == nil)
    #expect(json["use_qalora"]?.bool == true && json["qalora_group_size"]?.int == 8)
    var loaded = try model()
    #expect(try AdapterFolder.load(scratch, onto: &loaded).plan.settings == settings)
    let ids = TokenBatch([[1, 5, 9, 2]])
    #expect(loaded.logits(ids).values == saved.logits(ids).values)

    // As PEFT leaves it on a base that is not packed by GPTQ.
    let plain = try write(
      GraftPlan(method: "lora", settings: AdapterSettings(rank: 2, alpha: 4), targets: plan.targets))
    let text = try String(contentsOfFile: path, encoding: .utf8)
    try text.replacing("{", with: "{\"use_qalora\": true, \"qalora_group_size\": 8,", maxReplacements: 1)
      .write(toFile: path, atomically: true, encoding: .utf8)
    loaded = try model()
    #expect(try AdapterFolder.load(scratch, onto: &loaded).plan.method == "lora")
    let both = try JSON(parsing: #"{"peft_type": "LORA", "use_qalora": true, "use_dora": true}"#)
    let error = #expect(throws: FileError.self) { try PEFTConfiguration(json: both, path: "x") }
    #expect(error?.description.contains("are both set") == true)
    #expect(loaded.logits(ids).values == plain.logits(ids).values)
  }
}
