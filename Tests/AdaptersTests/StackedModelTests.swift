import Autodiff
import Files
import Foundation
import Networks
import Testing
import Weights

@testable import Adapters

/// S²FT and INT2.1 on a whole model: what is trained, stored, read back and exported.
struct StackedModelTests {
  private let batch = TokenBatch([[3, 17, 29, 40, 55], [90, 7, 7]])

  private func model() throws -> any TextNetwork { try Checkpoint("\(fixtures)/models/llama-untied").model() }

  private func withFolder<R>(_ body: (String) throws -> R) throws -> R {
    let folder = NSTemporaryDirectory() + "graft-" + UUID().uuidString
    defer { try? FileManager.default.removeItem(atPath: folder) }
    return try body(folder)
  }

  /// Gives every trainable parameter random numbers.
  private func shake(_ model: inout any TextNetwork, _ seed: UInt64 = 8) {
    model.forEachParameter { name, parameter in
      guard parameter.isTrainable else { return }
      parameter.value = .normal(parameter.value.shape, deviation: 0.1, from: RandomKey(seed: seed)[name])
    }
  }

  private func distance(_ a: Tensor, _ b: Tensor) -> Float {
    a.shape == b.shape ? zip(a.values, b.values).reduce(0) { max($0, abs($1.0 - $1.1)) } : .infinity
  }

  private func merged(_ model: some TextNetwork) -> any TextNetwork { model.merged() }

  private func gradients(_ model: some TextNetwork) -> [Tensor] {
    valueAndGradients(of: model) { $0.lossSum(batch, labels: batch.ids, Context()).sum }.gradients
  }

  private func trainedS2FT(
    _ targets: GraftPlan.Targets, _ options: [String: String]
  ) throws -> (any TextNetwork, GraftPlan) {
    var network = try model()
    var plan = GraftPlan(method: S2FT.method, settings: AdapterSettings(rank: 4), targets: targets)
    plan.settings.options = options
    plan.settings.channels = try network.graft(plan, random: RandomKey(seed: 4)).channels
    shake(&network)
    return (network, plan)
  }

  @Test(arguments: [["ratio": "0.3"], ["ratio": "0.02"], ["side": "out"]])
  func `Channels and change are stored, and read back to the same bits`(_ options: [String: String]) throws {
    let (network, plan) = try trainedS2FT(.allLinear, options)
    try withFolder { folder in
      try AdapterFolder.save(network, PEFTConfiguration(plan, baseModel: "base"), to: folder)
      var again = try model()
      let configuration = try AdapterFolder.load(folder, onto: &again)
      #expect(configuration.plan == plan)
      #expect(again.logits(batch) == network.logits(batch))
      #expect(again.trainableParameters.map(\.name) == network.trainableParameters.map(\.name))
    }
  }

  @Test func `A file whose channels are not the model's is refused`() throws {
    let (network, plan) = try trainedS2FT(.names(["down_proj"]), [:])
    try withFolder { folder in
      for channels in [["model.layers.0.mlp.down_proj": [176]], [:], ["model.layers.0.mlp.down_proj": [1]]] {
        var wrong = plan
        wrong.settings.channels.merge(channels) { $1 }
        if channels.isEmpty { wrong.settings.channels["model.layers.1.mlp.down_proj"] = nil }
        try AdapterFolder.save(network, PEFTConfiguration(wrong, baseModel: nil), to: folder)
        var again = try model()
        #expect(throws: (any Error).self) { try AdapterFolder.load(folder, onto: &again) }
      }
    }
  }

  @Test func `Training S²FT and merging it leave all other weights of the model alone`() throws {
    let (network, plan) = try trainedS2FT(.names(["o_proj", "v_proj"]), ["ratio": "0.5"])
    var before = try model(), after = merged(network)
    #expect(distance(after.logits(batch), network.logits(batch)) < 2e-5)
    var originals: [String: Tensor] = [:]
    before.forEachLinear { originals[$0] = $1.base.weight.unpacked() }
    after.forEachLinear { name, layer in
      let (old, new) = (originals[name]?.values ?? [], layer.base.weight.unpacked().values)
      let channels = plan.settings.channels[name] ?? [], isInput = name.hasSuffix("o_proj")
      let changed = Set(
        zip(old, new).enumerated().filter { $1.0.bitPattern != $1.1.bitPattern }.map { index, _ in
          isInput ? index % layer.base.inputs : index / layer.base.inputs
        })
      #expect(changed == Set(channels), "\(name)")
    }
  }

