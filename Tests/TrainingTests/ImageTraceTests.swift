import Adapters
import Autodiff
import Files
import Networks
import Testing
import Training

/// Twelve steps of transformers 5.23, PEFT 0.21 and PyTorch 2.13 on tiny networks of images.
struct ImageTraceTests {
  @Test(arguments: ["resnet-lora-head-adamw-evalbn", "vit-lora-head-adamw"])
  func `Twelve steps of an adapter of images give PEFT's losses, norms and final weights`(_ name: String) throws {
    let folder = "\(fixtures)/traces/\(name)"
    let json = try JSON.read(folder + "/trace.json"), trace = try Safetensors(folder + "/trace.safetensors")
    let base = "\(fixtures)/models/\(try #require(json["model"]?.string))"
    var network = try ImageCheckpoint(base).network()
    try AdapterFolder.load(folder + "/init", onto: &network)
    let hyper = try #require(json["hyper"]), betas = hyper["betas"]?.array ?? []
    var optimizer = AdamW(
      beta1: betas.first?.double ?? 0, beta2: betas.last?.double ?? 0, epsilon: hyper["eps"]?.double ?? 0,
      weightDecay: hyper["weight_decay"]?.double ?? 0)
    func recorded(_ name: String) throws -> [Double] {
      try trace.entry(name).withBytes { Array($0.bindMemory(to: Double.self)) }
    }
    let (losses, norms, rates) = (try recorded("losses"), try recorded("grad_norms"), try recorded("lrs"))
    let pixels = try trace.entry("data.pixel_values"), all = try pixels.floats()
    let labels = try trace.entry("data.labels").integers().map(Int32.init), size = Array(pixels.shape.dropFirst())
    #expect(losses.count == 12 && (json["clip"]?.double ?? 0) == 0)
    for step in losses.indices {
      let batch = step % pixels.shape[0], count = size.reduce(1, *)
      let images = Tensor(Array(all[batch * count..<(batch + 1) * count]), shape: Shape(size))
      let own = Array(labels[batch * size[0]..<(batch + 1) * size[0]])
      // The trace left the norms as they were, so training and inference are one here.
      let (loss, gradients) = gradientsOfMean(network, images, own)
      #expect(abs(Double(loss) - losses[step]) < 1e-4, "loss of step \(step + 1)")
      let norm = globalNorm(gradients)
      #expect(abs(norm - norms[step]) < 1e-3 * max(1, norms[step]), "norm of step \(step + 1)")
      var updated = optimizer.step(network.trainableParameters, gradients: gradients) { _ in rates[step] }[...]
      network.forEachParameter { _, parameter in
        if parameter.isTrainable, let value = updated.popFirst() { parameter.value = value }
      }
    }
    var expected = try ImageCheckpoint(base).network()
    try AdapterFolder.load(folder + "/final", onto: &expected)
    let (ours, theirs) = (network.trainableParameters, expected.trainableParameters)
    #expect(ours.map(\.name) == theirs.map(\.name) && !ours.isEmpty)
    for (mine, their) in zip(ours, theirs) {
      let pairs = zip(mine.value.values, their.value.values)
      let difference = pairs.reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
      let length = their.value.values.reduce(0) { $0 + $1 * $1 }.squareRoot()
      #expect(difference <= 1e-3 * length + 1e-7, "\(mine.name): \(difference) of \(length)")
    }
  }

  private func gradientsOfMean(
    _ network: some ImageNetwork, _ images: Tensor, _ labels: [Int32]
  ) -> (Float, [Tensor]) {
    let (value, gradients) = valueAndGradients(of: network) { network in
      (1 / Float(labels.count)) * network.lossSum(images, labels: labels, Context())
    }
    return (value, gradients)
  }
}
