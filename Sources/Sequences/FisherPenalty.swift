import Autodiff
import Networks

/// λ/2 Σ F (θ − θ*)² over everything but the output layer, F and θ* of the tasks before (Kirkpatrick et al. 2017).
struct FisherPenalty: Sendable {
  private(set) var terms: [(name: String, fisher: Tensor, centre: Tensor)] = []
  let weight: Float

  /// No term yet.
  init(weight: Double) { self.weight = Float(weight) }

  func value(_ network: some ImageNetwork) -> Tensor {
    var parameters: [String: Tensor] = [:]
    var copy = network
    copy.forEachParameter { name, parameter in if parameter.isTrainable { parameters[name] = parameter.value } }
    return terms.reduce(Tensor(0)) { sum, term in
      guard let value = parameters[term.name] else { return sum }
      let distance = value - term.centre
      return sum + (weight / 2) * (term.fisher * distance * distance).sum
    }
  }

  /// Adds what a learned task needs: the mean over its images of the squared gradient of each one's own log-likelihood.
  mutating func add(_ network: any ImageNetwork, on batches: TaskBatches, images: Int) throws {
    func gradients(_ network: some ImageNetwork, _ batch: TaskBatches.Batch) -> [Tensor] {
      valueAndGradients(of: network) { network in
        let context = Context(task: batch.task)
        let features = network.output(of: batch.stage..<network.stageNames.count, entering: batch.input, context)
        let logits = network.logits(features, context) + [batch].mask(classes: network.head.base.outputs)
        return crossEntropySum(logits, labels: batch.labels)
      }.gradients
    }
    func open(_ batch: TaskBatches.Batch) -> [Tensor] { gradients(network, batch) }
    let parameters = network.trainableParameters, count = min(images, batches.count)
    var sums = parameters.map { Tensor.zeros($0.value.shape) }
    for image in 0..<count {
      let found = open(try batches.batch(image, of: 0, size: 1))
      sums = zip(sums, found).map { $0 + $1.detached * $1.detached }
    }
    for (parameter, sum) in zip(parameters, sums) where !parameter.name.hasPrefix(network.headName + ".") {
      terms.append((parameter.name, (1 / Float(max(1, count))) * sum, parameter.value.detached))
    }
  }
}
