import Adapters
import Networks
import Training

/// What a run shows of its result: that the file is right, and what folding it would cost.
struct RunProof {
  let plan: RunPlan
  let trained: any TextNetwork

  /// Loads what was saved in `folder` and compares it with what was trained: only the file can show that the file is
  /// right. Bit for bit, unless the adapter is stored for the untouched base while training changed it.
  ///
  /// - Throws: a ``TrainingError`` when the two do not compute the same.
  func readBack(from folder: String, _ say: (String) -> Void) throws -> LoadedModel {
    var again = try LoadedModel(plan.model.checkpoint.path)
    try again.attach(folder)
    let ids = Array((plan.data.heldOut.first ?? plan.data.train[0]).ids.prefix(64))
    let tasks = trained.routesByTask ? plan.data.tasks : []
    func view(_ model: any TextNetwork, _ task: Int) -> any TextNetwork {
      tasks.isEmpty ? model : model.specialised(to: task)
    }
    var largest = 0.0, allowed = 0.0
    for task in 0..<max(1, tasks.count) {
      let proof = MergeProof(reference: view(trained, task), candidate: view(again.network, task), on: [ids])
      allowed = plan.storesAnotherForm ? 1e-4 * proof.largestLogit : 0
      guard proof.maxDifference <= allowed else {
        throw TrainingError(
          "the adapter read back from \(folder) does not compute what was trained (logits differ by \(number(proof.maxDifference)))"
        )
      }
      largest = max(largest, proof.maxDifference)
    }
    let on = "on \(ids.count) tokens" + (tasks.isEmpty ? "" : ", for each of \(tasks.count) tasks")
    if largest > 0 {
      say(
        "adapter read back from disk as plain LoRA over the untouched base: logits within \(number(largest)) of the trained model's (at most \(number(allowed)) allowed), \(on)"
      )
    } else {
      say("adapter read back from disk: logits equal to the trained model's, bit for bit, \(on)")
    }
    return again
  }

  /// The largest difference of a logit between the adapter beside its base and folded into it, in memory; or why it
  /// cannot fold.
  func fold(_ say: (String) -> Void) throws -> (error: Double?, reason: String?) {
    switch try Catalogue.merging(of: plan.configuration.plan.method, plan.configuration.plan.settings) {
    case .never(let reason): return (nil, reason)
    case .exact, .perTask: break
    }
    func open(_ model: some TextNetwork) -> any TextNetwork { model.merged() }
    // What routes by task folds once a task is chosen; the first stands for all.
    let model = trained.routesByTask ? trained.specialised(to: 0) : trained
    let examples = plan.data.heldOut.isEmpty ? plan.data.train : plan.data.heldOut
    let proof = MergeProof(reference: model, candidate: open(model), on: ProbeText.limited(examples.map(\.ids)))
    say("folded in memory: logits differ by at most \(number(proof.maxDifference)) on \(proof.tokens) tokens")
    return (proof.maxDifference, nil)
  }
}
