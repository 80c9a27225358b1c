import Autodiff
import Files
import Foundation
import Networks
import Testing
import Weights

@testable import Adapters

/// One family with one choice of settings, and what its file promises of it.
///
/// To let a family join, add a row to ``specimens`` below: its plan, its number of trained parameters as the paper's
/// formula has it, and, only where it differs from a plain LoRA, the promises. Every law in `AdapterLawTests` then holds
/// for it or fails by name. A family in the catalogue without a row fails a law of its own.
struct Specimen: Sendable, CustomTestStringConvertible {
  /// How failures name it.
  let name: String
  /// The family, its settings and its targets.
  var plan: GraftPlan
  /// The same with one target more, to see that it leaves the others' start alone.
  var moreTargets = GraftPlan.Targets.names(["q_proj", "v_proj", "up_proj"])
  /// The numbers it trains at one site.
  let parameters: @Sendable (Size) -> Int
  /// What it trains besides, at no site.
  var otherParameters = 0
  /// The model it is grafted onto; by name of its fixture.
  var model = "llama-untied"
  /// How far the fresh logits may lie from the base's, relative to the largest; 0 asks for the same bits.
  var startTolerance: Float = 0
  /// Whether its start draws from the seed.
  var startsByChance = true
  /// Whether its start moves part of the base into the adapter.
  var movesBase = false
  /// How far the logits may lie from what was saved; 0 asks for the same bits, and for the same parameters.
  var storedTolerance: Float = 0
  /// How it says it can fold.
  var merging = Merging.exact
  /// The task it runs, for families that keep something a task.
  var task: Int?

  var testDescription: String { name }

  /// The sizes of the layer, table (outputs its width, inputs its entries) or branch (both its width) of a site.
  struct Size: Sendable { let outputs: Int, inputs: Int }
}

