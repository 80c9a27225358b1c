import Adapters
import Autodiff
import Files
import Networks
import Testing

@testable import Sequences

/// The laws of adapters that are merged while they learn and found again by their classes.
struct MOSTests {
  private let images = StripedImages()

  private func settings(_ change: (inout MOSSettings) -> Void = { _ in }) -> SequenceSettings {
    var settings = images.settings
    settings.scenario = .class
    (settings.mos.alignmentEpochs, settings.mos.covariance) = (5, .full)
    change(&settings.mos)
    return settings
  }

  private var method: SequenceMethod {
    SequenceMethod(.mos, adapter: GraftPlan(method: LoRA.method, settings: AdapterSettings(rank: 4, alpha: 8)))
  }

  private func run(_ tasks: [ImageTask], in place: String, _ settings: SequenceSettings) throws -> SequenceRun {
    try SequenceRun(
      method, on: try images.network("vit-tiny"), tasks, images.preparation, settings,
      folder: images.folder + "/" + place)
  }

  /// What lies on disk of a task, without its output layer.
  private func adapter(_ run: SequenceRun, _ number: Int) throws -> [String: Tensor] {
    TaskState(of: try run.served(number)).parameters.filter { !$0.key.hasPrefix("classifier.") }
  }

  @Test func `Without merging each task's adapter is what it is learned alone`() throws {
    let tasks = try images.tasks()
    let alone = settings { ($0.merging, $0.orthogonality) = (0, 0) }
    let both = try run(tasks, in: "both", alone), other = try run([tasks[1]], in: "other", alone)
    _ = try both.run { _ in }
    _ = try other.run { _ in }
    #expect(try adapter(both, 1) == adapter(other, 0))
    let merged = try run(tasks, in: "merged", settings { ($0.merging, $0.orthogonality) = (0.1, 0) })
    _ = try merged.run { _ in }
    #expect(try adapter(merged, 0) == adapter(both, 0) && adapter(merged, 1) != adapter(both, 1))
  }

