import Autodiff
import Files
import Foundation
import Networks
import Testing

@testable import Adapters

/// Poly adapters as PEFT writes and reads them, against what PEFT 0.21 computes with one.
struct PolyTests {
  private static let folder = "\(fixtures)/adapters/llama-untied/poly"

  private func model() throws -> any TextNetwork { try Checkpoint("\(fixtures)/models/llama-untied").model() }

  private func adapted(_ folder: String = folder) throws -> any TextNetwork {
    var model = try model()
    try AdapterFolder.load(folder, onto: &model)
    return model
  }

  private func distance(_ a: [Float], _ b: [Float]) -> Float {
    a.count == b.count ? zip(a, b).reduce(0) { max($0, abs($1.0 - $1.1)) } : .infinity
  }

  private let reference: Safetensors
  private let batch: TokenBatch
  private let labels: [Int32]

  init() throws {
    reference = try Safetensors(Self.folder + "/reference.safetensors")
    let ids = try reference.entry("input_ids").integers().map(Int32.init)
    batch = TokenBatch([Array(ids[..<16]), Array(ids[16...])])
    labels = try reference.entry("labels").integers().map(Int32.init)
  }

  private func wanted(_ task: Int) throws -> [Float] { try reference.entry("logits.task\(task)").floats() }

  @Test(arguments: [0, 1]) func `Each task of an adapter made by PEFT computes PEFT's logits`(_ task: Int) throws {
    let model = try adapted()
    #expect(distance(model.logits(batch, Context(task: task)).values, try wanted(task)) < 2e-5)
    func merged(_ model: some TextNetwork) -> any TextNetwork { model.merged() }
    let folded = merged(model.specialised(to: task))
    #expect(distance(folded.logits(batch).values, try wanted(task)) < 2e-5)
    #expect(distance(try wanted(0), try wanted(1)) > 0.1)
  }

