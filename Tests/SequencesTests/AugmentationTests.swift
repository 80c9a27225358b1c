import Adapters
import Autodiff
import Files
import Foundation
import Images
import Networks
import Testing
import Training

@testable import Sequences

/// The laws of sequences whose training images are augmented.
struct AugmentationTests {
  private let images = StripedImages()
  private let lively = {
    var augmentation = ImageAugmentation()
    (augmentation.rotation, augmentation.padding, augmentation.flips) = (10, 2, true)
    (augmentation.brightness, augmentation.contrast) = (0.2, 0.2)
    return augmentation
  }()

  private func settings(_ augmentation: ImageAugmentation?) -> SequenceSettings {
    var settings = images.settings
    (settings.augmentation, settings.epochs) = (augmentation, 2)
    return settings
  }

  private func run(
    _ strategy: SequenceStrategy, _ tasks: [ImageTask], in place: String, _ augmentation: ImageAugmentation?
  ) throws -> SequenceResult {
    try images.run(SequenceMethod(strategy), tasks, in: place, settings(augmentation))
  }

  private func sequence(
    _ strategy: SequenceStrategy, in place: String, _ settings: SequenceSettings
  ) throws
    -> SequenceRun
  {
    try SequenceRun(
      SequenceMethod(strategy), on: try images.network(), try images.tasks(), images.preparation, settings,
      folder: "\(images.folder)/\(place)")
  }

  private func state(_ place: String) throws -> Data {
    try Data(contentsOf: URL(fileURLWithPath: "\(images.folder)/\(place)/state.safetensors"))
  }

  private func source(_ augmentation: ImageAugmentation?) -> BatchSource {
    var preparation = images.preparation
    preparation.augmentation = augmentation
    return .images(preparation)
  }

  /// A network that learns its norms and an output layer of two classes.
  private func learner() throws -> any ImageNetwork {
    var learner = try images.network()
    learner.setHead(labels: ["a", "b"], random: RandomKey(seed: 5))
    learner.forEachBatchNorm { _, norm in
      norm.learnsMoments = true
      (norm.weight.isTrainable, norm.bias.isTrainable) = (true, true)
    }
    return learner
  }

  @Test func `An augmentation that changes nothing ends at the bits of none`() throws {
    let tasks = try images.tasks(), still = ImageAugmentation(), key = RandomKey(seed: 3)
    let ends = try [nil, still, lively].map { augmentation in
      let batches = TaskBatches(tasks[0].train, classes: 0..<2, from: source(augmentation), random: key)
      var training = TaskTraining(try learner(), on: [batches], settings(nil), random: key)
      for _ in 0..<2 { _ = try training.run() }
      return training.network.trainableParameters.map(\.value)
    }
    #expect(ends[0] == ends[1] && ends[0] != ends[2])
    for strategy in [SequenceStrategy.head, .clr] {
      let places = ["none", "still", "lively"].map { "\($0)-\(strategy)" }
      for (place, augmentation) in zip(places, [nil, still, lively]) {
        _ = try run(strategy, tasks, in: place, augmentation)
      }
      let states = try places.map { try state($0 + "/2-south") }
      #expect(states[0] == states[1] && states[0] != states[2], "\(strategy)")
    }
  }

  @Test func `An image is changed anew in each pass, and alike whenever the pass is asked for again`() throws {
    let task = try images.tasks()[0], count = task.train.indices.count
    let batches = TaskBatches(task.train, classes: 0..<2, from: source(lively), random: RandomKey(seed: 4))
    func changed(_ number: Int, size: Int, step: Int = 0) throws -> [Int: [Float]] {
      let pass = number &* 1_000_003 &+ step / ((count + size - 1) / size)
      let order = RandomKey(seed: 4)["order"][pass].permutation(count)
      var epoch = batches.epoch(number, size: size)
      let values = try epoch.batch(step).input
      return Dictionary(
        uniqueKeysWithValues: (0..<values.shape[0]).map { (order[$0], values.rows($0..<$0 + 1).values) })
    }
    let first = try changed(0, size: count), few = try changed(0, size: 5)
    #expect(few.count == 5 && few.allSatisfy { first[$0.key] == $0.value })
    for other in [try changed(1, size: count), try changed(0, size: count, step: 1)] {
      #expect(other.keys.sorted() == first.keys.sorted() && other.allSatisfy { first[$0.key] != $0.value })
    }
    var plain = batches.epoch(0, size: count, augmenting: false)
    let order = RandomKey(seed: 4)["order"][0].permutation(count).map { task.train.indices[$0] }
    #expect(try plain.batch(0).input == images.preparation.batch(of: task.train.set, at: order))
  }

  @Test(arguments: [SequenceStrategy.head, .clr])
  func `Tasks that share nothing come out the same in any order when their images are augmented`(
    _ strategy: SequenceStrategy
  ) throws {
    let tasks = try images.tasks()
    let forward = try run(strategy, tasks, in: "forward", lively),
      backward = try run(strategy, tasks.reversed(), in: "backward", lively)
    #expect(forward.outputsUnchanged == true && backward.outputsUnchanged == true)
    #expect(forward.predictions == backward.predictions.reversed())
    #expect(try state("forward/1-north") == state("backward/2-north"))
    #expect(try state("forward/2-south") == state("backward/1-south"))
  }