  @Test func `Merged whole, each adapter is the mean of those before it`() throws {
    let set = try images.set("train", perClass: 8, seed: 1), test = try images.set("test", perClass: 4, seed: 2)
    let tasks = try [["rows", "columns"], ["squares", "bands"], ["rows", "bands"]].enumerated().map {
      try ImageTask(name: "t\($0)", train: set, test: test, classes: $1)
    }
    let run = try run(tasks, in: "mean", settings { $0.merging = 1 })
    _ = try run.run { _ in }
    let states = try (0..<3).map { try adapter(run, $0) }
    #expect(states[1] == states[0])
    for (name, value) in states[2] { #expect(value == 0.5 * ((states[0][name] ?? value) + (states[1][name] ?? value))) }
  }

  @Test func `One task is a plain adapter's tuning`() throws {
    let tasks = try images.tasks(), one = try run([tasks[0]], in: "one", settings())
    let result = try one.run { _ in }
    let plain = try SequenceRun(
      SequenceMethod(.adapter, adapter: method.adapter), on: try images.network("vit-tiny"), [tasks[0]],
      images.preparation, images.settings, folder: images.folder + "/plain")
    let alone = try plain.run { _ in }
    #expect(TaskState(of: try one.served(0)).parameters == TaskState(of: try plain.served(0)).parameters)
    #expect(result.predictions == alone.predictions && result.matrix.values == alone.matrix.values)
    #expect(result.inference?.first == 1 && result.inference?.mostRounds == 0)
  }

  @Test func `Measuring leaves every file and number as it is, and the tasks are mostly found`() throws {
    let tasks = try images.tasks(), run = try run(tasks, in: "bits", settings()), before = run.network.everything
    let result = try run.run { _ in }
    func bytes(_ run: SequenceRun, _ number: Int) throws -> [UInt8] {
      try MappedFile(run.stateFile(tasks[number].name, number)).withBytes { Array($0) }
    }
    let states = try [0, 1].map { try bytes(run, $0) }
    let again = try run.run { _ in }
    #expect(try [0, 1].map { try bytes(run, $0) } == states)
    // What no later task was learned or measured after.
    let alone = try self.run(Array(tasks.prefix(1)), in: "alone", settings())
    _ = try alone.run { _ in }
    #expect(try bytes(alone, 0) == states[0])
    #expect(run.network.everything == before)
    #expect(again.matrix == result.matrix && again.predictions == result.predictions && again.seconds == result.seconds)
    let inference = try #require(result.inference), refined = try #require(inference.refined)
    #expect(refined > 0.6 && inference.mostRounds <= 4 && inference.perTask.count == 2, "\(inference)")
    #expect((result.matrix.averageAccuracy ?? 0) > 0.5, "\(result.matrix)")
  }

  @Test func `Refining ends after four rounds even where adapters never agree`() throws {
    // Each adapter names a class of the other's task.
    let retrieval = TaskRetrieval(owners: [0, 1], rounds: 4)
    var calls = [0, 0]
    let answer = retrieval.answer(count: 3) { adapter, rows in
      calls[adapter] += 1
      return Tensor(rows.flatMap { _ in adapter == 0 ? [Float(0), 1] : [1, 0] }, shape: [rows.count, 2])
    }
    #expect(answer.rounds == [4, 4, 4] && calls == [3, 2] && answer.first == [1, 1, 1])
    // One that agrees is asked no more; adapter 1 is right about its own.
    let settled = retrieval.answer(count: 2) { adapter, rows in
      Tensor(rows.flatMap { $0 == 0 ? [Float(2), 1] : [0, 1] }, shape: [rows.count, 2])
    }
    #expect(settled.rounds == [0, 1] && settled.refined == [0, 1] && settled.classes == [0, 1])
  }

  @Test(arguments: MOSSettings.Covariance.allCases)
  func `Features drawn from a class have its mean and spread`(_ covariance: MOSSettings.Covariance) throws {
    // Two features that move together around (3, −1): variances 4 and 1, covariance 1.5, from 400 draws.
    let z = Tensor.normal([400, 2], from: RandomKey(seed: 4)).values
    var points: [Float] = []
    for i in 0..<400 {
      let (first, second) = (z[2 * i], z[2 * i + 1])
      points.append(3 + 2 * first)
      points.append(-1 + 0.75 * first + 0.6614 * second)
    }
    let features = Tensor(points, shape: [400, 2])
    let kept = try ClassGaussians(features, labels: [Int32](repeating: 0, count: 400), classes: 1, covariance)
    func moments(_ x: Tensor) -> (mean: [Double], covariance: [Double]) {
      let n = x.shape[0], values = x.values.map(Double.init)
      let columns = [0, 1].map { column in (0..<n).map { values[2 * $0 + column] } }
      let mean = columns.map { $0.reduce(0, +) / Double(n) }
      func product(_ a: Int, _ b: Int) -> Double {
        var sum = 0.0
        for i in 0..<n { sum += (columns[a][i] - mean[a]) * (columns[b][i] - mean[b]) }
        return sum / Double(n - 1)
      }
      return (mean, [product(0, 0), product(1, 1), product(0, 1)])
    }
    let count = 4000, own = moments(features), drawn = moments(kept.sample(0, count, from: RandomKey(seed: 5)))
    for c in 0..<2 {
      // Three standard errors of a mean, and of a variance: σ √(1/n), σ² √(2/n).
      let variance = own.covariance[c], n = Double(count)
      #expect(abs(drawn.mean[c] - own.mean[c]) < 3 * (variance / n).squareRoot())
      #expect(abs(drawn.covariance[c] - variance) < 3 * variance * (2 / n).squareRoot())
    }
    #expect(abs(drawn.covariance[2] - (covariance == .full ? own.covariance[2] : 0)) < 0.15)
    let path = images.folder + "-gaussians.safetensors"
    try kept.write(to: path)
    let read = try ClassGaussians(path, classes: 1, width: 2, covariance)
    #expect(read.sample(0, 3, from: RandomKey(seed: 1)) == kept.sample(0, 3, from: RandomKey(seed: 1)))
    Folder.remove(path)
  }

  @Test func `Adapters trained in modules are not merged`() throws {
    var settings = AdapterSettings(rank: 4, alpha: 8)
    settings.options = ["splits": "2"]
    let plan = GraftPlan(method: MoSA.method, settings: settings)
    let refused = #expect(throws: GraftError.self) {
      _ = try images.run(
        SequenceMethod(.mos, adapter: plan), try images.tasks(), in: "no", on: "vit-tiny", self.settings())
    }
    #expect(refused?.description.contains("set splits: 1") == true)
  }
}

extension ImageNetwork {
  /// Every parameter there is, frozen ones included.
  var everything: [Tensor] {
    var copy = self
    var found: [Tensor] = []
    copy.forEachParameter { found.append($1.value) }
    copy.forEachLinear { found.append($1.base.weight.unpacked()) }
    return found
  }
}
