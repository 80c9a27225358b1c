import Adapters
import Autodiff
import Files
import Foundation
import Images
import Networks
import Testing

@testable import Sequences

/// Sequences on the small ResNet of the fixtures, over images whose class is how they are striped.
struct SequenceRunTests {
  private let images = StripedImages()
  private var folder: String { images.folder }
  private var preparation: ImagePreparation { images.preparation }
  private var settings: SequenceSettings { images.settings }

  private func network() throws -> any ImageNetwork { try images.network() }
  private func tasks() throws -> [ImageTask] { try images.tasks() }
  private func set(_ name: String, perClass: Int, seed: UInt64) throws -> ImageSet {
    try images.set(name, perClass: perClass, seed: seed)
  }
  private func run(_ strategy: SequenceStrategy, _ tasks: [ImageTask], in place: String) throws -> SequenceResult {
    try images.run(SequenceMethod(strategy), tasks, in: place)
  }

  @Test(arguments: [SequenceStrategy.head, .probe, .clr])
  func `Tasks that share nothing come out the same in any order, and stay bit for bit what they were`(
    _ strategy: SequenceStrategy
  ) throws {
    let tasks = try tasks()
    let forward = try run(strategy, tasks, in: "forward"),
      backward = try run(strategy, tasks.reversed(), in: "backward")
    #expect(forward.outputsUnchanged == true && backward.outputsUnchanged == true)
    #expect(forward.predictions == backward.predictions.reversed())
    #expect(forward.matrix.values[1] == backward.matrix.values[1].reversed())
    #expect(forward.matrix.forgettingFromBest == 0 && forward.matrix.backwardTransfer == 0)
    #expect((forward.matrix.averageAccuracy ?? 0) > 0.8, "\(forward.matrix)")
    // A file holds its numbers, their names and shapes.
    #expect(zip(forward.addedBytes, forward.added).allSatisfy { (1..<20_000).contains($0 - 4 * $1) })
    #expect(forward.addedBytes == backward.addedBytes.reversed() && forward.addedBytes.count == tasks.count)
  }

  @Test(arguments: [SequenceStrategy.head, .clr])
  func `What is changed on disk after it was learned is told, in a later run too`(_ strategy: SequenceStrategy) throws {
    let tasks = try tasks(), place = strategy.rawValue
    let first = try run(strategy, tasks, in: place), again = try run(strategy, tasks, in: place)
    #expect(first.outputsUnchanged == true && again.outputsUnchanged == true && again.matrix == first.matrix)
    let path = "\(folder)/\(place)/1-\(tasks[0].name)/state.safetensors", file = try Safetensors(path)
    let changed = try file.names.map { name in
      let entry = try file.entry(name), turned = try entry.floats().map { name.hasSuffix("weight") ? -$0 : $0 }
      return TensorToWrite(name: name, floats: turned, shape: entry.shape)
    }
    try Safetensors.write(changed, to: path)
    let later = try run(strategy, tasks, in: place)
    #expect(later.outputsUnchanged == false && later.matrix[1, 0] ?? 1 < first.matrix[1, 0] ?? 0, "\(later.matrix)")
  }

