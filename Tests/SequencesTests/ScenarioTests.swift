import Adapters
import Autodiff
import Files
import Testing

@testable import Sequences

/// What is asked of a learner, and the baselines under each question.
struct ScenarioTests {
  private let images = StripedImages()

  private func settings(_ scenario: Scenario) -> SequenceSettings {
    var settings = images.settings
    settings.scenario = scenario
    return settings
  }

  @Test func `Classes of later tasks are no choice before they are learned, and all are at the end`() throws {
    let tasks = try images.tasks(), layout = ClassLayout(.class, tasks)
    #expect(layout.labels == ["rows", "columns", "squares", "bands"] && layout.own == [0..<2, 2..<4])
    #expect(layout.choices(of: 0, after: 0) == 0..<2 && layout.choices(of: 1, after: 0) == nil)
    #expect(layout.choices(of: 0, after: 1) == 0..<4 && layout.choices(of: 1, after: 1) == 0..<4)
    let domains = ClassLayout(.domain, tasks)
    #expect(domains.labels == ["rows", "columns"] && domains.own == [0..<2, 0..<2])
    #expect(domains.choices(of: 1, after: 0) == 0..<2)
    #expect(ClassLayout(.task, tasks).choices(of: 1, after: 0) == 2..<4)
  }

  @Test func `A growing output layer that sees one task at a time forgets, and one solved for all does not`() throws {
    let tasks = try images.tasks()
    let head = try images.run(SequenceMethod(.head), tasks, in: "head", settings(.class))
    let probe = try images.run(SequenceMethod(.probe), tasks, in: "probe", settings(.class))
    let joint = try images.run(SequenceMethod(.joint), tasks, in: "joint", settings(.class))
    #expect(head.matrix[0, 1] == nil && head.matrix.forwardTransfer == nil)
    #expect((head.matrix[0, 0] ?? 0) > 0.8 && (head.matrix.forgettingSinceLearned ?? 0) > 0.5, "\(head.matrix)")
    #expect((probe.matrix.averageAccuracy ?? 0) > 0.9 && (joint.matrix.averageAccuracy ?? 0) > 0.8, "\(joint.matrix)")
    #expect(head.firstClasses == [0, 2] && head.predictions.allSatisfy { $0.count == 16 })
    #expect(probe.predictions[1].allSatisfy { (0..<4).contains($0) })
  }

  @Test func `Tasks of one set of classes share their outputs, and one helps the other`() throws {
    let train = try images.set("dark", perClass: 16, seed: 1, brightness: 90)
    let other = try images.set("bright", perClass: 16, seed: 3), test = try images.set("test", perClass: 8, seed: 2)
    let dim = try images.set("dim", perClass: 8, seed: 4, brightness: 90)
    let tasks = [
      try ImageTask(name: "dark", train: train, test: dim), try ImageTask(name: "bright", train: other, test: test),
    ]
    for strategy in [SequenceStrategy.head, .probe, .shared, .replay, .joint] {
      let result = try images.run(SequenceMethod(strategy), tasks, in: strategy.rawValue, settings(.domain))
      #expect((result.matrix.averageAccuracy ?? 0) > 0.7, "\(strategy) \(result.matrix)")
      if strategy == .head || strategy == .shared { #expect((result.matrix.forwardTransfer ?? 0) > 0.1) }
      #expect(result.predictions.allSatisfy { $0.allSatisfy { (0..<4).contains($0) } })
    }
    let uneven = [tasks[0], try ImageTask(name: "two", train: other, test: test, classes: ["rows", "bands"])]
    let refused = #expect(throws: GraftError.self) {
      _ = try images.run(SequenceMethod(.head), uneven, in: "uneven", settings(.domain))
    }
    #expect(refused?.description.contains("task 'two' has 2 classes and 'dark' 4") == true)
    let turned = [
      tasks[0], try ImageTask(name: "turned", train: other, test: test, classes: tasks[0].classNames.reversed()),
    ]
    let order = #expect(throws: GraftError.self) {
      _ = try images.run(SequenceMethod(.head), turned, in: "turned", settings(.domain))
    }
    #expect(order?.description.contains("task 'turned' has the classes of 'dark' in another order") == true)
  }

  @Test func `Consolidation holds the output layer where tasks share its classes`() throws {
    let train = try images.set("dark", perClass: 16, seed: 1, brightness: 90)
    let other = try images.set("bright", perClass: 16, seed: 3), test = try images.set("test", perClass: 8, seed: 2)
    let tasks = [
      try ImageTask(name: "dark", train: train, test: test), try ImageTask(name: "bright", train: other, test: test),
    ]
    func moved(_ weight: Double) throws -> Float {
      var settings = settings(.domain)
      settings.fisherWeight = weight
      let place = "held-\(weight)"
      _ = try images.run(SequenceMethod(.ewc), tasks, in: place, settings)
      func head(_ task: String) throws -> [Float] {
        try Safetensors("\(images.folder)/\(place)/\(task)/state.safetensors").entry("classifier.1.weight").floats()
      }
      return zip(try head("1-dark"), try head("2-bright")).reduce(0) { $0 + abs($1.0 - $1.1) }
    }
    #expect(try moved(1e6) < 0.5 * moved(0))
  }
}
