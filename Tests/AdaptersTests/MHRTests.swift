import Autodiff
import Foundation
import Networks
import Testing
import Weights

@testable import Adapters

struct MHRTests {
  private static func normal(_ shape: Shape, _ name: String) -> Tensor {
    .normal(shape, deviation: 0.5, from: RandomKey(seed: 37)[name])
  }

  private let base = FrozenLinear(FrozenWeight(normal([8, 12], "W")), bias: normal([8], "b"))
  private let x = normal([10, 12], "x")

  private func fresh(_ configuration: MHR.Configuration, tasks: Int) throws -> MHR {
    var base = base
    return try MHR(on: &base, configuration, Setup(site: "layer", random: RandomKey(seed: 1), tasks: tasks))
  }

  /// An adapter all of whose numbers are away from zero.
  private func trained(_ configuration: MHR.Configuration, tasks: Int = 3) throws -> MHR {
    var adapter = try fresh(configuration, tasks: tasks)
    adapter.forEachParameter { $1.value = Self.normal($1.value.shape, $0) }
    adapter.logits.value = 3 * adapter.logits.value
    return adapter
  }

  private static let twoHeads = MHR.Configuration(rank: 3, scale: 0.7, skills: 4, heads: 2)

  @Test func `A 2 × 2 layer worked by hand`() throws {
    var base = FrozenLinear(FrozenWeight(.zeros([2, 2])))
    var adapter = try MHR(
      on: &base, MHR.Configuration(rank: 1, scale: 1, skills: 2, heads: 2),
      Setup(site: "layer", random: RandomKey(seed: 1)))
    adapter.a.value = Tensor([1, 2, 3, -1], shape: [2, 2, 1, 1])
    adapter.b.value = Tensor([1, 0, 2, 4], shape: [2, 2, 1, 1])
    let ln3: Float = 1.0986123
    adapter.logits.value = Tensor([ln3, 0, 0, -ln3], shape: [1, 4])
    // σ = [.75, .5 | .5, .25], so w = [.6, .4 | 2/3, 1/3]; A = [.6 + .8, 2 − 1/3], B = [.6, 4/3 + 4/3].
    let expected = Tensor([0.6, 0.4, 2.0 / 3, 1.0 / 3], shape: [1, 2, 2])
    #expect(largestDifference(adapter.weights(of: [0]), expected) < 1e-6)
    let (a, b) = adapter.factors(adapter.weights(of: [0]))
    #expect(largestDifference(a, Tensor([1.4, 5.0 / 3], shape: [1, 1, 2])) < 1e-6)
    #expect(largestDifference(b, Tensor([0.6, 8.0 / 3], shape: [1, 2, 1])) < 1e-6)
    // Unit inputs give the rows of A B: [[.84, 3.73333], [1, 4.44444]].
    let y = adapter(Tensor([1, 0, 0, 1], shape: [2, 2]), over: base, Context(task: 0))
    #expect(largestDifference(y, Tensor([0.84, 3.733333, 1, 4.444444], shape: [2, 2])) < 1e-5)
  }

  @Test func `A relaxed Bernoulli draw is the logistic of a shifted logit`() {
    // z = 0, u = .9 → .9; z = 1, u = .25 → σ(1 − ln 3) = .475367.
    let draw = (Tensor([0, 1], shape: [2]) + MHR.logistic(Tensor([0.9, 0.25], shape: [2]))).sigmoid
    #expect(largestDifference(draw, Tensor([0.9, 0.475367], shape: [2])) < 1e-6)
  }