  @Test func `Strategies that share what learns begin alike, and what holds nothing is no other strategy`() throws {
    let tasks = try tasks(), shared = try run(.shared, tasks, in: "shared")
    var settings = settings
    settings.fisherWeight = 0
    let free = try images.run(SequenceMethod(.ewc), tasks, in: "free", settings)
    #expect(free.matrix == shared.matrix && free.predictions == shared.predictions)
    func state(_ run: String) throws -> [UInt8] {
      try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(run)/2-\(tasks[1].name)/state.safetensors")).map { $0 }
    }
    #expect(try state("free") == state("shared"))
    for strategy in [SequenceStrategy.replay, .joint] {
      let other = try run(strategy, tasks, in: strategy.rawValue)
      #expect(other.matrix.baseline == shared.matrix.baseline)
      if strategy == .replay { #expect(other.matrix.values[0] == shared.matrix.values[0]) }
    }
  }

  @Test func `Replay keeps the images of all tasks but the last, and pays for them`() throws {
    let tasks = try tasks(), shared = try run(.shared, tasks, in: "shared"),
      replay = try run(.replay, tasks, in: "replay")
    let images = tasks.dropLast().reduce(0) {
      $0 + min(settings.memory, $1.train.indices.count) * $1.train.set.imageBytes
    }
    #expect(images > 0 && replay.addedBytes == [shared.addedBytes[0] + images])
  }

  @Test func `EWC pays for two numbers for each of the body that it holds`() throws {
    let tasks = try tasks(), shared = try run(.shared, tasks, in: "shared"), ewc = try run(.ewc, tasks, in: "ewc")
    let file = try Safetensors("\(folder)/shared/2-\(tasks[1].name)/state.safetensors")
    let head = try network().headName + "."
    let held = try file.names.filter { !$0.hasPrefix(head) && !$0.contains("running_") }.reduce(0) {
      $0 + (try file.entry($1).count)
    }
    #expect(held > 0 && ewc.addedBytes == [shared.addedBytes[0] + 2 * 4 * held])
  }

  @Test func `Full is an adapter of type full that all tasks share, and learns the whole body`() throws {
    let tasks = try tasks(), full = try run(.full, tasks, in: "full")
    let named = SequenceMethod(.shared, adapter: GraftPlan(method: Full.method), name: "named")
    let shared = try images.run(named, tasks, in: "named")
    #expect(full.matrix == shared.matrix && full.predictions == shared.predictions && full.added == shared.added)
    let file = try Safetensors("\(folder)/full/2-\(tasks[1].name)/state.safetensors")
    var network = try network(), missing: [String] = []
    network.forEachConvolution { name, _ in if file[name + ".weight"] == nil { missing.append(name) } }
    #expect(missing.isEmpty && full.outputsUnchanged == nil)
    #expect(throws: GraftError.self) {
      try SequenceMethod(.full, adapter: GraftPlan(method: LoRA.method)).check(in: .task)
    }
  }