/// Every family in the settings that make a difference to it.
let specimens: [Specimen] = [
  Specimen(name: "lora", plan: plan("lora")) { 4 * ($0.inputs + $0.outputs) },
  Specimen(
    name: "lora, tied head", plan: plan("lora"), parameters: { 4 * ($0.inputs + $0.outputs) }, model: "llama-tied"),
  Specimen(name: "lora, rank-stabilised", plan: plan("lora") { $0.isRankStabilised = true }) {
    4 * ($0.inputs + $0.outputs)
  },
  Specimen(name: "lora, dropout", plan: plan("lora") { $0.dropout = 0.3 }) { 4 * ($0.inputs + $0.outputs) },
  Specimen(name: "lora, gaussian", plan: plan("lora") { $0.start = "gaussian" }) { 4 * ($0.inputs + $0.outputs) },
  Specimen(name: "lora, bias", plan: plan("lora") { $0.hasBias = true }) { 4 * ($0.inputs + $0.outputs) + $0.outputs },
  Specimen(
    name: "lora, patterns", plan: plan("lora") { ($0.rankPattern, $0.alphaPattern) = (["v_proj": 2], ["v_proj": 6]) }
  ) {
    ($0.outputs == 32 ? 2 : 4) * ($0.inputs + $0.outputs)
  },
  Specimen(
    name: "lora, embedding", plan: plan("lora", on: ["embed_tokens"]), moreTargets: .names(["embed_tokens", "q_proj"]),
    parameters: { 4 * ($0.inputs + $0.outputs) }),
  // Qwen 2's q and v have biases of their own.
  Specimen(
    name: "lora, bias beside the base's", plan: plan("lora") { $0.hasBias = true },
    parameters: { 4 * ($0.inputs + $0.outputs) + $0.outputs }, model: "qwen2"),
  Specimen(name: "qalora", plan: plan("qalora") { $0.options = ["group": "16"] }) { 4 * ($0.inputs / 16 + $0.outputs) },
  Specimen(
    name: "qalora, dropout",
    plan: plan("qalora") { ($0.options, $0.dropout) = (["group": "32"], 0.3) }
  ) { 4 * ($0.inputs / 32 + $0.outputs) },
  Specimen(name: "lrqat", plan: plan("lrqat")) { 4 * ($0.inputs + $0.outputs) },
  Specimen(name: "lrqat, dropout", plan: plan("lrqat") { $0.dropout = 0.3 }) { 4 * ($0.inputs + $0.outputs) },
  // m / ‖W‖ may be 1 but for its last bit.
  Specimen(
    name: "dora", plan: plan("dora"), parameters: { 4 * ($0.inputs + $0.outputs) + $0.outputs }, startTolerance: 1e-5),
  Specimen(
    name: "dora, dropout", plan: plan("dora") { $0.dropout = 0.3 },
    parameters: { 4 * ($0.inputs + $0.outputs) + $0.outputs }, startTolerance: 1e-5),
  Specimen(
    name: "dora, biased base", plan: plan("dora"), parameters: { 4 * ($0.inputs + $0.outputs) + $0.outputs },
    model: "qwen2", startTolerance: 1e-5),
  // The unpacked matrix is multiplied whole, the packed one block by block.
  Specimen(
    name: "full", plan: plan("full"), parameters: { $0.inputs * $0.outputs }, startTolerance: 1e-6,
    startsByChance: false),
  Specimen(
    name: "full, biased base", plan: plan("full"), parameters: { $0.inputs * $0.outputs }, model: "qwen2",
    startTolerance: 1e-6, startsByChance: false),
  Specimen(
    name: "full, embedding and tied head", plan: plan("full", on: ["embed_tokens"]),
    moreTargets: .names(["embed_tokens", "q_proj"]), parameters: { $0.inputs * $0.outputs }, model: "llama-tied",
    startTolerance: 1e-6, startsByChance: false),
  // Five norms of 64 channels learn with the matrices.
  Specimen(
    name: "full, everything", plan: GraftPlan(method: "full"), moreTargets: .allLinear,
    parameters: { $0.inputs * $0.outputs }, otherParameters: 5 * 64, startTolerance: 1e-6, startsByChance: false),
  // Stored over the untouched base, as a plain LoRA of twice the rank.
  moving("lora, pissa", "lora") { $0.start = "pissa" },
  moving("lora, olora", "lora") { $0.start = "olora" },
  moving("corda, ipm", "corda") { $0.options = ["mode": "ipm"] },
  moving("corda, kpm", "corda") { $0.options = ["mode": "kpm"] },
  Specimen(
    name: "lora, eva", plan: plan("lora") { $0.start = "eva" }, parameters: { 4 * ($0.inputs + $0.outputs) },
    startsByChance: false),
  // A unit is a head of 16 channels: half of q's four and of v's two train.
  Specimen(
    name: "s2ft, output rows", plan: plan("s2ft") { $0.options = ["ratio": "0.5", "quota": "layer"] },
    // Which channels learn is drawn; what they learn starts at zero.
    parameters: { $0.outputs / 2 * $0.inputs }, startsByChance: false),
  Specimen(
    name: "s2ft, input columns",
    plan: plan("s2ft", on: ["o_proj", "down_proj"]) {
      $0.options = ["ratio": "0.5", "quota": "layer", "selection": "weight"]
    },
    moreTargets: .names(["o_proj", "down_proj", "q_proj"]), parameters: { $0.inputs / 2 * $0.outputs },
    startsByChance: false),
  // The fresh adapter rounds inputs: what it changes is what 2⁸ or 2⁴ numbers a token cannot tell apart.
  Specimen(
    name: "qllm, no rounding", plan: plan("qllm") { $0.options = ["activation_bits": "16"] },
    parameters: { 4 * ($0.inputs + $0.outputs) }),
  rounding("qllm, 8 bits", ["activation_bits": "8", "reassembly_ratio": "0"], start: 0.02),
  rounding("qllm, 8 bits reassembled", [:], start: 0.05),
  rounding("qllm, 4 bits reassembled", ["activation_bits": "4", "reassembly_metric": "code"], start: 0.7),
  Specimen(name: "int2.1", plan: plan("int2.1"), parameters: { 4 * ($0.inputs + $0.outputs) }, storedTolerance: 1e-6),
  Specimen(name: "hydra", plan: plan("hydra")) {
    4 * ($0.inputs + $0.outputs) + 4 * 2 * $0.outputs + 4 + 4 + 2 * $0.outputs
  },
  Specimen(
    name: "hydra, no biases, unequal ranks",
    plan: plan("hydra") { $0.options = ["branch_bias": "false", "sequential_rank": "2"] }
  ) {
    4 * ($0.inputs + $0.outputs) + 2 * 2 * $0.outputs
  },
  Specimen(
    name: "mhr, Poly", plan: plan("mhr", skills: 3, heads: 1), parameters: { 3 * 4 * ($0.inputs + $0.outputs) + 2 * 3 },
    merging: .perTask, task: 1),
  Specimen(
    name: "mhr, four heads", plan: plan("mhr", skills: 3, heads: 4),
    parameters: { 3 * 4 * ($0.inputs + $0.outputs) + 2 * 4 * 3 }, merging: .perTask, task: 0),
  Specimen(
    name: "mhr, relaxed", plan: plan("mhr", skills: 2, heads: 2, ["relaxed": "true"]),
    parameters: { 2 * 4 * ($0.inputs + $0.outputs) + 2 * 2 * 2 }, merging: .perTask, task: 1),
  // Stored as the mean of its modules, which is a plain LoRA.
  Specimen(
    name: "mosa", plan: plan("mosa"), parameters: { 4 * ($0.inputs + $0.outputs) }, storedTolerance: 1e-6),
  // Both factors learn as departures from their start, which begin at zero whatever the start.
  Specimen(
    name: "mosa, both sides split", plan: plan("mosa") { $0.options = ["splits": "2", "share": "none"] },
    parameters: { 4 * ($0.inputs + $0.outputs) }, startsByChance: false, storedTolerance: 1e-6),
  bottleneck("adaptformer") { 2 * $0 },
  bottleneck("pfeiffer") { 2 * $0 },
  bottleneck("houlsby") { _ in 0 },
]

