import Autodiff
import Files
import Foundation
import Networks
import Testing

@testable import Adapters

/// Adapters PEFT 0.21 wrote for networks of images, and what it computes with them.
private let cases = ["resnet", "vit-tiny"].flatMap { model in
  ["lora", "lora-head", "rslora", "dora"].map { "\(model) \($0)" }
}

struct ImageAdapterTests {
  private struct Loaded {
    var network: any ImageNetwork
    let reference: Safetensors
    let images: Tensor
    let labels: [Int32]
  }

  private func load(_ name: String) throws -> Loaded {
    let parts = name.split(separator: " ").map(String.init)
    var network = try ImageCheckpoint("\(fixtures)/models/\(parts[0])").network()
    let folder = "\(fixtures)/adapters/\(parts[0])/\(parts[1])"
    try AdapterFolder.load(folder, onto: &network)
    let reference = try Safetensors(folder + "/reference.safetensors"), pixels = try reference.entry("pixel_values")
    return Loaded(
      network: network, reference: reference, images: Tensor(try pixels.floats(), shape: Shape(pixels.shape)),
      labels: try reference.entry("labels").integers().map(Int32.init))
  }

  private func distance(_ a: [Float], _ b: [Float]) -> Float {
    a.count == b.count ? zip(a, b).reduce(0) { max($0, abs($1.0 - $1.1)) } : .infinity
  }

  @Test(arguments: cases)
  func `An adapter of a network of images computes PEFT's logits and merged weights`(_ name: String) throws {
    let loaded = try load(name), reference = loaded.reference
    let logits = loaded.network.logits(ofImages: loaded.images)
    #expect(distance(logits.values, try reference.entry("logits").floats()) < 2e-5)
    func merged(_ network: some ImageNetwork) -> any ImageNetwork { network.merged() }
    var folded = merged(loaded.network)
    let after = folded.logits(ofImages: loaded.images)
    #expect(distance(after.values, try reference.entry("merged_logits").floats()) < 2e-5)
    var weights: [String: [Float]] = [:]
    folded.forEachLinear { weights["merged.\($0).weight"] = $1.base.weight.unpacked().values }
    folded.forEachConvolution { weights["merged.\($0).weight"] = $1.base.weight.unpacked().values }
    let stored = reference.names.filter { $0.hasPrefix("merged.") }
    #expect(!stored.isEmpty)
    for name in stored {
      #expect(distance(try #require(weights[name]), try reference.entry(name).floats()) < 1e-6, "\(name)")
    }
  }

  @Test(arguments: cases)
  func `Its gradients in a network of images are PEFT's`(_ name: String) throws {
    let loaded = try load(name), reference = loaded.reference
    let names = loaded.network.trainableParameters.map(\.name)
    var compared = 0
    for (name, gradient) in zip(names, gradientsOfMean(loaded.network, loaded.images, loaded.labels, Context()).1) {
      let stored = reference.names.first {
        $0.hasPrefix("grad.")
          && $0.replacingOccurrences(of: ".default", with: "").replacingOccurrences(of: ".modules_to_save", with: "")
            .replacingOccurrences(of: "lora_magnitude_vector.weight", with: "lora_magnitude_vector")
            == "grad.base_model.model." + name
      }
      let theirs = try reference.entry(try #require(stored, "\(name)")).floats()
      #expect(distance(gradient.values, theirs) < 2e-6 + 1e-4 * (theirs.map(abs).max() ?? 0), "\(name)")
      compared += 1
    }
    #expect(compared == reference.names.count { $0.hasPrefix("grad.") })
  }

  @Test(arguments: cases)
  func `Saving and loading an adapter of a network of images restores every bit`(_ name: String) throws {
    let loaded = try load(name), parts = name.split(separator: " ").map(String.init)
    let folder = NSTemporaryDirectory() + "graft-" + UUID().uuidString
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let path = "\(fixtures)/adapters/\(parts[0])/\(parts[1])/adapter_config.json"
    try AdapterFolder.save(loaded.network, try PEFTConfiguration(json: try JSON.read(path), path: path), to: folder)
    var again = try ImageCheckpoint("\(fixtures)/models/\(parts[0])").network()
    try AdapterFolder.load(folder, onto: &again)
    let (mine, theirs) = (loaded.network.trainableParameters, again.trainableParameters)
    #expect(mine.map(\.name) == theirs.map(\.name))
    #expect(zip(mine, theirs).allSatisfy { $0.value == $1.value })
  }

  @Test func `A low-rank change of a convolution in groups is refused by name`() throws {
    var network = try ImageCheckpoint("\(fixtures)/models/mobilenet-tiny").network()
    var plan = GraftPlan(method: LoRA.method)
    plan.targets = .names(["depthwise.convolution"])
    let error = #expect(throws: GraftError.self) { try network.graft(plan, random: RandomKey(seed: 0)) }
    #expect(error?.description.contains("'blocks.0.depthwise.convolution' is a convolution in 8 groups") == true)
  }

  @Test func `CLR's first step has the slopes that central differences give, through a whole network`() throws {
    var network = try ImageCheckpoint("\(fixtures)/models/mobilenet-tiny").network()
    var plan = GraftPlan(method: CLR.method)
    plan.settings.options["variant"] = "scalar"
    plan.modulesToSave = ["classifier"]
    try network.graft(plan, random: RandomKey(seed: 0))
    // Norms learn as well, so that no parameter is left out; their moments stay, as differences need.
    network.forEachBatchNorm { ($1.weight.isTrainable, $1.bias.isTrainable) = (true, true) }
    let x = Tensor.normal([2, 3, 24, 24], from: RandomKey(seed: 5)), labels: [Int32] = [1, 2]
    let (_, gradients) = gradientsOfMean(network, x, labels, Context())
    let parameters = network.trainableParameters
    #expect(parameters.count > 30)
    for (index, parameter) in parameters.enumerated() {
      // One direction a parameter; its slope is ⟨gradient, direction⟩.
      let direction = Tensor.normal(parameter.value.shape, from: RandomKey(seed: UInt64(index)))
      let size = direction.values.reduce(0) { $0 + $1 * $1 }.squareRoot(), step: Float = 4e-4
      func loss(_ sign: Float) -> Double {
        var moved = network
        moved.forEachParameter { name, p in
          if name == parameter.name { p.value = p.value + (sign * step / size) * direction }
        }
        return Double(moved.lossSum(x, labels: labels, Context()).scalar) / 2
      }
      let slope = (loss(1) - loss(-1)) / Double(2 * step)
      let ours = zip(gradients[index].values, direction.values).reduce(0.0) { $0 + Double($1.0 * $1.1) } / Double(size)
      // Float's rounding of the loss over the step, and the bends of relu6 within it.
      #expect(abs(slope - ours) < 3e-3 + 0.03 * abs(ours), "\(parameter.name): \(slope) and \(ours)")
    }
  }
}

/// The mean loss over images, and its gradient for each trainable parameter.
func gradientsOfMean(
  _ network: some ImageNetwork, _ images: Tensor, _ labels: [Int32], _ context: Context
) -> (Float, [Tensor]) {
  let (value, gradients) = valueAndGradients(of: network) { network in
    (1 / Float(labels.count)) * network.lossSum(images, labels: labels, context)
  }
  return (value, gradients)
}