  @Test(arguments: [SequenceStrategy.shared, .full, .ewc, .replay, .joint])
  func `A strategy that shares what learns learns every task it has just seen`(_ strategy: SequenceStrategy) throws {
    let result = try run(strategy, try tasks(), in: strategy.rawValue)
    #expect((result.matrix[1, 1] ?? 0) > 0.8, "\(result.matrix)")
    #expect(result.outputsUnchanged == nil && result.added.count == 1)
    if strategy != .joint { #expect(result.matrix.forwardTransfer != nil && result.matrix.forgettingFromBest != nil) }
  }

  @Test func `Norms that keep the body's moments have none of their own to store`() throws {
    let tasks = try tasks(), learned = try run(.clr, tasks, in: "learned")
    var settings = settings
    settings.learnsMoments = false
    let kept = try SequenceRun(
      SequenceMethod(.clr), on: try network(), tasks, preparation, settings, folder: "\(folder)/kept"
    ).run { _ in }
    func names(_ run: String) throws -> [String] {
      try Safetensors("\(folder)/\(run)/1-\(tasks[0].name)/state.safetensors").names
    }
    #expect(try names("kept") == names("learned").filter { !$0.contains("running_") })
    #expect(kept.added[0] < learned.added[0] && kept.outputsUnchanged == true)
    #expect((kept.matrix.averageAccuracy ?? 0) > 0.8, "\(kept.matrix)")
  }

  @Test func `A finished run given again reads what it learned and learns nothing anew`() throws {
    let tasks = try tasks(), first = try run(.clr, tasks, in: "again")
    var lines: [String] = []
    let again = try SequenceRun(
      SequenceMethod(.clr), on: try network(), tasks, preparation, settings, folder: "\(folder)/again"
    )
    .run { lines.append($0) }
    #expect(again.matrix == first.matrix && again.predictions == first.predictions && again.seconds == first.seconds)
    #expect(lines.allSatisfy { !$0.contains("epoch") })
  }

  @Test func `Going on from any epoch ends at the same bits as never stopping`() throws {
    let tasks = try tasks()
    let batches = { (key: RandomKey) in
      TaskBatches(tasks[0].train, classes: 0..<2, from: .images(preparation), random: key)
    }
    var learner = try network()
    learner.setHead(labels: ["a", "b"], random: RandomKey(seed: 5))
    learner.forEachBatchNorm { _, norm in
      norm.learnsMoments = true
      (norm.weight.isTrainable, norm.bias.isTrainable) = (true, true)
    }
    let key = RandomKey(seed: 9)
    var whole = TaskTraining(learner, on: [batches(key)], settings, random: key)
    for _ in 0..<4 { _ = try whole.run() }
    for left in 1...3 {
      var first = TaskTraining(learner, on: [batches(key)], settings, random: key)
      for _ in 0..<left { _ = try first.run() }
      try first.save(to: folder + "/left")
      var second = TaskTraining(learner, on: [batches(key)], settings, random: key)
      try second.restore(from: folder + "/left")
      while second.epoch < 4 { _ = try second.run() }
      let (a, b) = (whole.network, second.network)
      #expect(a.trainableParameters.map(\.value) == b.trainableParameters.map(\.value))
      try TaskState(of: a).write(to: folder + "/a.safetensors")
      try TaskState(of: b).write(to: folder + "/b.safetensors")
      #expect(FileManager.default.contentsEqual(atPath: folder + "/a.safetensors", andPath: folder + "/b.safetensors"))
    }
  }

  @Test func `A task that ends leaves nothing of processes that were killed while they saved it`() throws {
    let tasks = try images.tasks(), half = folder + "/killed/1-north/unfinished"
    // Above any number that Linux gives a process, 2²².
    let left = [half + ".partial-99999999", half + ".partial-99999998"]
    for folder in left { try Folder.create(folder) }
    _ = try run(.head, tasks, in: "killed")
    #expect(
      Folder.names(in: folder + "/killed/1-north") == ["outputs.safetensors", "seconds.json", "state.safetensors"])
    // Killed after its last epoch, when nothing more is saved.
    for folder in left + [half] { try Folder.create(folder) }
    _ = try run(.head, tasks, in: "killed")
    #expect(
      Folder.names(in: folder + "/killed/1-north") == ["outputs.safetensors", "seconds.json", "state.safetensors"])
  }

  @Test func `Kept features are what the body makes of the images, bit for bit`() throws {
    let tasks = try tasks(), network = try network()
    let cache = try FeatureCache(
      network, before: network.stageNames.count, of: tasks[0].train, preparation, at: folder + "/features.h5",
      batchSize: 5)
    let images = try preparation.batch(of: tasks[0].train.set, at: [4, 1].map { tasks[0].train.indices[$0] })
    let features = network.output(of: 0..<network.stageNames.count, entering: images, Context())
    #expect(try cache.rows([4, 1]) == features)
    let again = try FeatureCache(
      network, before: network.stageNames.count, of: tasks[0].train, preparation, at: folder + "/features.h5")
    #expect(try again.rows([4, 1]) == features)
  }

  @Test func `Kept features tell their shape themselves, and the network does where they do not`() throws {
    let task = try tasks()[0], network = try network(), path = folder + "/shape.h5"
    let made = try FeatureCache(network, before: 1, of: task.train, preparation, at: path).rows([3, 0])
    #expect(made.shape.rank == 4)
    // Another network would make something else of the images, were it asked.
    let other = try images.network("vit-tiny")
    #expect(try FeatureCache(other, before: 1, of: task.train, preparation, at: path).rows([3, 0]) == made)
    // As earlier versions wrote it.
    let count = task.train.indices.count, width = made.count / 2, old = folder + "/old.h5"
    let file = try HDF5Rows(creating: old, count: count, width: width),
      source = try HDF5Rows(
        reading: path, count: count, width: width)
    var values = [Float](repeating: 0, count: count * width)
    try source.read(0..<count, into: &values)
    try file.write(values, to: 0..<count)
    try file.finish()
    #expect(try FeatureCache(network, before: 1, of: task.train, preparation, at: old).rows([3, 0]) == made)
  }

  @Test(arguments: ["resnet", "efficientnet-lite-tiny", "vit-tiny", "dinov2-tiny"])
  func `What stages below the first that learns make of images is read back to the bits of running them`(
    _ name: String
  ) throws {
    let tasks = try tasks(), network = try images.network(name), count = network.stageNames.count
    // Matrices as small as those of the tiny transformers are multiplied by another kernel when they have fewer rows, so
    // that these are compared batch by batch; real ones are compared in `ImageModelTests`.
    let isTransformer = name == "vit-tiny" || name == "dinov2-tiny"
    let rows = isTransformer ? [7, 8, 9, 10, 11, 12, 13] : [9, 0, 4]
    let batch = try preparation.batch(of: tasks[0].train.set, at: rows.map { tasks[0].train.indices[$0] })
    for stage in 1...count {
      for limit in [0, FeatureCache.mostHeld] {
        let cache = try FeatureCache(
          network, before: stage, of: tasks[0].train, preparation, at: "\(folder)/\(name)-\(stage).h5", batchSize: 7,
          holding: limit)
        let kept = try cache.rows(rows)
        #expect(kept == network.output(of: 0..<stage, entering: batch, Context()), "\(stage)")
        #expect(
          network.output(of: stage..<count, entering: kept, Context())
            == network.output(of: 0..<count, entering: batch, Context()))
      }
    }
  }

  @Test func `Training on what is kept below an adapter ends at the bits of training on images`() throws {
    let tasks = try tasks(), network = try network(), key = RandomKey(seed: 3)
    var learner = network
    let last = network.stageNames[network.stageNames.count - 1]
    try learner.graft(
      GraftPlan(method: LoRA.method, targets: .pattern(last.replacing(".", with: "[.]") + "[.].*convolution")),
      random: key)
    let stage = learner.firstLearningStage
    #expect(stage == network.stageNames.count - 1 && stage > 0)
    let cache = try FeatureCache(network, before: stage, of: tasks[0].train, preparation, at: folder + "/below.h5")
    let ends = try [BatchSource.images(preparation), .kept(cache)].map { source in
      let batches = TaskBatches(tasks[0].train, classes: 0..<2, from: source, random: key)
      var student = learner
      student.setHead(labels: ["a", "b"], random: key)
      var training = TaskTraining(student, on: [batches], settings, random: key)
      for _ in 0..<2 { _ = try training.run() }
      return training.network.trainableParameters.map(\.value)
    }
    #expect(ends[0] == ends[1] && ends[0] != learner.trainableParameters.map(\.value))
  }

  @Test func `Tasks that cannot be are refused`() throws {
    let train = try set("train", perClass: 4, seed: 1), test = try set("test", perClass: 4, seed: 2)
    func error(_ classes: [String]) -> String {
      #expect(throws: FileError.self) { _ = try ImageTask(name: "t", train: train, test: test, classes: classes) }?
        .description ?? ""
    }
    #expect(error(["rows"]).contains("has 1 class(es)"))
    #expect(error(["rows", "rows"]).contains("has 1 class(es)"))
    #expect(error(["rows", "up"]).contains("has no class 'up'"))
    let colour = try images.set("colour", perClass: 4, seed: 3, channels: 3)
    let unlike = #expect(throws: FileError.self) { _ = try ImageTask(name: "t", train: train, test: colour) }
    #expect(unlike?.description.contains("has images of 16 × 16 × 3; ") == true, "\(String(describing: unlike))")
    let tasks = try tasks()
    #expect(throws: (any Error).self) { _ = try run(.head, [tasks[0], tasks[0]], in: "twice") }
    var wrong = settings
    wrong.variant = "half"
    #expect(throws: (any Error).self) {
      _ = try SequenceRun(SequenceMethod(.clr), on: try network(), tasks, preparation, wrong, folder: folder + "/x")
    }
  }
}