  @Test func `A batch of both tasks has PEFT's loss and gradients`() throws {
    let model = try adapted()
    var context = Context()
    context.taskRows = [(1, 0..<16), (0, 16..<32)]
    func measured(_ model: some TextNetwork) -> (value: Float, gradients: [Tensor]) {
      valueAndGradients(of: model) { model in
        let (sum, count) = model.lossSum(batch, labels: labels, context)
        return (1 / Float(count)) * sum
      }
    }
    let (loss, gradients) = measured(model), names = model.trainableParameters.map(\.name)
    #expect(abs(loss - (try reference.entry("loss").floats()[0])) < 1e-5)
    #expect(names.count == reference.names.count { $0.hasPrefix("grad.") })
    for (name, gradient) in zip(names, gradients) {
      // In memory PEFT names the adapter: poly_lora_A.default, poly_router.default.module_logits.
      let stored = try #require(
        reference.names.first { $0.replacingOccurrences(of: ".default", with: "") == "grad.base_model.model." + name })
      let theirs = try reference.entry(stored).floats()
      #expect(distance(gradient.values, theirs) < 2e-6 + 1e-4 * (theirs.map(abs).max() ?? 0), "\(name)")
    }
  }

  @Test func `It is written as PEFT wrote it, to the bit`() throws {
    let scratch = try ScratchFolder(), path = Self.folder + "/adapter_config.json"
    let configuration = try PEFTConfiguration(json: try JSON.read(path), path: path)
    #expect(configuration.plan.settings.tasks == ["task0", "task1"])
    try AdapterFolder.save(try adapted(), configuration, to: scratch.path)
    let ours = try JSON.read(scratch.path + "/adapter_config.json"), theirs = try JSON.read(path)
    // No key of ours that PEFT would warn of, and none of theirs lost.
    #expect(ours == theirs)
    let (mine, original) = (
      try Safetensors(scratch.path + "/adapter_model.safetensors"),
      try Safetensors(Self.folder + "/adapter_model.safetensors")
    )
    #expect(mine.names.sorted() == original.names.sorted())
    for name in mine.names { #expect(try mine.entry(name).floats() == original.entry(name).floats(), "\(name)") }
  }

  @Test(arguments: [0, 1]) func `Each task is a plain LoRA`(_ task: Int) throws {
    let path = Self.folder + "/adapter_config.json", scratch = try ScratchFolder()
    let configuration = try PEFTConfiguration(json: try JSON.read(path), path: path)
    let (lora, report) = try adapted().convertedToLoRA(configuration, Context(task: task))
    #expect(report.layers.count == 6 && report.layers.allSatisfy { $0.isExact && $0.rank == 3 })
    try lora.write(to: scratch.path)
    #expect(distance(try adapted(scratch.path).logits(batch).values, try wanted(task)) < 2e-5)
  }

  /// α of every kind, ranks of their own, some blocks only: what PEFT's Poly has no keys for.
  @Test(arguments: ["alpha", "rank-stabilised", "patterns", "blocks"])
  func `What PEFT has no key for goes into the factors`(_ kind: String) throws {
    var settings = AdapterSettings(rank: 2, alpha: 3)
    settings.options = ["skills": "3", "heads": "2"]
    settings.tasks = ["ask", "tell"]
    var plan = GraftPlan(method: MHR.method, settings: settings, targets: .names(["q_proj", "down_proj"]))
    switch kind {
    case "rank-stabilised": plan.settings.isRankStabilised = true
    case "patterns":
      (plan.settings.rankPattern, plan.settings.alphaPattern) = (["q_proj": 5], ["layers.1.*": 7])
    case "blocks": plan.layers = .indices([1])
    default: break
    }
    var model = try model()
    try model.graft(plan, random: RandomKey(seed: 5))
    func moved(_ model: some TextNetwork) -> any TextNetwork {
      var model = model
      model.forEachParameter { name, parameter in
        guard parameter.isTrainable else { return }
        parameter.value = .normal(parameter.value.shape, deviation: 0.4, from: RandomKey(seed: 6)[name])
      }
      return model
    }
    let trained = moved(model), own = try ScratchFolder(), poly = try ScratchFolder()
    try AdapterFolder.save(trained, PEFTConfiguration(plan, baseModel: "llama-untied"), to: own.path)
    #expect(try JSON.read(own.path + "/adapter_config.json")["peft_type"]?.string == "MHR")
    try PolyFolder(own.path).write(to: poly.path)
    let config = try JSON.read(poly.path + "/adapter_config.json")
    #expect(config["peft_type"]?.string == "POLY" && config["n_tasks"]?.int == 2)
    #expect(config["r"]?.int == (kind == "patterns" ? 5 : 2) && config["lora_alpha"] == nil)
    #expect(config["n_skills"]?.int == 3 && config["n_splits"]?.int == 2)
    let read = try adapted(poly.path)
    #expect(read.adaptedLayers == trained.adaptedLayers)
    for task in 0..<2 {
      let (ours, theirs) = (
        trained.logits(batch, Context(task: task)), read.logits(batch, Context(task: task))
      )
      // Each number of b is rounded once.
      #expect(Specimen.distance(theirs, ours) < 1e-5)
    }
    let path = poly.path + "/adapter_config.json"
    let tasks = try PEFTConfiguration(json: config, path: path).plan.settings
    #expect(tasks.tasks == ["ask", "tell"] && tasks.task(named: "tell") == 1 && tasks.task(named: "0") == 0)
    #expect(tasks.task(named: "2") == nil && tasks.task(named: "-1") == nil && tasks.task(named: "sing") == nil)
  }

  @Test func `With α = 1 an adapter of ours is a Poly folder as it is`() throws {
    var settings = AdapterSettings(rank: 4, alpha: 1)
    settings.options = ["skills": "3", "relaxed": "true"]
    settings.tasks = ["ask"]
    let plan = GraftPlan(method: MHR.method, settings: settings, targets: .names(["q_proj"]))
    let config = PEFTConfiguration(plan, baseModel: nil).json
    #expect(config["peft_type"]?.string == "POLY" && config["n_splits"]?.int == 1)
    let again = try PEFTConfiguration(json: config, path: "adapter_config.json").plan
    #expect(again.settings.tasks == ["ask"] && again.settings.options["relaxed"] == "true")
    #expect(again.settings.scale(at: "q_proj") == 0.25)
  }

  @Test(arguments: [
    (#""n_tasks": 0"#, "key 'n_tasks': 0 is not from 1 to 1048576"),
    (#""n_skills": 4096"#, "key 'n_skills': 4096 is not from 1 to 1024"),
    (#""n_splits": -2"#, "key 'n_splits': -2 is not from 1 to 1024"),
    (#""n_splits": 3"#, "which 3 heads do not divide"),
    (#""r": 0"#, "key 'r': 0 is not from 1 to 1048575"),
    (#""r": "three""#, "is no whole number"),
    (#""r": 900000"#, "3 skills with ranks of up to 900000 ask for"),
    (#""n_tasks": 1000000"#, "1000000 tasks ask for 36000000 logits where 8424 numbers can be had"),
    (#""poly_type": "soft""#, "key 'poly_type': 'soft' is not supported; expected poly"),
    (#""n_tasks": 3"#, "has shape [2, 6] but the model needs [3, 6]"),
    (#""graft": {"tasks": ["a"]}"#, "key 'graft': names 1 tasks, and n_tasks is 2"),
    (#""target_modules": ["lm_head"]"#, "'mhr' cannot stand on 'lm_head'"),
  ])
  func `A configuration that cannot be is refused by its key`(_ change: String, _ message: String) throws {
    let scratch = try ScratchFolder()
    var keys = try #require(try JSON.read(Self.folder + "/adapter_config.json").object)
    let changed = try JSON(parsing: "{\(change)}")
    keys.merge(try #require(changed.object)) { $1 }
    try AtomicFile.write(JSON.object(keys).text(pretty: true), to: scratch.path + "/adapter_config.json")
    try FileManager.default.copyItem(
      atPath: Self.folder + "/adapter_model.safetensors", toPath: scratch.path + "/adapter_model.safetensors")
    #expect { _ = try adapted(scratch.path) } throws: { error in
      error is FileError && "\(error)".contains(message)
    }
  }

  @Test func `Only a routed adapter without biases becomes Poly`() throws {
    #expect { _ = try PolyFolder("\(fixtures)/adapters/llama-untied/dora") } throws: {
      "\($0)".contains("is of type 'dora', and only 'mhr' has the form of PEFT's Poly")
    }
    let scratch = try ScratchFolder()
    var plan = GraftPlan(method: MHR.method, targets: .names(["q_proj"]))
    plan.bias = .all
    try AtomicFile.write(PEFTConfiguration(plan, baseModel: nil).json.text(), to: scratch.path + "/adapter_config.json")
    #expect { _ = try PolyFolder(scratch.path) } throws: {
      "\($0)".contains("key 'bias': the adapter also learned biases")
    }
  }
}
