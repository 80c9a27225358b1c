import Autodiff
import Networks
import Training

extension Anchor {
  /// Holds what `network` has learned to where it is now, as so many of a task's images need it; the output layer where
  /// tasks share its classes.
  mutating func add(_ network: any ImageNetwork, on batches: TaskBatches, images: Int, withHead: Bool) throws {
    func gradients(_ network: some ImageNetwork, _ batch: TaskBatches.Batch) -> [Tensor] {
      valueAndGradients(of: network) { network in
        let context = Context(task: batch.task)
        let features = network.output(of: batch.stage..<network.stageNames.count, entering: batch.input, context)
        let logits = network.logits(features, context) + [batch].mask(classes: network.head.base.outputs)
        return crossEntropySum(logits, labels: batch.labels)
      }.gradients
    }
    func open(_ batch: TaskBatches.Batch) -> [Tensor] { gradients(network, batch) }
    let held = network.trainableParameters.enumerated().filter {
      withHead || !$0.element.name.hasPrefix(network.headName + ".")
    }
    // What a task needs is measured on its images as they are.
    var pass = batches.epoch(0, size: 1, augmenting: false)
    try add(held.map(\.element), examples: min(images, batches.count)) { image in
      let found = open(try pass.batch(image))
      return held.map { found[$0.offset] }
    }
  }
}
