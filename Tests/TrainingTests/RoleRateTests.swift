import Adapters
import Autodiff
import Networks
import Testing
import Text

@testable import Training

/// Learning rates by what a parameter is in its equation.
struct RoleRateTests {
  /// A LoRA whose two factors are both other than zero, so that both move in the first step.
  private func start() throws -> any TextNetwork {
    var model = try Checkpoint("\(fixtures)/models/llama-untied").model()
    try AdapterFolder.load("\(fixtures)/adapters/llama-untied/lora", onto: &model)
    return model
  }

  /// What the first step adds to each parameter.
  private func firstStep(_ optimizer: any Optimizer, _ rates: [Role: Double]) throws -> [(role: Role, change: Tensor)] {
    let model = try start()
    var settings = TrainingSettings()
    (settings.learningRate, settings.maxGradientNorm, settings.roleRates) = (1e-3, 0, rates)
    let ids: [Int32] = [3, 17, 29, 40, 55, 90]
    var run = TrainingRun(
      model, optimizer, settings, on: [Example(ids: ids, labels: ids, source: "test")], seed: 0)
    _ = try run.next()
    return zip(model.trainableParameters, run.model.trainableParameters).map { ($0.role, $1.value - $0.value) }
  }

  @Test(arguments: ["adamw", "sgd"])
  func `A rate of 16 for B makes its first step 16 times as long and leaves A's alone`(_ name: String) throws {
    let optimizer: any Optimizer = name == "sgd" ? SGD() : AdamW(weightDecay: 0)
    // LoRA+ (Hayou et al. 2024): η for A, λ η for B.
    let plain = try firstStep(optimizer, [:]), plus = try firstStep(optimizer, [.factorB: 16])
    #expect(Set(plain.map(\.role)) == [.factorA, .factorB] && plain.count == plus.count)
    for (one, other) in zip(plain, plus) {
      let largest = one.change.values.reduce(0) { max($0, abs($1)) }
      #expect(largest > 0)
      if one.role == .factorA {
        let isSame = one.change == other.change
        #expect(isSame)
      } else {
        // What was added is known to about 2⁻²⁴ of a factor of size 0.1, 16 times in one of the two.
        let far = zip(one.change.values, other.change.values).reduce(0) { max($0, abs(16 * $1.0 - $1.1)) }
        #expect(far < 1e-3 * 16 * largest + 16e-8)
      }
    }
  }

  @Test func `A role that is not named has the run's rate`() throws {
    let plain = try firstStep(AdamW(), [:]), other = try firstStep(AdamW(), [.magnitude: 5, .factorA: 1])
    let isSame = zip(plain, other).allSatisfy { $0.change == $1.change }
    #expect(isSame)
  }

  @Test func `Decay leaves a router alone and pulls a factor to zero`() {
    func step(_ role: Role) -> Float {
      var optimizer = AdamW(weightDecay: 0.5)
      let parameter = TrainableParameter(name: "p", role: role, value: Tensor([2], shape: [1]))
      return optimizer.step([parameter], gradients: [.zeros([1])]) { _ in 0.1 }[0].values[0]
    }
    // p (1 − η λ) = 2 · 0.95.
    #expect(step(.router) == 2 && abs(step(.factorB) - 1.9) < 1e-6)
  }
}
