import Adapters
import Autodiff
import Foundation
import Testing
import Text
import Weights

@testable import Networks
@testable import Training

/// Tuning a few blocks at a time.
struct BlockTuningTests {
  private func base(_ name: String = "llama-untied") throws -> any TextNetwork {
    try Checkpoint("\(fixtures)/models/\(name)").model()
  }

  /// The base with every matrix of a block rounded to two bits, and a correction on it.
  private func student(
    _ method: String = "lora", _ name: String = "llama-untied", _ change: (inout GraftPlan) -> Void = { _ in }
  ) throws -> any TextNetwork {
    var model = try base(name)
    model.forEachLinear { name, layer in
      guard blockIndex(name) != nil, layer.base.inputs % 32 == 0 else { return }
      if let packed = try? FrozenWeight(layer.base.weight.unpacked(), packing: .int2(group: 32)) {
        layer.base.weight = packed
      }
    }
    var plan = GraftPlan(method: method, settings: AdapterSettings(rank: 4, alpha: 4))
    if method == "qllm" { plan.settings.options = ["activation_bits": "8", "reassembly_ratio": "0"] }
    change(&plan)
    try model.graft(plan, random: RandomKey(seed: 1))
    return model
  }

  private let examples = (0..<6).map { row in
    let ids = (0..<8 + row).map { Int32(($0 * 37 + row * 101) % 320) }
    return Example(ids: ids, labels: ids.map { $0 % 3 == 0 ? ignoredLabel : $0 }, source: "test")
  }

  private func run(
    _ model: any TextNetwork, size: Int = 1, steps: Int = 12, _ change: (inout TrainingSettings) -> Void = { _ in }
  ) throws -> TrainingRun {
    var settings = TrainingSettings()
    (settings.learningRate, settings.batchSize, settings.accumulation) = (0.01, 2, 2)
    settings.schedule = Schedule(.linear, total: steps)
    change(&settings)
    var run = TrainingRun(model, AdamW(weightDecay: 0), settings, on: examples, seed: 3)
    run.objective = .blocks(try BlockTuning(model, following: try base(), size: size, steps: steps))
    return run
  }

  private func values(_ run: TrainingRun) -> [String: Tensor] {
    Dictionary(uniqueKeysWithValues: run.model.trainableParameters.map { ($0.name, $0.value) })
  }