/// A family whose start takes part of the base, exact but for rounding.
private func moving(
  _ name: String, _ method: String, _ change: (inout AdapterSettings) -> Void
) -> Specimen {
  Specimen(
    name: name, plan: plan(method, change), parameters: { 4 * ($0.inputs + $0.outputs) }, startTolerance: 1e-5,
    startsByChance: false, movesBase: true, storedTolerance: 1e-4)
}

/// QLLM with its inputs rounded, so that a fresh adapter changes up to a share `start` of the largest logit.
private func rounding(_ name: String, _ options: [String: String], start: Float) -> Specimen {
  Specimen(
    name: name, plan: plan("qllm") { $0.options = options }, parameters: { 4 * ($0.inputs + $0.outputs) },
    startTolerance: start,
    merging: .never(
      because:
        "it rounds its layers' inputs to \(options["activation_bits"] ?? "8") bits, which no matrix does; train with activation_bits: 16 for a correction that folds"
    ))
}

/// A bottleneck of width 4 around the feed-forward branches, with `norm` numbers in a norm of its own.
private func bottleneck(_ style: String, norm: @escaping @Sendable (_ width: Int) -> Int) -> Specimen {
  Specimen(
    name: "bottleneck, \(style)", plan: plan("bottleneck", on: ["mlp"]) { $0.options = ["style": style] },
    moreTargets: .names(["mlp", "self_attn"]),
    parameters: { 4 * $0.inputs + 4 + 4 * $0.outputs + $0.outputs + norm($0.inputs) },
    merging: .never(because: "its activation makes the change depend on the input"))
}

/// A plan for two tasks.
private func plan(_ method: String, skills: Int, heads: Int, _ more: [String: String] = [:]) -> GraftPlan {
  plan(method) {
    $0.tasks = ["ask", "tell"]
    $0.options = ["skills": "\(skills)", "heads": "\(heads)"].merging(more) { $1 }
  }
}

/// A plan of rank 4 and α 8 on q and v of the fixtures.
private func plan(
  _ method: String, on targets: [String] = ["q_proj", "v_proj"], _ change: (inout AdapterSettings) -> Void = { _ in }
) -> GraftPlan {
  var settings = AdapterSettings(rank: 4, alpha: 8)
  change(&settings)
  return GraftPlan(method: method, settings: settings, targets: .names(targets))
}

extension Specimen {
  /// The packings a base may have under an adapter.
  static let packings: [Packing] = [.float32, .q4_0, .int4(group: 64), .nf4(doubleQuantised: false)]

  /// What inference with it knows.
  var context: Context { Context(task: task) }

  /// Its model, every matrix whose rows can be cut into blocks packed.
  func base(_ packing: Packing) throws -> any TextNetwork {
    var model = try Checkpoint("\(fixtures)/models/\(model)").model()
    func packed(_ weight: FrozenWeight) throws -> FrozenWeight {
      guard weight.columns % packing.blockSize == 0, packing != .float32 else { return weight }
      return try FrozenWeight(weight.unpacked(), packing: packing)
    }
    try model.forEachLinear(throwing: { $1.base.weight = try packed($1.base.weight) })
    try model.forEachEmbedding(throwing: { $1.base.weight = try packed($1.base.weight) })
    return model
  }

  /// Its model with fresh adapters.
  func fresh(
    _ packing: Packing, seed: UInt64 = 7, targets: GraftPlan.Targets? = nil
  ) throws -> (model: any TextNetwork, plan: GraftPlan, report: GraftReport) {
    var model = try base(packing), plan = plan
    if let targets { plan.targets = targets }
    let report = try model.graft(plan, random: RandomKey(seed: seed), statistics: statistics(of: model))
    // What a family chose over all sites is saved with it.
    plan.settings.channels = report.channels
    return (model, plan, report)
  }

  /// Inputs drawn from a normal, for families that measure theirs first.
  private func statistics(of model: any TextNetwork) -> [String: SiteStatistics] {
    var copy = model
    var found: [String: SiteStatistics] = [:]
    copy.forEachLinear { name, layer in
      let rows = 2 * layer.base.inputs
      let x = Tensor.normal([rows, layer.base.inputs], from: RandomKey(seed: 3)[name]), share = 1 / Float(rows)
      let magnitudes = Tensor(x.values.map(abs), shape: x.shape)
      // Among the samples, one channel of huge range.
      let wide = Tensor((0..<layer.base.inputs).map { $0 == 3 ? 30 : 1 }, shape: [layer.base.inputs])
      found[name] = SiteStatistics(
        secondMoment: share * matmul(x, x, transposingA: true), meanMagnitude: share * magnitudes.transposed.rowSums,
        meanSquare: share * (x * x).transposed.rowSums, largestMagnitude: 4 * wide, samples: x * wide, rows: rows)
    }
    return found
  }

