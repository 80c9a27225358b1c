import Adapters
import Autodiff
import Glibc
import Testing
import Text
import Weights

@testable import Networks
@testable import Training

/// What a run may make small besides cross-entropy.
struct ObjectiveTests {
  private let batch = TokenBatch([[3, 17, 29, 40, 55, 90], [5, 6, 7]])

  private func base() throws -> any TextNetwork { try Checkpoint("\(fixtures)/models/llama-untied").model() }

  private func adapted() throws -> any TextNetwork {
    var model = try base()
    try AdapterFolder.load("\(fixtures)/adapters/llama-untied/lora", onto: &model)
    return model
  }

  private func valueAndSlopes(_ objective: Objective, _ model: any TextNetwork) -> (value: Float, slopes: [Tensor]) {
    func open(_ model: some TextNetwork) -> (Float, [Tensor]) {
      let result = valueAndGradients(of: model) {
        objective.lossSum($0, batch, labels: batch.ids, Context(random: RandomKey(seed: 1)))
      }
      return (result.value, result.gradients)
    }
    return open(model)
  }

  @Test func `A model is nothing away from itself, and is pulled nowhere`() throws {
    let model = try adapted()
    let (value, slopes) = valueAndSlopes(.distillation(teacher: model, divergence: 1, crossEntropy: 0), model)
    #expect(value == 0 && !slopes.isEmpty)
    #expect(slopes.allSatisfy { $0.values.allSatisfy { $0 == 0 } })
  }

  @Test func `The two weights of distillation multiply its two parts`() throws {
    let model = try adapted(), teacher = try base()
    func value(_ divergence: Double, _ crossEntropy: Double) -> Float {
      valueAndSlopes(.distillation(teacher: teacher, divergence: divergence, crossEntropy: crossEntropy), model).value
    }
    let (apart, label) = (value(1, 0), value(0, 1))
    #expect(apart > 0.01)
    #expect(abs(label - valueAndSlopes(.crossEntropy, model).value) < 1e-4 * label)
    #expect(abs(value(2048, 200) - (2048 * apart + 200 * label)) < 1e-4 * value(2048, 200))
  }

  @Test func `Distillation is the divergence of the scored positions, summed`() throws {
    let model = try adapted(), teacher = try base()
    let (scored, _) = batch.scored(batch.ids)
    func probabilities(_ model: any TextNetwork) -> [[Double]] {
      let logits = model.logits(batch)
      return scored.map { row in
        let numbers = logits.rows(Int(row)..<Int(row) + 1).values.map { exp(Double($0)) }
        let total = numbers.reduce(0, +)
        return numbers.map { $0 / total }
      }
    }
    // Σ p ln(p / q) in Double.
    let wanted = zip(probabilities(teacher), probabilities(model)).reduce(0.0) { sum, row in
      sum + zip(row.0, row.1).reduce(0.0) { $0 + $1.0 * log($1.0 / $1.1) }
    }
    let (value, slopes) = valueAndSlopes(.distillation(teacher: teacher, divergence: 1, crossEntropy: 0), model)
    #expect(scored.count == 7 && abs(Double(value) - wanted) < 1e-4 * wanted)
    #expect(slopes.contains { $0.values.contains { $0 != 0 } })
  }

  @Test func `Distilling a perturbed adapter from what it was brings it back`() throws {
    let teacher = try adapted()
    var model = teacher
    model.forEachParameter { name, parameter in
      guard parameter.isTrainable else { return }
      parameter.value =
        parameter.value + .normal(parameter.value.shape, deviation: 0.02, from: RandomKey(seed: 2)[name])
    }
    var settings = TrainingSettings()
    (settings.learningRate, settings.schedule) = (2e-3, Schedule(.constant, total: 30))
    let examples = [[3, 17, 29, 40, 55, 90], [5, 6, 7, 8]].map { Example(ids: $0, labels: $0, source: "test") }
    var run = TrainingRun(model, AdamW(weightDecay: 0), settings, on: examples, seed: 0)
    run.objective = .distillation(teacher: teacher, divergence: 1, crossEntropy: 0)
    var losses: [Double] = []
    while let report = try run.next() { losses.append(report.loss) }
    #expect(losses.count == 30 && losses[29] < 0.2 * losses[0])
  }

