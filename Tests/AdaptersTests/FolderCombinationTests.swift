import Autodiff
import Files
import Foundation
import Networks
import Testing
import Weights

@testable import Adapters

/// Combining adapter folders, most of them PEFT's own.
struct FolderCombinationTests {
  private let scratch: ScratchFolder

  init() throws { scratch = try ScratchFolder() }

  private func fixture(_ name: String) throws -> LoRAFolder {
    try LoRAFolder("\(fixtures)/adapters/llama-untied/\(name)")
  }

  private func model() throws -> any TextNetwork { try Checkpoint("\(fixtures)/models/llama-untied").model() }

  /// The base with Σ wᵢ Δᵢ added to every matrix, each adapter folded by the model's own code.
  private func summed(_ adapters: [(name: String, weight: Float)]) throws -> any TextNetwork {
    var sum = try model()
    for (name, weight) in adapters {
      var adapted = try model()
      try AdapterFolder.load("\(fixtures)/adapters/llama-untied/\(name)", onto: &adapted)
      func merged(_ model: some TextNetwork) -> any TextNetwork { model.merged() }
      var folded = merged(adapted), before = try model()
      var layers: [String: Tensor] = [:], biases: [String: Tensor] = [:], tables: [String: Tensor] = [:]
      before.forEachLinear { layers[$0] = $1.base.weight.unpacked() }
      before.forEachEmbedding { tables[$0] = $1.base.weight.unpacked() }
      folded.forEachLinear { name, layer in
        layers[name] = layers[name].map { layer.base.weight.unpacked() - $0 }
        biases[name] = layer.base.bias?.value.detached
      }
      folded.forEachEmbedding { name, table in tables[name] = tables[name].map { table.base.weight.unpacked() - $0 } }
      sum.forEachLinear { name, layer in
        if let change = layers[name] { layer.base = layer.base.adding(weight * change) }
        if let bias = biases[name] {
          let own = layer.base.bias?.value ?? .zeros([layer.base.outputs])
          layer.base.bias = .frozen(own + weight * bias)
        }
      }
      sum.forEachEmbedding { name, table in
        if let change = tables[name] {
          table.base = FrozenEmbedding(FrozenWeight(table.base.weight.unpacked() + weight * change))
        }
      }
    }
    return sum
  }

  private func combined(
    _ adapters: [(name: String, weight: Float)], _ combination: Combination
  ) throws -> (model: any TextNetwork, report: CombinationReport) {
    let (adapter, report) = try combination.combined(
      try adapters.map { (adapter: try fixture($0.name), weight: Double($0.weight)) })
    let folder = scratch.path + "/combined"
    try adapter.write(to: folder)
    var loaded = try model()
    try AdapterFolder.load(folder, onto: &loaded)
    return (loaded, report)
  }

  /// Ranks and α by pattern, another scale, other targets, a bias, an embedding: everything that a plain LoRA may have.
  private static let mixtures: [[(name: String, weight: Float)]] = [
    [("lora", 1)], [("lora", 0.5), ("lora-all-linear", -0.25)], [("lora-patterns", 2), ("rslora", 0.5)],
    [("lora-bias", 0.5), ("lora-regex", 1.5)], [("lora-embed", 0.7), ("lora-patterns", 1), ("rslora", -0.5)],
  ]

  @Test(arguments: 0..<5)
  func `A concatenation of folders computes what the weighted sum of their changes does`(_ index: Int) throws {
    let adapters = Self.mixtures[index]
    let (model, report) = try combined(adapters, Combination(.cat))
    let batch = Specimen.batch
    #expect(Specimen.distance(model.logits(batch), try summed(adapters).logits(batch)) < 1e-5)
    #expect(report.residual == nil && !report.layers.isEmpty)
  }

  @Test(arguments: 0..<5)
  func `So does a truncation to a rank that suffices, and says that nothing is missing`(_ index: Int) throws {
    var combination = Combination(.svd)
    combination.rank = 24
    let adapters = Self.mixtures[index], (model, report) = try combined(adapters, combination)
    let batch = Specimen.batch
    #expect(Specimen.distance(model.logits(batch), try summed(adapters).logits(batch)) < 1e-5)
    #expect(try #require(report.residual) < 1e-9)
  }