  @Test func `Training starts at the base, bit for bit, from an all but even mixture`() throws {
    let adapter = try fresh(Self.twoHeads, tasks: 3)
    for task in 0..<3 { #expect(adapter(x, over: base, Context(task: task)) == base(x)) }
    #expect(adapter.weights(of: [0, 1, 2]).values.allSatisfy { abs($0 - 0.25) < 1e-3 && $0 != 0.25 })
    #expect(adapter.a.value.values.allSatisfy { abs($0) <= 1 / Float(12).squareRoot() && $0 != 0 })
  }

  @Test func `The weights of each head sum to 1`() throws {
    let weights = try trained(Self.twoHeads).weights(of: [0, 1, 2])
    #expect(weights.shape == [3, 2, 4])
    #expect(weights.rowSums.values.allSatisfy { abs($0 - 1) < 1e-6 })
  }

  @Test func `With one skill it is LoRA, whatever the logits`() throws {
    let adapter = try trained(MHR.Configuration(rank: 3, scale: 0.7, skills: 1, heads: 1), tasks: 2)
    let lora = LoRA(
      a: adapter.a.value.reshaped([12, 3]).transposed, b: adapter.b.value.reshaped([3, 8]).transposed, scale: 0.7,
      site: "layer")
    for task in 0..<2 {
      let y = adapter(x, over: base, Context(task: task))
      #expect(largestDifference(y, lora(x, over: base, Context())) < 1e-5)
    }
  }

  @Test func `Heads that mix alike are one head: Poly`() throws {
    var many = try trained(Self.twoHeads)
    let first = many.logits.value.columns(0..<4)
    many.logits.value = Tensor.concatenated([first.transposed, first.transposed]).transposed
    var poly = try trained(MHR.Configuration(rank: 3, scale: 0.7, skills: 4, heads: 1))
    // Skill k of Poly: the heads' blocks of channels one after another.
    poly.a.value = many.a.value.transposed([1, 0, 2, 3]).reshaped([1, 4, 12, 3])
    poly.b.value = many.b.value.transposed([1, 2, 0, 3]).reshaped([1, 4, 3, 8])
    poly.logits.value = first
    for task in 0..<3 {
      let y = many(x, over: base, Context(task: task))
      #expect(largestDifference(y, poly(x, over: base, Context(task: task))) < 1e-5)
    }
  }

  @Test func `Skills have no order`() throws {
    let adapter = try trained(Self.twoHeads)
    var shuffled = adapter
    let order: [Int32] = [2, 0, 3, 1]
    func skills(_ t: Tensor) -> Tensor {
      t.transposed([1, 0, 2, 3]).gathered(order).transposed([1, 0, 2, 3])
    }
    shuffled.a.value = skills(adapter.a.value)
    shuffled.b.value = skills(adapter.b.value)
    shuffled.logits.value = skills(adapter.logits.value.reshaped([1, 3, 2, 4]).transposed([2, 3, 1, 0]))
      .transposed([3, 2, 0, 1]).reshaped([3, 8])
    let y = adapter(x, over: base, Context(task: 1))
    #expect(largestDifference(y, shuffled(x, over: base, Context(task: 1))) < 1e-5)
  }

  @Test func `Factors are mixed block by block, not their products`() throws {
    let adapter = try trained(Self.twoHeads), lora = adapter.plainLoRA(over: base, Context(task: 2))
    let (w, a, b) = (adapter.weights(of: [2]).values, adapter.a.value.values, adapter.b.value.values)
    // a is [2, 4, 6, 3] and b [2, 4, 3, 4]: channel c of the input is channel c % 6 of head c / 6.
    for rho in 0..<3 {
      for c in 0..<12 {
        let sum = (0..<4).reduce(Float(0)) { $0 + w[c / 6 * 4 + $1] * a[((c / 6 * 4 + $1) * 6 + c % 6) * 3 + rho] }
        #expect(abs(lora.a.value.values[rho * 12 + c] - sum) < 1e-5)
      }
      for c in 0..<8 {
        let sum = (0..<4).reduce(Float(0)) { $0 + w[c / 4 * 4 + $1] * b[((c / 4 * 4 + $1) * 3 + rho) * 4 + c % 4] }
        #expect(abs(lora.b.value.values[c * 3 + rho] - sum) < 1e-5)
      }
    }
  }

  @Test func `Rows of several tasks are each task's rows alone`() throws {
    let adapter = try trained(Self.twoHeads)
    var context = Context()
    context.taskRows = [(2, 0..<3), (0, 3..<4), (2, 4..<9), (1, 9..<10)]
    let together = adapter(x, over: base, context)
    for (task, rows) in context.taskRows {
      let alone = adapter(x.rows(rows), over: base, Context(task: task))
      #expect(largestDifference(together.rows(rows), alone) < 1e-5)
    }
    #expect(largestDifference(together, adapter(x, over: base, Context(task: 2))) > 0.1)
  }

  @Test(arguments: [1, 2, 4])
  func `Folding for a task computes what the task does`(_ heads: Int) throws {
    let adapter = try trained(MHR.Configuration(rank: 3, scale: 0.7, skills: 4, heads: heads))
    for task in 0..<3 {
      let y = adapter(x, over: base, Context(task: task)), merged = adapter.merged(into: base, Context(task: task))
      #expect(largestDifference(merged(x), y) < 1e-5)
      #expect(merged.bias?.value == base.bias?.value)
      let lora = adapter.plainLoRA(over: base, Context(task: task))
      #expect(lora.a.value.shape == [3, 12] && lora.b.value.shape == [8, 3])
      #expect(largestDifference(lora(x, over: base, Context()), y) < 1e-5)
    }
  }

  @Test func `An even mixture is the mean of the inventory`() throws {
    var adapter = try trained(Self.twoHeads)
    adapter.logits.value = .zeros([3, 8])
    let even = adapter.plainLoRA(over: base, Context(task: 0))
    #expect(largestDifference(even.a.value, adapter.mean.a.value) < 1e-6)
    #expect(largestDifference(even.b.value, adapter.mean.b.value) < 1e-6)
    #expect(adapter.mean.scale == 0.7 && adapter.mean.trainableParameters.count == 2)
  }

  @Test(arguments: [1, 2], [false, true])
  func `Its gradients are what central differences say`(_ heads: Int, _ isRelaxed: Bool) throws {
    var layer = AdaptedLinear(base)
    layer.adapter = try trained(
      MHR.Configuration(rank: 3, scale: 0.7, skills: 4, heads: heads, isRelaxed: isRelaxed))
    var context = Context(random: RandomKey(seed: 3))
    context.taskRows = [(2, 0..<3), (0, 3..<4), (2, 4..<9), (1, 9..<10)]
    expectDerivatives(of: layer, at: x) { [context] in $0($1, context) }
  }

  @Test func `The router learns nothing until the skills differ, and no row but the batch's tasks'`() throws {
    func slope(_ adapter: MHR) throws -> [Float] {
      let slopes = valueAndGradients(of: adapter) {
        ($0(x, over: base, Context(task: 1)) * Self.normal([10, 8], "g")).sum
      }
      let found = zip(adapter.trainableParameters, slopes.gradients).first { $0.0.role == .router }
      return try #require(found).1.values
    }
    #expect(try slope(try fresh(Self.twoHeads, tasks: 3)).allSatisfy { $0 == 0 })
    let later = try slope(try trained(Self.twoHeads))
    #expect(later[8..<16].allSatisfy { $0 != 0 })
    #expect(later[..<8].allSatisfy { $0 == 0 } && later[16...].allSatisfy { $0 == 0 })
  }

  @Test func `Relaxed mixtures are drawn for each run of rows, in training alone`() throws {
    var configuration = Self.twoHeads
    configuration.isRelaxed = true
    let adapter = try trained(configuration), twice = Tensor.concatenated([x, x])
    var context = Context()
    context.taskRows = [(1, 0..<10), (1, 10..<20)]
    let calm = adapter(twice, over: base, context)
    #expect(largestDifference(calm.rows(0..<10), calm.rows(10..<20)) < 1e-6)
    context.random = RandomKey(seed: 3)
    let drawn = adapter(twice, over: base, context)
    #expect(largestDifference(drawn.rows(0..<10), drawn.rows(10..<20)) > 0.01)
    #expect(adapter(twice, over: base, context) == drawn)
    context.random = RandomKey(seed: 4)
    #expect(adapter(twice, over: base, context) != drawn)
  }

  @Test func `It trains as many numbers as its formula says`() throws {
    let adapter = try fresh(Self.twoHeads, tasks: 5)
    let count = adapter.trainableParameters.reduce(0) { $0 + $1.value.count }
    #expect(count == 4 * 3 * (12 + 8) + 5 * 2 * 4)
    #expect(adapter.trainableParameters.map(\.role) == [.factorA, .factorB, .router])
  }

  @Test func `Heads that do not divide the layer's channels are refused`() throws {
    #expect {
      try fresh(MHR.Configuration(rank: 3, scale: 1, skills: 4, heads: 3), tasks: 1)
    } throws: {
      "\($0)"
        == "'layer' is [8, 12], which 3 heads do not divide; choose heads that divide both, or leave the layer out of the targets"
    }
  }

