import Autodiff
import Networks
import Testing
import Weights

@testable import Adapters

/// Turning adapters of any family into plain LoRA.
struct ConversionTests {
  private func model(_ name: String = "llama-untied") throws -> any TextNetwork {
    try Checkpoint("\(fixtures)/models/\(name)").model()
  }

  private func adapted(_ adapter: String) throws -> (any TextNetwork, PEFTConfiguration) {
    var model = try model()
    let configuration = try AdapterFolder.load("\(fixtures)/adapters/llama-untied/\(adapter)", onto: &model)
    return (model, configuration)
  }

  /// The logits of the fixture's model with a converted adapter, written and read again.
  private func logits(_ adapter: LoRAFolder) throws -> Tensor {
    let scratch = try ScratchFolder()
    try adapter.write(to: scratch.path)
    var model = try model()
    try AdapterFolder.load(scratch.path, onto: &model)
    return model.logits(Specimen.batch)
  }

  @Test(arguments: ["lora", "rslora", "lora-patterns", "lora-bias", "lora-embed", "lora-regex"])
  func `A LoRA of any kind becomes a plain one to the bit, with its base or without`(_ name: String) throws {
    let (model, configuration) = try adapted(name), wanted = model.logits(Specimen.batch)
    let (within, report) = try model.convertedToLoRA(configuration)
    let (alone, other) = try LoRAFolder("\(fixtures)/adapters/llama-untied/\(name)").converted(atMost: nil)
    for (adapter, report) in [(within, report), (alone, other)] {
      #expect(report.layers.allSatisfy(\.isExact) && report.error == 0 && !report.layers.isEmpty)
      #expect(Specimen.distance(try logits(adapter), wanted) == 0)
    }
  }

  @Test func `DoRA becomes the low-rank change closest to its own, and says how close`() throws {
    let (model, configuration) = try adapted("dora"), wanted = model.logits(Specimen.batch)
    var errors: [Double] = []
    for rank in [2, 8, 32, 64] {
      let (adapter, report) = try model.convertedToLoRA(configuration, atMost: rank)
      errors.append(report.error)
      // By hand, from the folded matrices: the error is that of the change itself.
      var lost = 0.0, energy = 0.0
      var before = try self.model()
      func merged(_ model: some TextNetwork) -> any TextNetwork { model.merged() }
      var after = merged(model)
      var bases: [String: Tensor] = [:]
      before.forEachLinear { bases[$0] = $1.base.weight.unpacked() }
      after.forEachLinear { name, layer in
        guard let change = adapter.layers[name], let base = bases[name] else { return }
        let delta = layer.base.weight.unpacked() - base
        for (wanted, kept) in zip(delta.values, change.product.values) {
          lost += Double(wanted - kept) * Double(wanted - kept)
          energy += Double(wanted) * Double(wanted)
        }
      }
      #expect(abs(report.error - (lost / energy).squareRoot()) < 1e-4)
      #expect(report.layers.allSatisfy { !$0.isExact })
      // No layer's change has a rank above 64, so nothing is left out.
      if rank == 64 { #expect(Specimen.distance(try logits(adapter), wanted) < 1e-5 && report.error < 1e-5) }
    }
    #expect(zip(errors, errors.dropFirst()).allSatisfy { $0 > $1 } && errors[0] < 1 && errors[1] > 1e-4)
  }

  @Test func `A smaller rank cuts exact factors, by as much as it says`() throws {
    let whole = try LoRAFolder("\(fixtures)/adapters/llama-untied/rslora")
    let (cut, report) = try whole.converted(atMost: 3)
    #expect(cut.layers.values.allSatisfy { $0.rank == 3 } && report.layers.allSatisfy { !$0.isExact })
    let name = "model.layers.0.mlp.up_proj"
    let wanted = try #require(whole.layers[name]).product, kept = try #require(cut.layers[name]).product
    func norm(_ tensor: Tensor) -> Double {
      tensor.values.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
    }
    let said = try #require(report.layers.first { $0.name == name }).error
    #expect(abs(said - norm(kept - wanted) / norm(wanted)) < 1e-4 && said > 0.01)
    let (model, configuration) = try adapted("rslora")
    let (within, _) = try model.convertedToLoRA(configuration, atMost: 3)
    #expect(Specimen.distance(try #require(within.layers[name]).product, kept) < 1e-5)
  }

  @Test func `Modules that learned whole become low-rank changes beside the others`() throws {
    let (model, configuration) = try adapted("lora-modules-to-save")
    let (adapter, report) = try model.convertedToLoRA(configuration, atMost: 64)
    #expect(adapter.configuration.plan.modulesToSave.isEmpty && report.error < 1e-4)
    #expect(Specimen.distance(try logits(adapter), model.logits(Specimen.batch)) < 1e-4)
  }

  @Test func `What plain LoRA cannot hold is refused by name`() throws {
    var whole = try model()
    let everything = GraftPlan(method: "full")
    try whole.graft(everything, random: RandomKey(seed: 0))
    #expect { _ = try whole.convertedToLoRA(PEFTConfiguration(everything, baseModel: nil), atMost: 4) } throws: {
      "\($0)".contains("the adapter also learned 'model.layers.0.input_layernorm.weight'")
    }
    var tied = try model("llama-tied")
    let table = GraftPlan(method: "full", targets: .names(["embed_tokens"]))
    try tied.graft(table, random: RandomKey(seed: 0))
    #expect { _ = try tied.convertedToLoRA(PEFTConfiguration(table, baseModel: nil), atMost: 4) } throws: {
      "\($0)" == "'model.embed_tokens' is also the model's output head, which a LoRA of the table would not change"
    }
    let (dora, configuration) = try adapted("dora")
    #expect { _ = try dora.convertedToLoRA(configuration, atMost: 0) } throws: {
      "\($0)" == "rank 0: expected at least 1"
    }
  }
}