  @Test func `The loss is the mean squared distance of the states behind the round's last block`() throws {
    let model = try student(), teacher = try base()
    for (size, last) in [(1, 1), (2, 2)] {
      // All rows in one step of 3 × 2, so that micro-batches of different lengths have to be weighed.
      var run = try run(model, size: size) { $0.accumulation = 3 }
      let reported = try #require(try run.next())
      var sum = 0.0, count = 0
      for example in examples {
        let batch = TokenBatch([example.ids])
        let (h, t) = (model.hidden(batch, through: last).values, teacher.hidden(batch, through: last).values)
        sum += zip(h, t).reduce(0) { $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1) }
        count += h.count
      }
      #expect(abs(reported.loss - sum / Double(count)) < 1e-4 * reported.loss && reported.tokens * 64 == count)
    }
  }

  @Test(arguments: ["lora", "qllm", "int2.1", "dora"])
  func `Only a round's own blocks move, and each round brings them nearer`(_ method: String) throws {
    var run = try run(try student(method), steps: 40)
    var before = values(run), losses: [Double] = []
    for round in 0..<2 {
      for _ in 0..<20 { losses.append(try run.next()?.loss ?? 0) }
      let now = values(run), moved = Set(now.keys.filter { now[$0] != before[$0] }.compactMap(blockIndex))
      #expect(moved == [round])
      let (first, last) = (losses[20 * round..<20 * round + 3], losses[20 * round + 17..<20 * round + 20])
      #expect(last.reduce(0, +) < 0.9 * first.reduce(0, +), "\(losses)")
      before = now
    }
    #expect(try run.next() == nil)
  }

  @Test func `What lies below a round keeps nothing for the way back`() throws {
    let model = try student(), batch = TokenBatch([[3, 17, 29]])
    let tuning = try BlockTuning(model, following: try base(), size: 1, steps: 2)
    func open(_ model: some TextNetwork) {
      let limited = model.limited(to: tuning.round(of: 1))
      #expect(Set(limited.trainableParameters.compactMap { blockIndex($0.name) }) == [1])
      _ = valueAndGradients(of: limited) { model in
        #expect(!model.hidden(batch, through: 1).hasHistory && model.hidden(batch, through: 2).hasHistory)
        return model.hidden(batch, through: 2).sum
      }
    }
    open(model)
  }

  @Test func `Dropout is for the round's own blocks`() throws {
    let model = try student("lora") { $0.settings.dropout = 0.5 }, batch = TokenBatch([[3, 17, 29, 40]])
    var moved = model
    moved.forEachParameter { name, parameter in
      guard parameter.isTrainable else { return }
      parameter.value = .normal(parameter.value.shape, deviation: 0.1, from: RandomKey(seed: 4)[name])
    }
    let tuning = try BlockTuning(moved, following: try base(), size: 1, steps: 2)
    func loss(_ step: Int, _ seed: UInt64?) -> Float {
      func open(_ model: some TextNetwork) -> Float {
        tuning.lossSum(model, batch, at: step, Context(random: seed.map { RandomKey(seed: $0) })).scalar
      }
      return open(moved)
    }
    #expect(loss(0, 1) != loss(0, 2))
    // With nothing of the second block's own, chance below it has no part.
    moved.forEachParameter { name, parameter in
      if parameter.isTrainable, blockIndex(name) == 1 { parameter.value = .zeros(parameter.value.shape) }
    }
    #expect(loss(1, 1) == loss(1, 2) && loss(1, 1) == loss(1, nil))
  }

  @Test func `Rounds share the steps, and leave out blocks in which nothing learns`() throws {
    let model = try student(), teacher = try base()
    #expect(model.blockCount == 2)
    func rounds(_ size: Int, _ steps: Int, _ model: any TextNetwork) throws -> [BlockTuning.Round] {
      let tuning = try BlockTuning(model, following: teacher, size: size, steps: steps)
      return (0..<steps).map(tuning.round)
    }
    #expect(try rounds(4, 5, model).map(\.blocks) == Array(repeating: 0..<2, count: 5))
    let odd = try rounds(1, 5, model)
    #expect(odd.map(\.index) == [0, 0, 1, 1, 1] && odd.map(\.steps) == [0..<2, 0..<2, 2..<5, 2..<5, 2..<5])
    let last = try student("lora") { $0.layers = .last(1) }
    #expect(try rounds(1, 3, last).map(\.blocks) == Array(repeating: 1..<2, count: 3))
  }

  @Test func `The schedule and the optimiser begin anew in each round`() throws {
    var run = try run(try student(), steps: 8) { $0.schedule = Schedule(.linear, warmup: 2, total: 8) }
    var rates: [Double] = [], memories: [[String]] = []
    while let report = try run.next() {
      rates.append(report.learningRate)
      memories.append(Array(Set(run.optimizer.memory.compactMap { blockIndex($0.name) }.map(String.init))))
      #expect(run.optimizer.steps == (report.step - 1) % 4 + 1)
    }
    // Half of the run, half of its warm-up: 0, 1, 2/3, 1/3 of the rate.
    for (rate, wanted) in zip(rates, [0, 1, 2.0 / 3, 1.0 / 3, 0, 1, 2.0 / 3, 1.0 / 3]) {
      #expect(abs(rate - 0.01 * wanted) < 1e-12)
    }
    #expect(memories == Array(repeating: ["0"], count: 4) + Array(repeating: ["1"], count: 4))
  }

  @Test func `A run stopped after any step, in a round or between two, goes on to the same bits`() throws {
    func start() throws -> TrainingRun {
      try run(try student("qllm") { $0.settings.dropout = 0.1 }, steps: 9) { $0.schedule.warmup = 1 }
    }
    var whole = try start(), losses: [Double] = []
    while let report = try whole.next() { losses.append(report.loss) }
    let folder = NSTemporaryDirectory() + "graft-" + UUID().uuidString
    defer { try? FileManager.default.removeItem(atPath: folder) }
    for stop in 1..<9 {
      var first = try start()
      for _ in 0..<stop { _ = try first.next() }
      try TrainingCheckpoint.save(first, to: folder)
      var second = try start(), rest: [Double] = []
      _ = try TrainingCheckpoint.restore(&second, from: folder)
      while let report = try second.next() { rest.append(report.loss) }
      #expect(rest == Array(losses[stop...]) && values(second) == values(whole), "after step \(stop)")
    }
  }

  @Test func `What could never learn, or never be followed, is refused`() throws {
    func refusal(_ model: any TextNetwork, _ teacher: any TextNetwork, size: Int = 1, steps: Int = 4) -> String {
      do {
        _ = try BlockTuning(model, following: teacher, size: size, steps: steps)
        return ""
      } catch { return "\(error)" }
    }
    let teacher = try base(), model = try student()
    #expect(refusal(model, teacher) == "")
    #expect(
      refusal(model, teacher, steps: 1)
        == "1 steps for 2 rounds of blocks: give at least one step to each, or larger rounds")
    let stray = try student("lora") { $0.modulesToSave = ["model.norm"] }
    #expect(
      refusal(stray, teacher)
        == "'model.norm.weight' learns but belongs to no block, and block by block it never would; leave it out of target_modules and modules_to_save"
    )
    #expect(try refusal(student("lora") { $0.modulesToSave = ["input_layernorm"] }, teacher) == "")
    var shallow = try #require(try base() as? Llama)
    shallow.layers.removeLast()
    #expect(
      refusal(model, shallow)
        == "the teacher has 1 blocks and the model 2: give a teacher of the same shape")
    var sizes = shallow.configuration
    (sizes.layers, sizes.width, sizes.headSize) = (2, 2 * sizes.width, 2 * sizes.headSize)
    #expect(
      refusal(model, try Llama(sizes, from: RandomWeights(RandomKey(seed: 1))))
        == "the teacher's states have 128 channels and the model's 64: give a teacher of the same shape")
  }
}
