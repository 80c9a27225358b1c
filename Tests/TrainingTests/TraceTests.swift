import Adapters
import Autodiff
import Files
import Foundation
import Networks
import Testing
import Text
import Training

/// The folder of fixtures beside the test targets.
let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .appendingPathComponent("Fixtures").path

/// Twenty steps of transformers 5.23, PEFT 0.21 and PyTorch 2.13 on tiny models, recorded by those libraries.
private let adapterTraces = [
  "llama-lora-sgd", "llama-lora-sgd-nesterov-wd", "llama-lora-sgd-linear-accum2", "llama-lora-adamw",
  "llama-lora-adamw-clip-cosine",
]
private let headTraces = ["bert-lora-head-adamw"]

struct TraceTests {
  private let stepsRecorded = 20

  @Test(arguments: adapterTraces + headTraces)
  func `Twenty steps of an adapter give PEFT's losses, norms, rates and final weights`(_ name: String) throws {
    let folder = "\(fixtures)/traces/\(name)"
    let json = try JSON.read(folder + "/trace.json"), trace = try Safetensors(folder + "/trace.safetensors")
    let base = "\(fixtures)/models/\(try #require(json["model"]?.string))"
    var model = try Checkpoint(base).model()
    try AdapterFolder.load(folder + "/init", onto: &model)
    var run = try start(model, json, trace)
    try follow(&run, trace)

    var expected = try Checkpoint(base).model()
    try AdapterFolder.load(folder + "/final", onto: &expected)
    let (ours, theirs) = (run.model.trainableParameters, expected.trainableParameters)
    #expect(ours.map(\.name) == theirs.map(\.name))
    for (mine, their) in zip(ours, theirs) { expectClose(mine.value, their.value.values, mine.name) }
    try expectFinalLogits(run.model, trace, base)
  }

  @Test(arguments: adapterTraces)
  func `The first step changes each factor as PyTorch's does`(_ name: String) throws {
    let folder = "\(fixtures)/traces/\(name)"
    let json = try JSON.read(folder + "/trace.json"), trace = try Safetensors(folder + "/trace.safetensors")
    var model = try Checkpoint("\(fixtures)/models/\(try #require(json["model"]?.string))").model()
    try AdapterFolder.load(folder + "/init", onto: &model)
    var run = try start(model, json, trace)
    _ = try run.next()
    var compared = 0
    for parameter in run.model.trainableParameters {
      let (name, value) = (parameter.name, parameter.value)
      // PEFT names the adapter in memory: lora_A.default.weight.
      let stored = name.replacingOccurrences(of: ".weight", with: ".default.weight")
      guard let entry = trace["param_after_step1.base_model.model." + stored] else { continue }
      expectClose(value, try entry.floats(), name)
      compared += 1
    }
    #expect(compared == trace.names.count { $0.hasPrefix("param_after_step1.") } && compared > 0)
  }

  @Test func `Twenty steps of full fine-tuning give PyTorch's losses and final weights`() throws {
    let folder = "\(fixtures)/traces/llama-full-adamw"
    let json = try JSON.read(folder + "/trace.json"), trace = try Safetensors(folder + "/trace.safetensors")
    let base = "\(fixtures)/models/\(try #require(json["model"]?.string))"
    var model = try Checkpoint(base).model()
    try model.graft(GraftPlan(method: Full.method), random: RandomKey(seed: 0))
    var run = try start(model, json, trace)
    try follow(&run, trace)
    var compared = 0
    for parameter in run.model.trainableParameters {
      let (name, value) = (parameter.name, parameter.value)
      guard let entry = trace["final." + name] else { continue }
      expectClose(value, try entry.floats(), name)
      compared += 1
    }
    #expect(compared == trace.names.count { $0.hasPrefix("final.") } && compared > 10)
    try expectFinalLogits(run.model, trace, base)
  }

