import Autodiff
import Files
import Networks
import Testing

/// Networks of images against transformers 5.23: three images of 32 × 32.
struct ImageNetworkTests {
  private func load(_ name: String) throws -> (network: any ImageNetwork, images: Tensor, reference: Safetensors) {
    let folder = "\(fixtures)/models/\(name)"
    let reference = try Safetensors(folder + "/reference.safetensors")
    let entry = try reference.entry("pixel_values")
    return (
      try ImageCheckpoint(folder).network(), Tensor(try entry.floats(), shape: Shape(entry.shape)), reference
    )
  }

  private func distance(_ a: Tensor, _ b: [Float]) -> Float {
    a.count == b.count ? zip(a.values, b).reduce(0) { max($0, abs($1.0 - $1.1)) } : .infinity
  }

  @Test(arguments: ["resnet", "vit-tiny"])
  func `The logits are those of transformers`(_ name: String) throws {
    let (network, images, reference) = try load(name)
    #expect(distance(network.logits(ofImages: images), try reference.entry("logits").floats()) < 2e-5)
    let labels = try reference.entry("labels").integers().map(Int32.init)
    let loss = network.lossSum(images, labels: labels, Context()).scalar / Float(labels.count)
    #expect(abs(loss - (try reference.entry("loss").floats()[0])) < 1e-5)
  }

  @Test(arguments: ["resnet", "vit-tiny"])
  func `Stages run one by one give what they give together`(_ name: String) throws {
    let (network, images, _) = try load(name)
    let count = network.stageNames.count
    let whole = network.output(of: 0..<count, entering: images, Context())
    #expect(whole.shape == [images.shape[0], network.featureWidth])
    var h = images
    for stage in 0..<count { h = network.output(of: stage..<stage + 1, entering: h, Context()) }
    #expect(h == whole)
    #expect(network.output(of: count..<count, entering: whole, Context()) == whole)
  }

  @Test func `Behind the groups of a ResNet lie transformers' hidden states`() throws {
    let (network, images, reference) = try load("resnet")
    for (stages, name) in [(1, "hidden_states.0"), (2, "hidden_states.1")] {
      let h = network.output(of: 0..<stages, entering: images, Context())
      #expect(distance(h, try reference.entry(name).floats()) < 2e-5)
    }
  }

  @Test(arguments: ["resnet", "vit-tiny"])
  func `Every part belongs to a stage or is the head`(_ name: String) throws {
    var (network, _, _) = try load(name)
    var names: [String] = []
    network.forEachParameter { name, _ in names.append(name) }
    network.forEachLinear { name, _ in names.append(name) }
    network.forEachConvolution { name, _ in names.append(name) }
    for name in names where network.stage(of: name) == nil { #expect(name.hasPrefix(network.headName)) }
    let used = Set(names.compactMap { network.stage(of: $0) })
    #expect(used == Set(network.stageNames.indices))
  }
}
