import Adapters
import Autodiff
import Networks
import Testing

@testable import Sequences

/// Families of the catalogue in sequences: one a task, and shared.
struct AdapterSequenceTests {
  private let images = StripedImages()

  private static func plan(
    _ method: String, rank: Int = 4, options: [String: String] = [:], targets: GraftPlan.Targets = .allLinear
  ) -> GraftPlan {
    var settings = AdapterSettings(rank: rank, alpha: Double(2 * rank))
    settings.options = options
    return GraftPlan(method: method, settings: settings, targets: targets)
  }

  static let cases: [(network: String, plan: GraftPlan)] = [
    ("vit-tiny", plan(LoRA.method)), ("vit-tiny", plan(MoSA.method, options: ["splits": "2"])),
    ("dinov2-tiny", plan(Bottleneck.method, options: ["splits": "2"])), ("vit-tiny", plan(MHR.method)),
    ("resnet", plan(LoRA.method, targets: .pattern(".*convolution"))),
    ("efficientnet-lite-tiny", plan(DoRA.method, targets: .names(["project.convolution"]))),
  ]

  @Test(arguments: cases.indices)
  func `An adapter a task comes out the same in any order, and stays bit for bit what it was`(_ index: Int) throws {
    let (network, plan) = Self.cases[index], tasks = try images.tasks(),
      method = SequenceMethod(.adapter, adapter: plan)
    var settings = images.settings
    settings.epochs = 2
    let forward = try images.run(method, tasks, in: "forward", on: network, settings)
    let backward = try images.run(method, tasks.reversed(), in: "backward", on: network, settings)
    #expect(forward.outputsUnchanged == true && backward.outputsUnchanged == true)
    #expect(forward.predictions == backward.predictions.reversed())
    #expect(forward.addedToBody.allSatisfy { $0 > 0 })
    // What was trained in modules is kept merged, and read back to the same answers.
    let again = try images.run(method, tasks, in: "forward", on: network, settings)
    #expect(again.predictions == forward.predictions && again.added == forward.added)
  }

  @Test func `What is kept of an adapter trained in modules is as much as of one that is whole`() throws {
    let tasks = try images.tasks()
    var settings = images.settings
    settings.epochs = 1
    func added(_ method: String, _ options: [String: String]) throws -> [Int] {
      let plan = Self.plan(method, options: options)
      let place = "\(method)\(options.count)"
      return try images.run(SequenceMethod(.adapter, adapter: plan), tasks, in: place, on: "vit-tiny", settings).added
    }
    #expect(try added(MoSA.method, ["splits": "2"]) == added(LoRA.method, [:]))
    #expect(try added(Bottleneck.method, ["splits": "2"]) == added(Bottleneck.method, [:]))
  }

  @Test(arguments: [SequenceStrategy.shared, .ewc, .replay, .joint, .mhr])
  func `An adapter that tasks share learns the task it has just seen`(_ strategy: SequenceStrategy) throws {
    let plan = strategy == .mhr ? nil : Self.plan(LoRA.method)
    let result = try images.run(
      SequenceMethod(strategy, adapter: plan), try images.tasks(), in: "shared", on: "vit-tiny")
    #expect((result.matrix[1, 1] ?? 0) > 0.8, "\(result.matrix)")
    #expect(result.outputsUnchanged == nil && result.added.count == 1)
  }

  @Test func `Tasks that route through one inventory learn a mixture each`() throws {
    let tasks = try images.tasks()
    let run = try SequenceRun(
      SequenceMethod(.joint, adapter: Self.plan(MHR.method, options: ["skills": "2"])),
      on: try images.network("vit-tiny"),
      tasks, images.preparation, images.settings, folder: images.folder + "/joint")
    _ = try run.run { _ in }
    var learner = try run.learner(classes: run.layout.labels, key: run.random["head"], tasks: tasks.map(\.name))
    try TaskState(run.stateFile("all", 0), like: TaskState(of: learner)).install(into: &learner)
    let routers = learner.trainableParameters.filter { $0.role == .router }
    #expect(!routers.isEmpty && routers.allSatisfy { $0.value.shape[0] == 2 })
    // At 100 times the rate of the skills the mixtures have left the even one, each its own way.
    #expect(routers.contains { $0.value.rows(0..<1) != $0.value.rows(1..<2) && abs($0.value.values[0]) > 0.05 })
  }

  @Test func `An adapter that fits no layer, or nothing that learns, is refused before anything is learned`() throws {
    let tasks = try images.tasks()
    func refusal(_ method: SequenceMethod, on network: String = "resnet", _ scenario: Scenario = .task) -> String {
      #expect(throws: GraftError.self) {
        var settings = images.settings
        settings.scenario = scenario
        _ = try images.run(method, tasks, in: "refused", on: network, settings)
      }?.description ?? ""
    }
    #expect(refusal(SequenceMethod(.adapter, adapter: Self.plan(LoRA.method))).contains("match none"))
    #expect(refusal(SequenceMethod(.head, adapter: Self.plan(LoRA.method))).contains("puts no adapter of type 'lora'"))
    #expect(refusal(SequenceMethod(.mhr, adapter: Self.plan(LoRA.method))).contains("routes by task"))
    #expect(refusal(SequenceMethod(.clr), .class).contains("has to be told the task, which scenario 'class' does not"))
    #expect(refusal(SequenceMethod(.mhr), on: "vit-tiny", .domain).contains("has to be told the task"))
    #expect(refusal(SequenceMethod(.mos), on: "vit-tiny").contains("set scenario: class"))
    #expect(refusal(SequenceMethod(.mos), on: "vit-tiny", .domain).contains("use ear"))
  }
}