  @Test func `The result has scale 1 and no patterns where ranks agree`() throws {
    let (adapter, _) = try Combination(.cat).combined([(try fixture("lora"), 1), (try fixture("rslora"), 1)])
    try adapter.write(to: scratch.path + "/c")
    let settings = try LoRAFolder(scratch.path + "/c").configuration.plan.settings
    #expect(settings.rank == 12 && settings.alpha == 12 && !settings.isRankStabilised)
    #expect(settings.rankPattern.isEmpty && settings.alphaPattern.isEmpty)
  }

  @Test func `Adapters of different targets give the union, each layer by its name`() throws {
    let (adapter, report) = try Combination(.cat).combined([
      (try fixture("lora-patterns"), 1), (try fixture("lora-embed"), 1),
    ])
    let names = report.layers.map(\.name)
    #expect(names.count == 7 + 2 + 1 && adapter.tables.count == 1)
    #expect(adapter.configuration.plan.targets == .names(names.sorted()) && adapter.configuration.plan.layers == .all)
    // q of the second block: rank 2 by a pattern, and 4.
    #expect(adapter.layers["model.layers.1.self_attn.q_proj"]?.rank == 6)
    #expect(adapter.layers["model.layers.0.self_attn.q_proj"]?.rank == 4)
  }

  @Test func `Writing and reading a folder keeps factors, scales and biases to the bit`() throws {
    for name in ["lora", "lora-patterns", "rslora", "lora-bias", "lora-embed"] {
      let read = try fixture(name)
      try read.write(to: scratch.path + "/" + name)
      let again = try LoRAFolder(scratch.path + "/" + name)
      let isSame = again.layers == read.layers && again.tables == read.tables
      #expect(isSame, "\(name)")
    }
  }

  @Test(arguments: [
    ("dora", "is of type 'dora', not plain LoRA; turn it into plain LoRA first: graft convert"),
    (
      "lora-modules-to-save",
      "key 'modules_to_save': the adapter also holds weights of its base, which are no low-rank change"
    ),
  ])
  func `What is no plain LoRA is refused by name`(_ name: String, _ ending: String) throws {
    #expect { _ = try fixture(name) } throws: { "\($0)".hasSuffix(ending) }
  }

  @Test func `A start that moved the base, a rank that lies and a stray tensor are refused`() throws {
    let source = "\(fixtures)/adapters/llama-untied/lora", copy = scratch.path + "/copy"
    func attempt(_ change: (inout [String: JSON]) -> Void, extra: String? = nil) throws {
      try? FileManager.default.removeItem(atPath: copy)
      try FileManager.default.copyItem(atPath: source, toPath: copy)
      var object = try #require(try JSON.read(source + "/adapter_config.json").object)
      change(&object)
      try AtomicFile.write(JSON.object(object).text(), to: copy + "/adapter_config.json")
      if let extra {
        try Safetensors.write(
          [TensorToWrite(name: extra, floats: [1], shape: [1])], to: copy + "/adapter_model.safetensors")
      }
      _ = try LoRAFolder(copy)
    }
    #expect { try attempt { $0["init_lora_weights"] = .string("pissa_niter_4") } } throws: {
      "\($0)".contains("'pissa_niter_4' means that these factors belong to a changed base")
    }
    #expect { try attempt { $0["r"] = .integer(8) } } throws: {
      "\($0)".contains("has rank 4, but adapter_config.json says 8 for this layer")
    }
    #expect { try attempt({ _ in }, extra: "base_model.model.model.norm.weight") } throws: {
      "\($0)".contains("is no factor of a plain LoRA")
    }
    try attempt { $0["init_lora_weights"] = .string("gaussian") }
  }

  @Test func `Adapters of different models are refused with the layer and both sizes`() throws {
    let narrow = LowRankFactors(a: .zeros([4, 32]), b: .zeros([64, 4]), scale: 1)
    let other = LoRAFolder(try fixture("lora").configuration, layers: ["model.layers.0.self_attn.q_proj": narrow])
    #expect { _ = try Combination(.cat).combined([(try fixture("lora"), 1), (other, 1)]) } throws: {
      "\($0)".contains("layer 'model.layers.0.self_attn.q_proj': is [64, 32], but [64, 64] in the adapters before it")
    }
  }
}