  /// A few steps of Adam on ``batch``; with dropout and the like in use.
  func trained(_ model: any TextNetwork, steps: Int = 8, seed: UInt64 = 1) -> any TextNetwork {
    var model = model
    var moments: [(m: Tensor, v: Tensor)?] = Array(repeating: nil, count: model.trainableParameters.count)
    for step in 0..<steps {
      let context = Context(task: task, random: RandomKey(seed: seed)[step])
      var gradients = gradients(model, context)[...], index = 0
      let rule = AdamRule(
        decay: 1, beta1: 0.9, beta2: 0.99, size: 0.01, correction: 1, epsilon: 1e-6)
      model.forEachParameter { _, parameter in
        guard parameter.isTrainable, let gradient = gradients.popFirst() else { return }
        let next = adamStep(parameter.value, gradient, m: moments[index]?.m, v: moments[index]?.v, rule)
        (parameter.value, moments[index]) = (next.value, (next.m, next.v))
        index += 1
      }
    }
    return model
  }

  private func gradients(_ model: any TextNetwork, _ context: Context) -> [Tensor] {
    func open(_ model: some TextNetwork) -> [Tensor] {
      valueAndGradients(of: model) { $0.lossSum(Self.batch, labels: Self.batch.ids, context).sum }.gradients
    }
    return open(model)
  }

  /// The loss of ``batch``, nats in all, as inference has it.
  func loss(_ model: any TextNetwork) -> Float {
    model.lossSum(Self.batch, labels: Self.batch.ids, context).sum.scalar
  }

  /// The logits of ``batch``, and of two tokens alone, since a packed matrix has another way of multiplying by few.
  func logits(_ model: any TextNetwork) -> Tensor {
    .concatenated([model.logits(Self.batch, context), model.logits(TokenBatch([[8, 9]]), context)])
  }

  /// Two sequences.
  static let batch = TokenBatch([
    [3, 17, 29, 40, 55, 90, 101, 17, 29, 40, 250, 319], [5, 6, 7],
  ])

  /// The sizes of each of a report's sites.
  func sizes(_ report: GraftReport, in model: any TextNetwork) -> [Size] {
    var copy = model
    var sizes: [String: Size] = [:]
    copy.forEachLinear { sizes[$0] = Size(outputs: $1.base.outputs, inputs: $1.base.inputs) }
    copy.forEachEmbedding { sizes[$0] = Size(outputs: $1.base.weight.columns, inputs: $1.base.weight.rows) }
    copy.forEachBlock { name, block in
      if block.adapter != nil { sizes[name] = Size(outputs: block.width, inputs: block.width) }
    }
    return report.sites.compactMap { sizes[$0] }
  }

  /// The packed bytes of a model's matrices, by name.
  static func matrices(_ model: any TextNetwork) -> [String: [UInt8]] {
    var copy = model
    var bytes: [String: [UInt8]] = [:]
    copy.forEachLinear { name, layer in bytes[name + ".weight"] = layer.base.weight.withBytes { Array($0) } }
    copy.forEachEmbedding { name, table in bytes[name + ".weight"] = table.base.weight.withBytes { Array($0) } }
    return bytes
  }

  /// Everything in a model that training must leave alone: the bytes of its matrices, and its frozen parameters.
  static func frozenParts(_ model: any TextNetwork) -> [String: [UInt8]] {
    var copy = model
    var parts = matrices(model)
    copy.forEachParameter { name, parameter in
      guard !parameter.isTrainable else { return }
      parts["parameter " + name] = parameter.value.values.withUnsafeBytes { Array($0) }
    }
    return parts
  }

  /// The largest difference, relative to the largest of `b`; infinite where the two cannot be compared.
  static func distance(_ a: Tensor, _ b: Tensor) -> Float {
    guard a.shape == b.shape, a.isFinite, b.isFinite else { return .infinity }
    let size = b.values.reduce(0) { max($0, abs($1)) }
    return zip(a.values, b.values).reduce(0) { max($0, abs($1.0 - $1.1)) } / max(size, .leastNormalMagnitude)
  }
}

/// A folder that is gone when the test is.
final class ScratchFolder {
  let path = NSTemporaryDirectory() + "graft-" + UUID().uuidString
  init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
  deinit { try? FileManager.default.removeItem(atPath: path) }
}
