import Adapters
import Autodiff
import Images
import Networks
import Testing

@testable import Sequences

/// The laws of a frozen encoder that gates, routes and lets adapters grow.
struct EARTests {
  private let images = StripedImages()

  /// Points around a centre of unit scale, `[count, 16]`.
  private func cloud(_ centre: Int, _ count: Int, seed: UInt64, spread: Float = 0.15) -> Tensor {
    var middle = [Float](repeating: 0, count: 16)
    middle[centre] = 1
    return Tensor(middle, shape: [1, 16]) + .normal([count, 16], deviation: spread, from: RandomKey(seed: seed))
  }

  private func labels(_ count: Int) -> [Int32] { [Int32](repeating: 0, count: count) }

  @Test(arguments: ["resnet", "vit-tiny", "cifar-tiny"])
  func `Projections keep lengths and angles, and a description is the same in any company`(_ name: String) throws {
    let network = try images.network(name), input = network.input
    let preparation = ImagePreparation(height: input.height, width: input.width, channels: input.channels)
    let describer = try ImageDescriber(network, preparation, EARSettings(), random: RandomKey(seed: 1))
    #expect(describer.stages.last == network.stageNames.count)
    for q in describer.projections {
      let product = matmul(q, q, transposingA: true).values, n = q.shape[1]
      // Float, some thousand terms: about 10⁻⁵.
      for i in 0..<n { for j in 0..<n { #expect(abs(product[i * n + j] - (i == j ? 1 : 0)) < 1e-4) } }
    }
    let x = Tensor.uniform(
      [5, input.channels, input.height, input.width], in: 0..<1, from: RandomKey(seed: 2))
    let all = describer.descriptions(ofPrepared: x), one = describer.descriptions(ofPrepared: x.rows(3..<4))
    #expect(zip(all.rows(3..<4).values, one.values).allSatisfy { abs($0 - $1) < 1e-4 })
    let narrow = #expect(throws: GraftError.self) {
      var settings = EARSettings()
      settings.width = 2
      _ = try ImageDescriber(network, preparation, settings, random: RandomKey(seed: 1))
    }
    #expect(narrow?.key == "ear.width")
  }

  @Test func `A gate is the same whatever the order of its images`() {
    let points = cloud(0, 30, seed: 1), probe = cloud(1, 5, seed: 9)
    func gate(_ order: [Int]) -> OutlierGate {
      var gate = OutlierGate(falseAlarms: 0.05)
      gate.add(points.gathered(order.map(Int32.init)), labels: labels(30), classes: 1, unseen: cloud(0, 20, seed: 2))
      return gate
    }
    let forward = gate(Array(0..<30)).scores(probe), backward = gate((0..<30).reversed()).scores(probe)
    #expect(zip(forward, backward).allSatisfy { abs($0 - $1) < 1e-5 })
  }

  @Test func `Of images like those it knows one in twenty seems strange, and of a shifted cloud nearly all`() {
    var gate = OutlierGate(falseAlarms: 0.05)
    #expect(gate.strange(cloud(0, 4, seed: 3)) == 0)
    gate.add(cloud(0, 200, seed: 1), labels: labels(200), classes: 1, unseen: cloud(0, 1000, seed: 2))
    gate.add(cloud(1, 200, seed: 4), labels: labels(200), classes: 1, unseen: cloud(1, 1000, seed: 5))
    let fresh = Tensor.concatenated([cloud(0, 1000, seed: 6), cloud(1, 1000, seed: 7)])
    // 5 % of 2000 draws, threshold and judgement both drawn: three standard errors are 2.1 points.
    #expect(abs(gate.strange(fresh) - 0.05) < 0.021, "\(gate.strange(fresh))")
    let shifted = cloud(5, 500, seed: 8)
    #expect(areaUnderCurve(known: gate.scores(fresh), strange: gate.scores(shifted)) > 0.95)
    #expect(gate.strange(shifted) > 0.95)
    #expect(gate.tasks(cloud(1, 20, seed: 10)) == [Int](repeating: 1, count: 20))
    // A class costs one description, and so does a task; those that the threshold is drawn from stay.
    #expect(gate.count == (4 + 2000) * 16)
  }

  @Test func `The area under the curve is the share of pairs in order, ties by half`() {
    #expect(areaUnderCurve(known: [3, 4], strange: [1, 2]) == 1)
    #expect(areaUnderCurve(known: [1, 2], strange: [3, 4]) == 0)
    #expect(areaUnderCurve(known: [1, 2, 3], strange: [2]) == 0.5)
    // Of 2 × 3 pairs: 2 above 1 twice, 5 above all, one tie at 2.
    #expect(abs(areaUnderCurve(known: [2, 5], strange: [1, 2, 3]) - (1 + 0.5 + 3) / 6) < 1e-12)
  }

  private func settings(_ scenario: Scenario = .class) -> SequenceSettings {
    var settings = images.settings
    (settings.scenario, settings.epochs) = (scenario, 3)
    return settings
  }

  private let method = SequenceMethod(
    .ear, adapter: GraftPlan(method: LoRA.method, settings: AdapterSettings(rank: 4, alpha: 8)))

  @Test func `What was learned stays bit for bit what it was while adapters grow or are lent`() throws {
    let train = try images.set("train", perClass: 16, seed: 1), test = try images.set("test", perClass: 8, seed: 2)
    let again = try images.set("again", perClass: 16, seed: 7)
    let tasks = [
      try ImageTask(name: "stripes", train: train, test: test, classes: ["rows", "columns"]),
      try ImageTask(name: "blocks", train: train, test: test, classes: ["squares", "bands"]),
      // Images like those of the first task: nothing new, so an adapter is lent.
      try ImageTask(name: "more", train: again, test: test, classes: ["rows", "columns"]),
    ]
    var run = try SequenceRun(
      method, on: try images.network("vit-tiny"), tasks, images.preparation, settings(),
      folder: images.folder + "/grow")
    let dark = try images.set("dark", perClass: 8, seed: 9, brightness: 5)
    run.heldOut = [
      ("test", ImageExamples(spreadOver: test, limit: 32)), ("dark", ImageExamples(spreadOver: dark, limit: 32)),
    ]
    let result = try run.run { _ in }, gate = try #require(result.gate)
    #expect(result.outputsUnchanged == true)
    #expect(gate.arrivals[0].host == nil && gate.arrivals[2].host == 0, "\(gate.arrivals)")
    #expect(result.addedToBody[2] == 0 && result.addedToBody[0] > 0)
    #expect(result.addedBytes.count == 3 && result.addedBytes[2] < result.addedBytes[0])
    #expect((result.matrix[0, 0] ?? 0) > 0.8 && result.matrix[0, 1] == nil)
    // Images of the tasks' own kind score as these do, those in which no pattern is left to see score below.
    #expect(gate.heldOut.count == 2 && gate.heldOut[0].area < 0.7 && gate.heldOut[1].area > 0.9, "\(gate.heldOut)")
    let second = try run.run { _ in }
    #expect(second.matrix == result.matrix && second.predictions == result.predictions && second.gate == gate)
    #expect(second.seconds == result.seconds)
    let inference = try #require(result.inference)
    #expect(inference.refined == nil && inference.perTask.count == 3)
  }

  @Test func `Domains are routed to their own adapter and share their classes`() throws {
    let dark = try images.set("dark", perClass: 16, seed: 1, brightness: 60)
    let bright = try images.set("bright", perClass: 16, seed: 3, brightness: 170)
    let tasks = [
      try ImageTask(name: "dark", train: dark, test: try images.set("dim", perClass: 8, seed: 4, brightness: 60)),
      try ImageTask(name: "bright", train: bright, test: try images.set("lit", perClass: 8, seed: 5, brightness: 170)),
    ]
    let result = try images.run(method, tasks, in: "domain", on: "vit-tiny", settings(.domain))
    #expect((result.inference?.first ?? 0) > 0.8, "\(String(describing: result.inference))")
    #expect(result.matrix[0, 1] != nil && (result.matrix.averageAccuracy ?? 0) > 0.5, "\(result.matrix)")
    #expect(result.predictions.allSatisfy { $0.allSatisfy { (0..<4).contains($0) } })
  }
}