  @Test func `Two passes are pulled together by half their divergence each way`() {
    // Notes on methods A, 5.11: p₁ = (.7, .2, .1), p₂ = (.5, .3, .2) give ½ (KL + KL) = 0.0885778 and on z₁ the gradient
    // ½ (p₁ − p₂) = (.1, −.05, −.05); on z₂ the opposite, by symmetry, and nothing else, cross-entropy seeing z₁ alone.
    let model = TwoFaced([0.7, 0.2, 0.1], [0.5, 0.3, 0.2])
    func measure(_ weight: Double) -> (value: Float, slopes: [Tensor]) {
      let result = valueAndGradients(of: model) {
        Objective.consistency(weight: weight).lossSum(
          $0, TokenBatch([[0, 1]]), labels: [0, 1], Context(random: model.first))
      }
      return (result.value, result.gradients)
    }
    let (alone, together) = (measure(0), measure(1))
    // −ln p₁(1) and p₁ − (0, 1, 0).
    #expect(abs(alone.value + Float(log(0.2))) < 1e-6)
    expect(alone.slopes[0], [0.7, -0.8, 0.1])
    expect(alone.slopes[1], [0, 0, 0])
    #expect(abs(together.value - alone.value - 0.0885778) < 1e-6)
    expect(together.slopes[0] - alone.slopes[0], [0.1, -0.05, -0.05])
    expect(together.slopes[1], [-0.1, 0.05, 0.05])
    let double = measure(2)
    expect(double.slopes[1], [-0.2, 0.1, 0.1])
  }

  @Test func `Passes without chance in them agree, and cost what one does`() throws {
    let model = try adapted()
    let (one, slopes) = valueAndSlopes(.crossEntropy, model)
    let (two, doubled) = valueAndSlopes(.consistency(weight: 3), model)
    #expect(abs(one - two) < 1e-4 * one)
    for (a, b) in zip(slopes, doubled) {
      let size = a.values.reduce(1e-6) { max($0, abs($1)) }
      #expect(zip(a.values, b.values).allSatisfy { abs($0 - $1) < 1e-4 * size })
    }
  }

  private func expect(_ tensor: Tensor, _ wanted: [Float]) {
    #expect(
      tensor.count == wanted.count && zip(tensor.values, wanted).allSatisfy { abs($0 - $1) < 1e-6 }, "\(tensor.values)")
  }
}

/// A model of three words whose logits are its parameters: one set for the pass with a certain key, one for any other.
private struct TwoFaced: LanguageModel {
  let first = RandomKey(seed: 9)
  var here: Parameter, there: Parameter

  init(_ p: [Float], _ q: [Float]) {
    (here, there) = (Parameter(Tensor(p.map(logf), shape: [1, 3])), Parameter(Tensor(q.map(logf), shape: [1, 3])))
  }

  let vocabularySize = 3, contextLength = 8, tiesHead = false, blockCount = 0
  var frozenHead: FrozenWeight? { nil }
  func embedded(_ batch: TokenBatch, _ context: Context) -> Tensor { .zeros([batch.ids.count, 1]) }
  func hidden(_ h: Tensor, through blocks: Range<Int>, of batch: TokenBatch, _ context: Context) -> Tensor { h }
  func states(_ batch: TokenBatch, _ context: Context) -> Tensor { embedded(batch, context) }
  func states(_ ids: [Int32], cache: KeyValueCache) -> Tensor { .zeros([ids.count, 1]) }
  func makeCache() -> KeyValueCache { KeyValueCache(layers: 0, width: 1) }
  func logits(_ states: Tensor, _ context: Context) -> Tensor {
    context.random == first ? here.value : there.value
  }
  mutating func visit(_ visitor: Visitor) {
    visitor("here", &here)
    visitor("there", &there)
  }
}