  @Test func `Going on from any epoch on augmented images ends at the same bits as never stopping`() throws {
    let tasks = try images.tasks(), key = RandomKey(seed: 9), folder = images.folder
    func training() throws -> TaskTraining {
      let batches = TaskBatches(tasks[0].train, classes: 0..<2, from: source(lively), random: key)
      return TaskTraining(try learner(), on: [batches], images.settings, random: key)
    }
    func bytes(_ training: TaskTraining) throws -> Data {
      try TaskState(of: training.network).write(to: folder + "/state.safetensors")
      return try Data(contentsOf: URL(fileURLWithPath: folder + "/state.safetensors"))
    }
    var whole = try training()
    for _ in 0..<4 { _ = try whole.run() }
    for left in 1...3 {
      var first = try training()
      for _ in 0..<left { _ = try first.run() }
      try first.save(to: folder + "/left")
      var second = try training()
      try second.restore(from: folder + "/left")
      while second.epoch < 4 { _ = try second.run() }
      #expect(try bytes(second) == bytes(whole))
    }
  }

  @Test func `Test images are measured as they are, by the features that are kept without augmentation`() throws {
    let tasks = try images.tasks(), network = try images.network(), stage = network.stageNames.count
    _ = try run(.head, tasks, in: "plain", nil)
    let result = try run(.head, tasks, in: "augmented", lively)
    for task in tasks {
      let kept = try ["plain", "augmented"].map { place in
        try FeatureCache(
          network, before: stage, of: task.test, images.preparation,
          at: "\(images.folder)/\(place)/features/\(task.name)-test-\(stage).h5"
        ).rows(Array(task.test.indices.indices))
      }
      #expect(kept[0] == kept[1])
    }
    // Nothing is kept of images that are new each time.
    let names = Folder.names(in: images.folder + "/augmented/features")
    #expect(names == tasks.map { "\($0.name)-test-\(stage).h5" })
    // What was learned, judged where nothing is augmented.
    let judge = try sequence(.head, in: "augmented", settings(nil))
    for (number, task) in tasks.enumerated() {
      let logits = try judge.logits(try judge.served(number), number, 0..<2)
      #expect(result.matrix[1, number] == judge.accuracy(logits, task))
    }
  }

  @Test func `Whatever is measured of training images is measured on them as they are`() throws {
    let tasks = try images.tasks(), learner = try learner(), task = tasks[0]
    // What EWC holds: Σ F (θ + 1) − Σ F θ = Σ F.
    let fishers = try [nil, lively].map { augmentation in
      let batches = TaskBatches(task.train, classes: 0..<2, from: source(augmentation), random: RandomKey(seed: 2))
      var anchor = Anchor(weight: 1)
      try anchor.add(learner, on: batches, images: 6, withHead: true)
      let moved = learner.trainableParameters.map {
        TrainableParameter(name: $0.name, role: $0.role, value: $0.value + 1)
      }
      return anchor.added(to: moved.map { .zeros($0.value.shape) }, of: moved)
    }
    #expect(fishers[0] == fishers[1] && fishers[0].contains { $0.values.contains { $0 > 0 } })
    // What describes MOS's classes and is solved by the probe, and what EAR's gate sees.
    for keeps in [true, false] {
      let runs = try [nil, lively].map { augmentation in
        var settings = settings(augmentation)
        settings.keepsFeatures = keeps
        return try sequence(.head, in: "measured-\(keeps)-\(augmentation == nil)", settings)
      }
      let features = try runs.map { try $0.bodyFeatures(learner, task.train, task, "train") }
      #expect(features[0] == features[1])
      let seen = try runs.map { try $0.describer().descriptions(of: task.train.set, at: task.train.indices) }
      #expect(seen[0] == seen[1])
    }
    let plain = try run(.probe, tasks, in: "probe-plain", nil),
      augmented = try run(.probe, tasks, in: "probe-augmented", lively)
    #expect(plain.predictions == augmented.predictions)
    #expect(try state("probe-plain/1-north") == state("probe-augmented/1-north"))
  }

  @Test func `Frozen stages run anew where images are augmented and features are to be kept`() throws {
    var unkept = settings(lively)
    unkept.keepsFeatures = false
    let wanted: [(SequenceStrategy, SequenceSettings, Bool)] = [
      (.head, settings(lively), true), (.head, settings(nil), false), (.head, settings(ImageAugmentation()), false),
      (.head, unkept, false), (.clr, settings(lively), false), (.probe, settings(lively), false),
    ]
    for (strategy, settings, isAnew) in wanted {
      #expect(try sequence(strategy, in: "anew", settings).augmentsBelowKeptFeatures() == isAnew, "\(strategy)")
    }
  }

  @Test func `Settings have another mark for each augmentation, and that of none where nothing is changed`() {
    let changes: [(inout ImageAugmentation) -> Void] = [
      { $0.rotation = 5 }, { $0.padding = 1 }, { $0.flips = true }, { $0.brightness = 0.1 }, { $0.contrast = 0.1 },
    ]
    let marks = changes.map { change in
      var augmentation = ImageAugmentation()
      change(&augmentation)
      return settings(augmentation).mark
    }
    #expect(Set(marks + [settings(nil).mark]).count == 6)
    #expect(settings(ImageAugmentation()).mark == settings(nil).mark)
  }

  @Test func `An image is not moved out of sight`() throws {
    var wide = ImageAugmentation()
    wide.padding = 16
    let error = #expect(throws: GraftError.self) { _ = try sequence(.head, in: "wide", settings(wide)) }
    #expect(error?.key == "augment.crop_padding")
    #expect(error?.description == "images of 16 × 16 cannot be moved by up to 16 pixels; expected 0 to 15")
    wide.padding = 15
    #expect(throws: Never.self) { _ = try sequence(.head, in: "wide", settings(wide)) }
  }
}
