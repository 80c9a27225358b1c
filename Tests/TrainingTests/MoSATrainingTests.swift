import Adapters
import Autodiff
import Foundation
import Networks
import Testing
import Text

@testable import Training

/// MoSA over whole steps: its two passes, and what is left of it with one module.
struct MoSATrainingTests {
  private let examples = (0..<6).map { i in
    let ids: [Int32] = [Int32(i + 3), 17, 29, Int32(i * 11 + 40), 55, 90]
    return Example(ids: ids, labels: ids, source: "test")
  }

  private func model(_ method: String, _ options: [String: String] = [:]) throws -> any TextNetwork {
    var model = try Checkpoint("\(fixtures)/models/llama-untied").model()
    var plan = GraftPlan(method: method, settings: AdapterSettings(rank: 4, alpha: 8))
    plan.settings.options = options
    try model.graft(plan, random: RandomKey(seed: 6))
    return model
  }

  /// A model whose every trainable number is far from where it started.
  private func moved(_ method: String, _ options: [String: String]) throws -> any TextNetwork {
    var model = try model(method, options)
    model.forEachParameter { name, parameter in
      guard parameter.isTrainable else { return }
      parameter.value = .normal(parameter.value.shape, deviation: 0.3, from: RandomKey(seed: 7)[name])
    }
    return model
  }

  private func run(_ model: any TextNetwork, _ objective: Objective = .crossEntropy, seed: UInt64 = 1) -> TrainingRun {
    var settings = TrainingSettings()
    (settings.batchSize, settings.learningRate) = (2, 0.01)
    settings.schedule = Schedule(.constant, total: 12)
    var run = TrainingRun(model, AdamW(), settings, on: examples, seed: seed)
    run.objective = objective
    return run
  }

  private func losses(_ run: inout TrainingRun) throws -> [Double] {
    var losses: [Double] = []
    while let report = try run.next() { losses.append(report.loss) }
    return losses
  }

  @Test func `With one module it is LoRA, step for step and bit for bit`() throws {
    var ours = run(try model("mosa", ["splits": "1"])), theirs = run(try model("lora"))
    #expect(try losses(&ours) == losses(&theirs))
    let (a, b) = (ours.model.trainableParameters, theirs.model.trainableParameters)
    #expect(a.map(\.name) == b.map(\.name) && zip(a, b).allSatisfy { $0.value == $1.value })
  }

  @Test(arguments: ["mosa", "bottleneck"]) func `A run falls, repeats to the bit, and differs by its seed`(
    _ method: String
  ) throws {
    let model = try model(method, ["splits": "3"])
    var first = run(model, .consistency(weight: 1)), again = run(model, .consistency(weight: 1))
    var other = run(model, .consistency(weight: 1), seed: 2)
    let losses = try losses(&first)
    #expect(try losses == self.losses(&again))
    #expect(try losses != self.losses(&other))
    #expect(losses.last! < losses[0])
    #expect(zip(first.model.trainableParameters, again.model.trainableParameters).allSatisfy { $0.value == $1.value })
  }

  @Test(arguments: ["mosa", "bottleneck"]) func `The objective is the first pass's loss and half of both divergences`(
    _ method: String
  ) throws {
    let model = try moved(method, ["splits": "4", "share": "none"])
    let batch = TokenBatch([[3, 17, 29, 40, 55], [9, 8, 7]])
    let labels: [Int32] = [ignoredLabel, ignoredLabel, 29, 40, 55, ignoredLabel, 8, ignoredLabel]
    let context = Context(random: RandomKey(seed: 9))
    func value(_ model: some TextNetwork) -> Float {
      Objective.consistency(weight: 0.7).lossSum(model, batch, labels: labels, context).scalar
    }
    var second = context
    second.random = context.random?["second pass"]
    // Scored are tokens 2, 3, 4 and 6, each predicted one position earlier.
    let rows: [Int32] = [1, 2, 3, 5]
    let z1 = model.logits(batch, context).gathered(rows), z2 = model.logits(batch, second).gathered(rows)
    let p1 = z1.softmax.values.map(Double.init), p2 = z2.softmax.values.map(Double.init)
    let apart = zip(p1, p2).reduce(0.0) { $0 + ($1.0 - $1.1) * log($1.0 / $1.1) }
    let expected = Double(crossEntropySum(z1, labels: [29, 40, 55, 8]).scalar) + 0.7 * 0.5 * apart
    #expect(apart > 0.01)
    // Four rows of Float logits: a few 2⁻²⁴ of a loss of about 20.
    #expect(abs(Double(value(model)) - expected) < 2e-5)
  }

  @Test func `Two passes that draw nothing do not differ`() throws {
    let model = try moved("mosa", ["splits": "1"])
    let batch = TokenBatch([[3, 17, 29, 40, 55]]), labels: [Int32] = [3, 17, 29, 40, 55]
    func value(_ model: some TextNetwork, _ objective: Objective) -> Float {
      objective.lossSum(model, batch, labels: labels, Context(random: RandomKey(seed: 9))).scalar
    }
    let (one, two) = (value(model, .crossEntropy), value(model, .consistency(weight: 5)))
    // The two ways of computing a head round differently.
    #expect(abs(one - two) < 1e-5)
  }

  @Test func `Recomputing activations changes no bit, draws included`() throws {
    let model = try model("mosa", ["splits": "3", "share": "none"])
    var settings = TrainingSettings()
    (settings.batchSize, settings.learningRate) = (2, 0.01)
    settings.schedule = Schedule(.constant, total: 6)
    var plain = TrainingRun(model, AdamW(), settings, on: examples, seed: 1)
    settings.recomputes = true
    var recomputing = TrainingRun(model, AdamW(), settings, on: examples, seed: 1)
    (plain.objective, recomputing.objective) = (.consistency(weight: 1), .consistency(weight: 1))
    #expect(try losses(&plain) == losses(&recomputing))
    #expect(
      zip(plain.model.trainableParameters, recomputing.model.trainableParameters).allSatisfy { $0.value == $1.value })
  }
}