  @Test(arguments: ["router", "mean"])
  func `A mode that needs a trained inventory is refused without one`(_ mode: String) throws {
    var settings = AdapterSettings(rank: 2, alpha: 2)
    settings.options["mode"] = mode
    let configuration = try MHR.configuration(settings, at: "q_proj")
    #expect(MHR.merging(configuration) == (mode == "mean" ? .exact : .perTask))
    #expect(throws: GraftError.self) { try fresh(configuration, tasks: 1) }
  }

  @Test func `Its recipe keys refuse what they cannot be`() throws {
    var settings = AdapterSettings(rank: 4, alpha: 8)
    #expect(
      try MHR.configuration(settings, at: "q_proj") == MHR.Configuration(rank: 4, scale: 2, skills: 8, heads: 1))
    #expect(throws: GraftError.self) { try MHR.configuration(settings, at: "lm_head") }
    for (key, text) in [("skills", "0"), ("heads", "many"), ("relaxed", "1"), ("mode", "z")] {
      settings.options = [key: text]
      #expect(throws: AdapterOptionError.self) { try MHR.configuration(settings, at: "q_proj") }
    }
    settings.options = [:]
    settings.dropout = 0.1
    #expect(throws: GraftError.self) { try MHR.configuration(settings, at: "q_proj") }
  }
}