  @Test func `As plain LoRA it computes the same, for programs that know nothing else`() throws {
    // Two of the four query heads' units are in one layer or the other: ranks differ from layer to layer.
    let (network, plan) = try trainedS2FT(.allLinear, ["ratio": "0.1"])
    let (plain, report) = try network.convertedToLoRA(PEFTConfiguration(plan, baseModel: nil))
    #expect(report.layers.allSatisfy(\.isExact) && !report.layers.isEmpty)
    try withFolder { folder in
      try plain.write(to: folder)
      #expect(try JSON.read(folder + "/adapter_config.json")["peft_type"]?.string == "LORA")
      var again = try model()
      try AdapterFolder.load(folder, onto: &again)
      #expect(distance(again.logits(batch), network.logits(batch)) < 2e-5)
    }
  }

  /// A model rounded to two bits with a trained correction on it, and its plan.
  private func corrected() throws -> (any TextNetwork, GraftPlan) {
    var network = try model()
    try round(&network)
    let plan = GraftPlan(
      method: LoRA.method, settings: AdapterSettings(rank: 3, alpha: 12), targets: .names(["q_proj", "up_proj"]))
    try network.graft(plan, random: RandomKey(seed: 2))
    shake(&network)
    return (network, plan)
  }

  private func round(_ network: inout any TextNetwork) throws {
    var failure: (any Error)?
    network.forEachLinear { name, layer in
      guard layer.base.inputs % 64 == 0 else { return }
      do { layer.base.weight = try FrozenWeight(layer.base.weight.unpacked(), packing: .int2(group: 64)) } catch {
        failure = error
      }
    }
    if let failure { throw failure }
  }

  @Test func `A task stacked on a correction starts as the correction and trains alone`() throws {
    var (network, plan) = try corrected()
    let before = network.logits(batch)
    let both = try network.stack(AdapterSettings(rank: 2, alpha: 8), on: plan, random: RandomKey(seed: 3))
    #expect(both.method == "int2.1")
    // With B₂ = 0 the second product adds zeros, in another order of Float sums.
    #expect(distance(network.logits(batch), before) < 1e-5)
    let trained = network.trainableParameters
    #expect(trained.count == 8 && trained.allSatisfy { $0.name.contains(".lora_") })
    func bytes(_ model: any TextNetwork) -> [String: [UInt8]] {
      var copy = model, found: [String: [UInt8]] = [:]
      copy.forEachLinear { found[$0] = $1.base.weight.withBytes { Array($0) } }
      return found
    }
    let packed = bytes(network)
    shake(&network)
    #expect(gradients(network).count == 8)
    #expect(bytes(network) == packed)
    plan.settings.rankPattern = ["q_proj": 1]
    var other = network
    #expect(throws: GraftError.self) { try other.stack(AdapterSettings(), on: plan, random: RandomKey(seed: 3)) }
  }

  @Test func `Correction and task are stored as one LoRA that computes the same bits`() throws {
    var (network, plan) = try corrected()
    let both = try network.stack(AdapterSettings(rank: 2, alpha: 8), on: plan, random: RandomKey(seed: 3))
    shake(&network)
    try withFolder { folder in
      try AdapterFolder.save(network, PEFTConfiguration(both, baseModel: nil), to: folder)
      var again = try model()
      try round(&again)
      let configuration = try AdapterFolder.load(folder, onto: &again)
      #expect(configuration.plan.method == "lora" && configuration.plan.settings.rank == 5)
      #expect(configuration.plan.settings.scale(at: "") == 1 && configuration.plan.settings.options.isEmpty)
      #expect(again.logits(batch) == network.logits(batch))
      #expect(distance(merged(network).logits(batch), network.logits(batch)) < 5e-5)
    }
  }

  @Test func `A correction alone is stored as the LoRA it is`() throws {
    var network = try model()
    var plan = GraftPlan(
      method: INT21.method, settings: AdapterSettings(rank: 3, alpha: 12), targets: .names(["q_proj"]))
    plan.settings.options["correction"] = "none"
    let plainBase = try model()
    try network.graft(plan, random: RandomKey(seed: 2))
    #expect(network.logits(batch) == plainBase.logits(batch))
    shake(&network)
    try withFolder { folder in
      try AdapterFolder.save(network, PEFTConfiguration(plan, baseModel: nil), to: folder)
      var again = try model()
      let configuration = try AdapterFolder.load(folder, onto: &again)
      #expect(configuration.plan.method == "lora" && configuration.plan.settings.scale(at: "") == 4)
      #expect(again.logits(batch) == network.logits(batch))
    }
  }
}
