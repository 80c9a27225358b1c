import Autodiff
import Files
import Foundation
import Images
import Networks

@testable import Sequences

/// Images whose class is how they are striped, small networks of the fixtures to learn them, and a folder.
struct StripedImages {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("graft-\(UUID().uuidString)").path
  let preparation = {
    var preparation = ImagePreparation(height: 16, width: 16, channels: 3)
    (preparation.mean, preparation.deviation) = ([0.5, 0.5, 0.5], [0.2, 0.2, 0.2])
    return preparation
  }()

  /// A network of the fixtures: `resnet`, `vit-tiny`, `dinov2-tiny`, …
  func network(_ name: String = "resnet") throws -> any ImageNetwork {
    let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    return try ImageCheckpoint(tests.appendingPathComponent("Fixtures/models/" + name).path).network()
  }

  /// A set of four classes: rows, columns, squares and broad bands; `brightness` makes it another domain.
  func set(_ name: String, perClass: Int, seed: UInt64, brightness: Double = 150, channels: Int = 1) throws -> ImageSet
  {
    try Folder.create(folder)
    let path = "\(folder)/\(name).h5", noise = RandomKey(seed: seed)
    let labels = (0..<4 * perClass).map { $0 % 4 }
    var random = noise.generator, next = 0
    try ImageSet.write(
      path, labels: labels, classNames: ["rows", "columns", "squares", "bands"], shape: [16, 16, channels],
      origin: ImageSet.Origin()
    ) {
      defer { next += 1 }
      return (0..<256 * channels).map { place in
        let pixel = place / channels
        let (row, column) = (pixel / 16, pixel % 16)
        let isBright = [row % 2, column % 2, (row + column) % 2, row / 4 % 2][labels[next]] == 0
        return UInt8(random.uniform() * 80 + (isBright ? brightness : 0))
      }
    }
    return try ImageSet(path)
  }

  /// Two tasks of two classes each.
  func tasks(perClass: Int = 16) throws -> [ImageTask] {
    let train = try set("train", perClass: perClass, seed: 1), test = try set("test", perClass: 8, seed: 2)
    return [
      try ImageTask(name: "north", train: train, test: test, classes: ["rows", "columns"]),
      try ImageTask(name: "south", train: train, test: test, classes: ["squares", "bands"]),
    ]
  }

  /// Few and large steps.
  var settings: SequenceSettings {
    var settings = SequenceSettings()
    (settings.epochs, settings.batchSize, settings.learningRate, settings.memory) = (4, 8, 1e-2, 8)
    return settings
  }

  func run(
    _ method: SequenceMethod, _ tasks: [ImageTask], in place: String, on network: String = "resnet",
    _ settings: SequenceSettings? = nil
  ) throws -> SequenceResult {
    try SequenceRun(
      method, on: try self.network(network), tasks, preparation, settings ?? self.settings, folder: "\(folder)/\(place)"
    ).run { _ in }
  }
}