/// Inventories in a whole model: saved, loaded, and put to other tasks.
struct ReroutingTests {
  private let path = "\(fixtures)/models/llama-untied"
  private let batch = TokenBatch([[3, 17, 29, 40, 55, 90]])

  private func plan(_ tasks: [String]) -> GraftPlan {
    var plan = GraftPlan(method: "mhr", settings: AdapterSettings(rank: 2, alpha: 4))
    plan.settings.options = ["skills": "3", "heads": "2"]
    plan.settings.tasks = tasks
    return plan
  }

  private func trained(_ tasks: [String]) throws -> any TextNetwork {
    var model = try Checkpoint(path).model()
    try model.graft(plan(tasks), random: RandomKey(seed: 4))
    model.forEachParameter { name, parameter in
      if parameter.isTrainable {
        parameter.value = .normal(parameter.value.shape, deviation: 0.4, from: RandomKey(seed: 9)[name])
      }
    }
    return model
  }

  private func logits(_ model: any TextNetwork, _ task: Int) -> Tensor { model.logits(batch, Context(task: task)) }

  private func reloaded(_ model: any TextNetwork, _ plan: GraftPlan) throws -> (any TextNetwork, GraftPlan) {
    let folder = NSTemporaryDirectory() + "graft-" + UUID().uuidString
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try AdapterFolder.save(model, PEFTConfiguration(plan, baseModel: nil), to: folder)
    var again = try Checkpoint(path).model()
    let configuration = try AdapterFolder.load(folder, onto: &again)
    return (again, configuration.plan)
  }

