import Autodiff
import Files
import Foundation
import Networks
import Testing

/// Tiny networks, by transformers or by make_images.py.
private let imageModels = [
  "resnet", "vit-tiny", "dinov2-tiny", "clip-tiny", "efficientnet-lite-tiny", "mobilenet-tiny", "cifar-tiny",
]

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

  @Test(arguments: imageModels)
  func `The logits are those of transformers`(_ name: String) throws {
    let (network, images, reference) = try load(name)
    #expect(distance(network.logits(ofImages: images), try reference.entry("logits").floats()) < 2e-5)
    let labels = try reference.entry("labels").integers().map(Int32.init)
    let loss = network.lossSum(images, labels: labels, Context()).scalar / Float(labels.count)
    #expect(abs(loss - (try reference.entry("loss").floats()[0])) < 1e-5)
  }

  @Test(arguments: imageModels)
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

  @Test(arguments: imageModels)
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

  @Test func `Images of another size read an interpolated table of positions as transformers does`() throws {
    let (network, _, reference) = try load("dinov2-tiny")
    let entry = try reference.entry("wide.pixel_values")
    let logits = network.logits(ofImages: Tensor(try entry.floats(), shape: Shape(entry.shape)))
    #expect(distance(logits, try reference.entry("wide.logits").floats()) < 5e-5)
  }

  @Test func `The images' side of a CLIP gives what transformers pools, alone or in a file that holds texts too`()
    throws
  {
    let folder = "\(fixtures)/models/clip-tiny"
    let (_, images, reference) = try load("clip-tiny")
    guard case .object(var keys) = try JSON.read(folder + "/config.json"),
      case .object(var tower)? = keys["vision_config"]
    else { return }
    // Neither is a classifier; the tower's own configuration is the section of the whole one.
    keys["architectures"] = .array([.string("CLIPModel")])
    tower["architectures"] = .array([.string("CLIPVisionModel")])
    let file = try Safetensors(folder + "/model.safetensors")
    let texts = [
      "text_model.final_layer_norm.weight", "text_projection.weight", "visual_projection.weight", "logit_scale",
    ]
    let scratch = FileManager.default.temporaryDirectory.appendingPathComponent("graft-\(UUID().uuidString)").path
    try Folder.create(scratch)
    try Safetensors.write(
      try file.names.filter { !$0.hasPrefix("classifier") }.map {
        TensorToWrite(name: $0, floats: try file.entry($0).floats(), shape: try file.entry($0).shape)
      } + texts.map { TensorToWrite(name: $0, floats: [1, 2], shape: [2]) }, to: scratch + "/model.safetensors")
    for keys in [keys, tower] {
      try AtomicFile.write(JSON.object(keys).text(), to: scratch + "/config.json")
      let network = try ImageCheckpoint(scratch).network()
      #expect(network.labels.isEmpty && network.featureWidth == 24)
      let count = network.stageNames.count
      let pooled = network.output(of: 0..<count, entering: images, Context())
      #expect(distance(pooled, try reference.entry("pooled").floats()) < 2e-5)
      let wide = try reference.entry("wide.pixel_values")
      let other = network.output(
        of: 0..<count, entering: Tensor(try wide.floats(), shape: Shape(wide.shape)), Context())
      #expect(distance(other, try reference.entry("wide.pooled").floats()) < 5e-5)
    }
  }

  @Test func `A network cut to its trunk gives the map behind it and leaves the rest of the file alone`() throws {
    let folder = "\(fixtures)/models/cifar-tiny"
    let (_, images, reference) = try load("cifar-tiny")
    guard case .object(var keys) = try JSON.read(folder + "/config.json") else { return }
    keys["trunk"] = .integer(2)
    let source = try SafetensorsSource(folder: folder)
    let network = try ImageCheckpoint(configuration: .object(keys), path: folder).network(from: source)
    #expect(network.stageNames == ["layers.0", "layers.1"] && network.labels.isEmpty && source.unused.isEmpty)
    let features = network.output(of: 0..<2, entering: images, Context())
    #expect(features.shape == [3, network.featureWidth])
    #expect(distance(features, try reference.entry("trunk").floats()) < 2e-5)
  }

  @Test func `Norms that learn move their moments as PyTorch's do, batch after batch`() throws {
    func follow(_ network: some ImageNetwork, _ images: Tensor, _ expected: Safetensors) throws {
      var network = network
      network.forEachBatchNorm { $1.learnsMoments = true }
      let size = images.count / images.shape[0]
      let turned = Tensor(
        (0..<images.shape[0]).reversed().flatMap { images.values[$0 * size..<($0 + 1) * size].map { 2 * $0 } },
        shape: images.shape)
      for (x, name) in [(images, "logits"), (turned, "second")] {
        let context = Context(random: RandomKey(seed: 1), moments: MomentRecorder())
        #expect(distance(network.logits(ofImages: x, context), try expected.entry(name).floats()) < 1e-4)
        network.learnMoments(from: try #require(context.moments))
      }
      var compared = 0
      network.forEachBatchNorm { name, norm in
        for (key, ours) in [("running_mean", norm.moments.mean), ("running_var", norm.moments.variance)] {
          guard let theirs = try? expected.entry("\(name).\(key)").floats() else { continue }
          #expect(distance(ours, theirs) < 1e-5 * (1 + (theirs.map(abs).max() ?? 0)), "\(name).\(key)")
          compared += 1
        }
      }
      #expect(compared == expected.names.count { $0.contains("running") } && compared > 10)
      // Outside training the batch is not looked at.
      #expect(network.logits(ofImages: images) == network.logits(ofImages: images, Context(moments: MomentRecorder())))
    }
    let (network, images, _) = try load("resnet")
    try follow(network, images, try Safetensors("\(fixtures)/models/resnet/training.safetensors"))
  }

  @Test func `A fresh head has a row a class and names them`() throws {
    var (network, images, _) = try load("mobilenet-tiny")
    network.setHead(labels: ["cat", "dog"], random: RandomKey(seed: 3))
    #expect(network.labels == ["cat", "dog"] && network.logits(ofImages: images).shape == [3, 2])
  }

  @Test func `Recomputing activations changes no bit of the loss`() throws {
    let (network, images, _) = try load("mobilenet-tiny")
    let plain = network.lossSum(images, labels: [0, 1, 2], Context())
    #expect(network.lossSum(images, labels: [0, 1, 2], Context(recomputes: true)) == plain)
  }

  @Test func `Published names are those of the packages that hold the weights`() {
    #expect(PublishedNames.efficientNetLite("stem.normalization.running_var") == "_bn0.running_var")
    #expect(
      PublishedNames.efficientNetLite("blocks.3.depthwise.convolution.weight") == "_blocks.3._depthwise_conv.weight")
    #expect(PublishedNames.efficientNetLite("blocks.3.project.normalization.bias") == "_blocks.3._bn2.bias")
    #expect(PublishedNames.efficientNetLite("classifier.weight") == "_fc.weight")
    #expect(
      PublishedNames.mobileNetV2("blocks.0.project.normalization.weight")! == ("expanded_conv_project_BN", "gamma"))
    #expect(PublishedNames.mobileNetV2("blocks.7.expand.convolution.weight")! == ("block_7_expand", "kernel"))
    #expect(
      PublishedNames.plainCNN("layers.2.normalization.running_mean", denseLayers: 2)! == (
        "batch_normalization_2", "moving_mean"
      ))
    #expect(PublishedNames.plainCNN("classifier.bias", denseLayers: 2)! == ("dense_2", "bias"))
    #expect(PublishedNames.efficientNetLite("other.weight") == nil)
  }

  @Test func `Bytes are scaled channel by channel`() {
    let scaling = PixelScaling(scale: 0.5, mean: [1, 2], deviation: [1, 4])
    // (10 · 0.5 − 1) / 1 = 4 and (20 · 0.5 − 2) / 4 = 2.
    #expect(scaling.numbers([10, 20], ImageShape(channels: 2, height: 1, width: 1)).values == [4, 2])
  }

  @Test(arguments: [
    (#"{"model_type": "efficientnet-lite", "blocks": [[1, 16, 4, 1, 1]]}"#, "key 'blocks'"),
    (#"{"model_type": "cifar-cnn", "image_size": 5}"#, "key 'channels'"),
    (#"{"model_type": "resnet", "hidden_act": "gelu"}"#, "key 'hidden_act'"),
    (#"{"model_type": "resnet", "depths": [1]}"#, "key 'depths'"),
    (#"{"model_type": "vit", "image_size": 8}"#, "key 'patch_size'"),
    (#"{"model_type": "dinov2", "use_swiglu_ffn": true}"#, "key 'use_swiglu_ffn'"),
    (#"{"model_type": "resnet", "image_std": [0, 1, 1]}"#, "key 'image_std'"),
    (#"{"model_type": "swin"}"#, "key 'model_type'"),
  ])
  func `A configuration that makes no network is refused by its key`(_ text: String, _ key: String) throws {
    let checkpoint = ImageCheckpoint(configuration: try JSON(parsing: text), path: "folder")
    let error = #expect(throws: FileError.self) { try checkpoint.network(from: RandomWeights(RandomKey(seed: 0))) }
    #expect(error?.description.contains(key) == true)
  }

  @Test(arguments: ["resnet", "dinov2-tiny", "mobilenet-tiny", "cifar-tiny"])
  func `A checkpoint without a head gives features and no classes`(_ name: String) throws {
    let (whole, images, _) = try load(name)
    let source = try Safetensors("\(fixtures)/models/\(name)/model.safetensors")
    let folder = NSTemporaryDirectory() + "graft-" + UUID().uuidString
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try Folder.create(folder)
    try FileManager.default.copyItem(
      atPath: "\(fixtures)/models/\(name)/config.json", toPath: folder + "/config.json")
    // Without the classifier; a bare ResNet or DINOv2 has no prefix either.
    let kept = try source.names.filter { !$0.hasPrefix("classifier") }.map { name in
      var bare = name
      for prefix in ["resnet.", "dinov2."] where bare.hasPrefix(prefix) { bare.removeFirst(prefix.count) }
      let entry = try source.entry(name)
      return TensorToWrite(name: bare, floats: entry.type == .f32 ? try entry.floats() : [0], shape: entry.shape)
    }
    try Safetensors.write(kept, metadata: [:], to: folder + "/model.safetensors")
    let network = try ImageCheckpoint(folder).network()
    #expect(network.labels.isEmpty)
    let count = network.stageNames.count
    #expect(
      network.output(of: 0..<count, entering: images, Context())
        == whole.output(of: 0..<count, entering: images, Context()))
  }
}