  /// The run that the trace's JSON describes, over its data in their order.
  private func start(_ model: any TextNetwork, _ json: JSON, _ trace: Safetensors) throws -> TrainingRun {
    let ids = try trace.entry("data.input_ids"), labels = try trace.entry("data.labels").integers()
    let all = try ids.integers(), (rows, width) = (ids.shape[1], ids.shape[2])
    let examples = stride(from: 0, to: all.count, by: width).map { first in
      let ids = all[first..<first + width].map(Int32.init)
      guard labels.count == all.count else {
        return Example(ids: ids, segments: [], label: Int32(labels[first / width]), source: "trace")
      }
      return Example(ids: ids, labels: labels[first..<first + width].map(Int32.init), source: "trace")
    }
    let hyper = try #require(json["hyper"])
    func number(_ key: String) -> Double { hyper[key]?.double ?? 0 }
    var settings = TrainingSettings()
    (settings.batchSize, settings.accumulation) = (rows, json["accum"]?.int ?? 1)
    settings.learningRate = number("lr")
    settings.maxGradientNorm = json["clip"]?.double ?? 0
    settings.shuffles = false
    let rates = try trace.entry("lrs").withBytes { Array($0.bindMemory(to: Double.self)) }
    let shape = json["schedule"]?.string.flatMap(Schedule.Shape.init(rawValue:)) ?? .constant
    let warmup = shape == .constant ? 0 : rates.firstIndex(of: number("lr")) ?? 0
    settings.schedule = Schedule(shape, warmup: warmup, total: stepsRecorded)
    let optimizer: any Optimizer =
      json["optimizer"]?.string?.hasPrefix("sgd") == true
      ? SGD(
        momentum: number("momentum"), weightDecay: number("weight_decay"),
        isNesterov: hyper["nesterov"]?.bool ?? false)
      : AdamW(
        beta1: hyper["betas"]?.array?.first?.double ?? 0, beta2: hyper["betas"]?.array?.last?.double ?? 0,
        epsilon: number("eps"), weightDecay: number("weight_decay"))
    return TrainingRun(model, optimizer, settings, on: examples, seed: 0)
  }

  private func follow(_ run: inout TrainingRun, _ trace: Safetensors) throws {
    func recorded(_ name: String) throws -> [Double] {
      try trace.entry(name).withBytes { Array($0.bindMemory(to: Double.self)) }
    }
    let losses = try recorded("losses"), norms = try recorded("grad_norms"), rates = try recorded("lrs")
    while let report = try run.next() {
      let i = report.step - 1
      #expect(abs(report.loss - losses[i]) < 1e-4, "loss of step \(report.step)")
      #expect(abs(report.gradientNorm - norms[i]) < 1e-3 * max(1, norms[i]), "norm of step \(report.step)")
      #expect(abs(report.learningRate - rates[i]) < 1e-9, "rate of step \(report.step)")
    }
    #expect(run.step == stepsRecorded && losses.count == stepsRecorded)
  }

  private func expectFinalLogits(_ model: any TextNetwork, _ trace: Safetensors, _ base: String) throws {
    let reference = try Safetensors(base + "/reference.safetensors")
    let width = try reference.entry("input_ids").shape[1], isPaired = reference["token_type_ids"] != nil
    // The decoders' logits were taken of the whole rows; the encoder's with its padding masked.
    let mask = isPaired ? try reference.entry("attention_mask").integers() : nil
    func rows(_ name: String) throws -> [[Int32]] {
      let all = try reference.entry(name).integers().map(Int32.init)
      return stride(from: 0, to: all.count, by: width).map { start in
        (start..<start + width).filter { mask?[$0] != 0 }.map { all[$0] }
      }
    }
    let batch = TokenBatch(try rows("input_ids"), segments: isPaired ? try rows("token_type_ids") : [])
    let theirs = try trace.entry("final_logits").floats()
    let ours = model.logits(batch).values
    #expect(ours.count == theirs.count)
    // Twenty steps of Adam let differences of rounding grow; the loss they lead to is held to 1e-4.
    #expect(zip(ours, theirs).allSatisfy { abs($0 - $1) < 2e-3 })
  }

  /// Within a thousandth, relative to the tensor as a whole.
  private func expectClose(_ ours: Tensor, _ theirs: [Float], _ name: String) {
    let difference = zip(ours.values, theirs).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
    let size = theirs.reduce(0) { $0 + $1 * $1 }.squareRoot()
    #expect(ours.count == theirs.count && difference <= 1e-3 * size + 1e-7, "\(name): \(difference) of \(size)")
  }
}