  private func wanted(_ tasks: [String], _ options: [String: String]) -> AdapterSettings {
    var settings = AdapterSettings(rank: 2, alpha: 4)
    (settings.tasks, settings.options) = (tasks, options)
    return settings
  }

  @Test func `A model saved and loaded again computes the same bits for every task`() throws {
    let tasks = ["ask", "tell"], model = try trained(tasks)
    let (again, plan) = try reloaded(model, plan(tasks))
    #expect(plan.settings.tasks == tasks)
    for task in 0..<2 { #expect(logits(again, task) == logits(model, task)) }
    #expect(largestDifference(logits(model, 0), logits(model, 1)) > 1e-3)
  }

  @Test func `Specialised to a task it computes the task's logits for any context`() throws {
    let model = try trained(["ask", "tell"])
    #expect(model.routesByTask)
    for task in 0..<2 {
      let alone = model.specialised(to: task)
      #expect(!alone.routesByTask)
      #expect(largestDifference(alone.logits(batch), logits(model, task)) < 1e-4)
    }
  }

  @Test func `Known tasks keep their logits, new ones start even, the inventory stays`() throws {
    var model = try trained(["ask", "tell"])
    let before = model
    let after = try model.reroute(
      plan(["ask", "tell"]), to: wanted(["sing", "tell"], [:]), random: RandomKey(seed: 5))
    #expect(after.settings.tasks == ["sing", "tell"])
    #expect(logits(model, 1) == logits(before, 1))
    var even = true
    model.forEachLinear { _, layer in
      guard let adapter = layer.adapter as? MHR else { return }
      even = even && adapter.weights(of: [0]).values.allSatisfy { abs($0 - 1 / 3) < 1e-3 }
    }
    #expect(even)
    #expect(model.trainableParameters.count == before.trainableParameters.count)
  }

  @Test func `With the router alone learning, files still hold the inventory`() throws {
    var model = try trained(["ask", "tell"])
    let after = try model.reroute(
      plan(["ask", "tell"]), to: wanted(["sing"], ["mode": "router"]), random: RandomKey(seed: 5))
    #expect(model.trainableParameters.allSatisfy { $0.role == .router && $0.value.shape == [1, 6] })
    #expect(!model.trainableParameters.isEmpty)
    let (again, plan) = try reloaded(model, after)
    #expect(plan.settings.options["mode"] == nil && plan.settings.tasks == ["sing"])
    #expect(logits(again, 0) == logits(model, 0))
  }

  @Test func `Only the mean left, it is plain LoRA`() throws {
    var model = try trained(["ask", "tell"])
    let before = model
    let after = try model.reroute(
      plan(["ask", "tell"]), to: wanted(["sing"], ["mode": "mean"]), random: RandomKey(seed: 5))
    #expect(after.method == "lora" && after.settings.options.isEmpty && after.settings.tasks.isEmpty)
    #expect(!model.routesByTask)
    let (again, plan) = try reloaded(model, after)
    #expect(plan.method == "lora")
    #expect(again.logits(batch) == model.logits(batch))
    var even = before
    even.forEachParameter { if $1.role == .router { $1.value = .zeros($1.value.shape) } }
    #expect(largestDifference(logits(even, 0), model.logits(batch)) < 1e-4)
  }

  @Test func `An inventory of another size than the file's is refused`() throws {
    var model = try trained(["ask"])
    #expect {
      _ = try model.reroute(plan(["ask"]), to: wanted(["sing"], ["skills": "5"]), random: RandomKey(seed: 5))
    } throws: {
      "\($0)" == "the inventory in adapter.from has 3 skills in 2 heads; remove 'skills: 5'"
    }
  }
}
