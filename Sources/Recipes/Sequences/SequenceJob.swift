import Adapters
import Files
import Images
import Networks
import Sequences

/// A sequence of image tasks learned in every way its recipe names, and the report that compares them.
public struct SequenceJob {
  /// What is to be done.
  public let recipe: SequenceRecipe

  /// The job of a recipe.
  public init(_ recipe: SequenceRecipe) { self.recipe = recipe }

  /// Learns, measures and writes `results.json`, `accuracies.csv`, `predictions.csv`, an SVG heat map for each strategy and
  /// `report.html` into the recipe's folder. Given again it goes on where it was.
  ///
  /// - Throws: a ``FileError`` for what cannot be read or written, and what a `SequenceRun` throws.
  public func run(progress: (String) -> Void) throws -> SequenceReport {
    let network = try ImageCheckpoint(recipe.model).network(), tasks = try tasks()
    let preparation = preparation(for: network)
    try checkSize(of: network, preparation)
    if recipe.methods.contains(where: { $0.strategy == .mos }) {
      try checkSamples(classes: tasks.reduce(0) { $0 + $1.classNames.count }, width: network.featureWidth)
    }
    // Every way of learning is made before the first learns: what cannot be is told at once.
    let heldOut = try recipe.heldOut.map { name in
      (name, ImageExamples(spreadOver: try ImageSet(try KnownImageSet.resolve(name)), limit: recipe.heldOutLimit))
    }
    let runs = try recipe.methods.map { method in
      var run = try SequenceRun(
        method, on: network, tasks, preparation, recipe.settings, folder: recipe.output + "/" + method.name,
        features: recipe.output + "/features")
      run.heldOut = heldOut
      return run
    }
    let warnings = try notes(of: runs)
    warnings.forEach(progress)
    let mark = try mark(tasks), lock = try RunFolder(recipe.output)
    return try withExtendedLifetime(lock) {
      try Self.keep(mark, in: recipe.output, "sequence.txt")
      for run in runs { try Self.keep(run.method.mark, in: recipe.output + "/" + run.method.name, "strategy.txt") }
      let results = try runs.map { try $0.run(progress: progress) }
      let size = network.weightCount(without: network.headName)
      var report = SequenceReport(tasks: tasks, results: results, bodySize: size)
      report.notes = notes(tasks) + warnings
      try report.write(to: recipe.output)
      return report
    }
  }

  /// What the scenario takes for one class though its name is not the same.
  private func notes(_ tasks: [ImageTask]) -> [String] {
    guard recipe.settings.scenario == .domain, Set(tasks.map(\.classNames)).count > 1 else { return [] }
    return (0..<tasks[0].classNames.count).map { own in
      "output \(own): " + tasks.map { "\($0.classNames[own]) of \($0.name)" }.joined(separator: ", ")
    }
  }

  /// What is to be said of a recipe that asks for what cannot go together.
  private func notes(of runs: [SequenceRun]) throws -> [String] {
    let names = try runs.filter { try $0.augmentsBelowKeptFeatures() }.map(\.method.name)
    guard !names.isEmpty else { return [] }
    return [
      "augment changes training images in every epoch, so that keep_features keeps what is made of the others alone; "
        + "the frozen stages run anew on them in \(names.joined(separator: ", "))"
    ]
  }

  /// The tasks, in order.
  public func tasks() throws -> [ImageTask] {
    var sets: [String: ImageSet] = [:]
    func set(_ name: String) throws -> ImageSet {
      if let known = sets[name] { return known }
      let opened = try ImageSet(try KnownImageSet.resolve(name))
      sets[name] = opened
      return opened
    }
    return try recipe.entries.flatMap { entry -> [ImageTask] in
      let train = try set(entry.train), test = try set(entry.test), classes = entry.classes ?? train.classNames
      guard classes.count % entry.parts == 0 else {
        throw GraftError("task '\(entry.name)': \(classes.count) classes cannot be cut into \(entry.parts) equal parts")
      }
      let length = classes.count / entry.parts
      return try (0..<entry.parts).map { part in
        try ImageTask(
          name: entry.taskNames[part], train: train, test: test,
          classes: Array(classes[part * length..<(part + 1) * length]), limit: entry.perClass,
          testLimit: entry.testPerClass)
      }
    }
  }

  /// A digest that changes whenever the network, the images, or what is asked of them does.
  private func mark(_ tasks: [ImageTask]) throws -> String {
    let files = Folder.names(in: recipe.model).filter { $0.hasSuffix(".json") || $0.hasSuffix(".safetensors") }
    var parts = try files.sorted().map { "\($0) \(try Fingerprint.file(recipe.model + "/" + $0))" }
    var digests: [String: String] = [:]
    for path in Set(tasks.flatMap { [$0.train.set.path, $0.test.set.path] }) {
      digests[path] = try Fingerprint.file(path)
    }
    for task in tasks {
      parts.append("\(task.name) \(task.classNames)")
      for part in [task.train, task.test] { parts.append("\(digests[part.set.path] ?? "") \(part.indices)") }
    }
    return Fingerprint.text("\(recipe.imageSize ?? 0) \(recipe.settings.mark) \(parts)")
  }

  /// Refuses a folder that holds something else: what is found finished there would be taken for this one's.
  private static func keep(_ mark: String, in folder: String, _ name: String) throws {
    try FolderMark.keep(
      mark, in: folder, as: name, problem: "holds another sequence, or one of other settings",
      remedy: "choose another output_dir, or remove it")
  }

  /// Refuses a size of images that the network cannot read, or of which it would leave a border out.
  private func checkSize(of network: any ImageNetwork, _ preparation: ImagePreparation) throws {
    let (height, width) = (preparation.height, preparation.width), input = network.input
    if let patch = (network as? VisionTransformer)?.configuration.patch, height % patch != 0 || width % patch != 0 {
      let near = max(1, height / patch) * patch
      throw GraftError(
        "images of \(height) × \(width) pixels are not cut into patches of \(patch); set image_size: \(near)",
        key: "image_size")
    }
    if network is PlainCNN, (height, width) != (input.height, input.width) {
      throw GraftError(
        "'\(recipe.model)' reads images of \(input.height) × \(input.width) alone, and image_size is \(height); remove it",
        key: "image_size")
    }
  }

  /// Refuses more drawn features than this machine's memory holds.
  private func checkSamples(classes: Int, width: Int) throws {
    let settings = recipe.settings, each = settings.mos.samples * settings.batchSize
    // They are drawn a class at a time and then laid together. All factors are bounded where they are read.
    let bytes = Double(classes) * Double(each) * Double(width) * 8
    guard bytes > Double(ProcessMemory.machine) else { return }
    throw GraftError(
      "mos draws \(settings.mos.samples) batches of \(settings.batchSize) features for each of \(classes) classes, \(Int(bytes / 1e9)) GB, and this machine has \(ProcessMemory.machine / 1_000_000_000); lower mos.samples or train.batch_size",
      key: "mos.samples")
  }

  /// What the network asks of images, at the recipe's size.
  private func preparation(for network: any ImageNetwork) -> ImagePreparation {
    let (input, scaling) = (network.input, network.scaling)
    var preparation = ImagePreparation(
      height: recipe.imageSize ?? input.height, width: recipe.imageSize ?? input.width, channels: input.channels)
    // The network says (x s − m) / d of bytes; a preparation says (x / 255 − m) / d.
    preparation.mean = scaling.mean.map { $0 / (255 * scaling.scale) }
    preparation.deviation = scaling.deviation.map { $0 / (255 * scaling.scale) }
    return preparation
  }
}
