import Autodiff
import Networks
import Testing

@testable import Adapters

struct GraftingTests {
  private func model() throws -> any TextNetwork { try Checkpoint("\(fixtures)/models/llama-untied").model() }

  private func message(_ plan: GraftPlan, atMost limit: Int = .max) throws -> String {
    var model = try model()
    let error = #expect(throws: GraftError.self) {
      try model.graft(plan, random: RandomKey(seed: 0), atMost: limit)
    }
    return error?.description ?? ""
  }

  @Test func `Ranks that ask for more numbers than allowed are refused before any is made`() throws {
    var plan = GraftPlan(method: "lora", settings: AdapterSettings(rank: 2), targets: .names(["q_proj"]))
    // Two layers of 64 inputs and 64 outputs.
    #expect(try message(plan, atMost: 511) == "ranks of up to 2 ask for 512 numbers where 511 can be had")
    var model = try model()
    try model.graft(plan, random: RandomKey(seed: 0), atMost: 512)
    plan.settings.rankPattern = [#"layers\.1\..*"#: 1 << 40]
    #expect(
      try message(plan, atMost: 1 << 30)
        == "ranks of up to 1099511627776 ask for 140737488355584 numbers where 1073741824 can be had")
  }

  @Test(arguments: [
    (GraftPlan(method: "lora", targets: .pattern("(")), "target_modules: regular expression '(': "),
    (
      GraftPlan(method: "lora", settings: AdapterSettings(rankPattern: ["[": 1])),
      "rank_pattern or alpha_pattern: regular expression '[': "
    ),
    (
      GraftPlan(method: "lora", targets: .pattern("(.|..)*X")), "the targets match none of the model's 15 linear layers"
    ),
  ])
  func `An expression that cannot choose layers is refused`(_ plan: GraftPlan, _ start: String) throws {
    #expect(try message(plan).hasPrefix(start))
  }
}

extension AdapterSettings {
  fileprivate init(rankPattern: [String: Int]) {
    self.init()
    self.rankPattern = rankPattern
  }

  @Test func `A classifier's head has a role of its own, so that it may have a rate of its own`() throws {
    var model = try Checkpoint("\(fixtures)/models/bert-cls").model()
    try model.graft(
      GraftPlan(method: LoRA.method, targets: .names(["query"]), modulesToSave: ["classifier"]),
      random: RandomKey(seed: 1))
    let roles = Dictionary(uniqueKeysWithValues: model.trainableParameters.map { ($0.name, $0.role) })
    #expect(roles["classifier.weight"] == .head && roles["classifier.bias"] == .bias)
    #expect(roles.values.count { $0 == .factorA } == 2 && roles.values.count { $0 == .factorB } == 2)
  }
}
