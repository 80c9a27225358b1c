import Autodiff
import Networks
import Testing
import Text

@testable import Adapters
@testable import Training

struct DistillationTests {
  private let batch = TokenBatch([Array(3..<90), Array(5..<80)])

  private func loss(_ objective: Objective, _ model: any TextNetwork) -> Tensor {
    func open(_ model: some TextNetwork) -> Tensor {
      objective.lossSum(model, batch, labels: batch.ids, Context())
    }
    return open(model)
  }

  private func models() throws -> (teacher: any TextNetwork, student: any TextNetwork) {
    let teacher = try Checkpoint("\(fixtures)/models/llama-untied").model()
    var student = teacher
    try student.graft(GraftPlan(method: LoRA.method), random: RandomKey(seed: 1))
    student.forEachParameter { name, parameter in
      if parameter.isTrainable {
        parameter.value = .normal(parameter.value.shape, deviation: 0.1, from: RandomKey(seed: 2)[name])
      }
    }
    return (teacher, student)
  }

  @Test func `A model has no divergence from itself`() throws {
    let (teacher, student) = try models()
    #expect(loss(.distillation(teacher: teacher, divergence: 1, crossEntropy: 0), teacher).scalar < 1e-4)
    #expect(loss(.distillation(teacher: teacher, divergence: 1, crossEntropy: 0), student).scalar > 1)
  }

  @Test func `Both terms are sums over scored tokens, each times its weight`() throws {
    let (teacher, student) = try models()
    let scored = batch.scored(batch.ids), all = Set(scored.tokens)
    #expect(all.count == batch.ids.count - 2)
    let own = student.logits(batch).gathered(scored.tokens), wanted = teacher.logits(batch).gathered(scored.tokens)
    let divergence = divergenceSum(student: own, teacher: wanted).scalar
    let crossEntropy = crossEntropySum(own, labels: scored.targets).scalar
    let both = loss(.distillation(teacher: teacher, divergence: 0.5, crossEntropy: 2), student).scalar
    #expect(abs(both - (0.5 * divergence + 2 * crossEntropy)) < 1e-5 * both)
  }

  @Test func `Without divergence it is cross-entropy`() throws {
    let (teacher, student) = try models()
    let plain = loss(.crossEntropy, student).scalar
    #expect(
      abs(loss(.distillation(teacher: teacher, divergence: 0, crossEntropy: 1), student).scalar - plain) < 1e-5 * plain)
  }

  @Test func `Following the teacher brings the student nearer to it`() throws {
    let (teacher, student) = try models()
    var settings = TrainingSettings()
    settings.learningRate = 0.01
    settings.schedule = Schedule(.constant, total: 30)
    let examples = [Example(ids: batch.ids, labels: batch.ids, source: "test")]
    var run = TrainingRun(student, AdamW(weightDecay: 0), settings, on: examples, seed: 1)
    run.objective = .distillation(teacher: teacher, divergence: 1, crossEntropy: 0)
    let first = try run.next()?.loss ?? 0
    var last = first
    while let report = try run.next() { last = report.loss }
    #expect(last < 0.3 * first, "\(first) → \(last)")
  }
}
