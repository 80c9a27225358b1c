import Adapters
import Autodiff
import Files
import Foundation
import Networks
import Testing
import Weights

@testable import Quantizing

private let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
private let fixtures = tests.appendingPathComponent("Fixtures").path
private let embedded = tests.deletingLastPathComponent().appendingPathComponent("Data/embedded/graft-small.gguf").path

/// Plans of every kind, of which each rounds to so few bits that a fault shows.
private let plans: [(name: String, plan: QuantizationPlan)] = {
  func plan(_ packing: String, _ change: (inout QuantizationPlan) -> Void = { _ in }) throws -> QuantizationPlan {
    var plan = QuantizationPlan(try Packing(parsing: packing))
    // The model that comes with Graft has eight bits, whose numbers are the original here.
    plan.acceptsPacked = true
    change(&plan)
    return plan
  }
  let made: [(String, () throws -> QuantizationPlan)] = [
    ("rtn", { try plan("int3-g32") }), ("clip", { try plan("int3-g32") { $0.clip = .weights } }),
    ("gptq", { try plan("int3-g32") { $0.rounding = .gptq } }),
    ("awq", { try plan("int3-g32") { ($0.scaling, $0.clip) = (.awq, .outputs) } }),
    ("adadim", { try plan("int3-g32") { $0.axis = .adaptive } }),
    ("fp4", { try plan("fp4-g32") { $0.searchesFormat = true } }),
    ("os+", { try plan("int3-g32") { $0.scaling = .outliers(bits: 4) } }),
    ("gguf", { try plan("q4_0") }), ("nf4", { try plan("nf4") }),
    ("awq-gguf", { try plan("q4_0") { $0.scaling = .awq } }),
  ]
  return made.compactMap { name, make in (try? make()).map { (name, $0) } }
}()

struct ModelQuantizerTests {
  private let scratch = FileManager.default.temporaryDirectory.appendingPathComponent("graft-\(UUID().uuidString)").path
  private let sequences: [[Int32]] = (0..<24).map { row in
    (0..<32).map { (position: Int) -> Int32 in
      let mixed: Int = position * position * 7 + row * 53 + position * row
      return Int32(mixed % 320)
    }
  }

  /// The small trained model, or a fixture.
  private func model(_ name: String? = nil) throws -> any TextNetwork {
    try Checkpoint(name.map { "\(fixtures)/models/\($0)" } ?? embedded).model()
  }

  private func pack(
    _ plan: QuantizationPlan, _ model: any TextNetwork, folder: String = "a",
    report: (Int, [LayerReport], Bool) throws -> Void = { _, _, _ in }
  ) throws -> any TextNetwork {
    let folder = "\(scratch)/\(folder)"
    try Folder.create(folder)
    return try ModelQuantizer(plan).pack(model, on: sequences, scratch: folder, report: report)
  }

  private func weights(_ model: any TextNetwork) -> [String: [UInt8]] {
    var copy = model, found: [String: [UInt8]] = [:]
    copy.forEachLinear { name, layer in found[name] = layer.base.weight.withBytes { Array($0) } }
    return found
  }

  private func difference(_ a: any TextNetwork, _ b: any TextNetwork) -> Double {
    let batch = TokenBatch(sequences.prefix(4).map { $0 })
    let (x, y) = (a.logits(batch).values, b.logits(batch).values)
    return Double(zip(x, y).map { abs($0 - $1) }.max() ?? 0) / Double(x.map(abs).max() ?? 1)
  }

  @Test(arguments: ["llama-untied", "llama-tied", "qwen2", "qwen3", "mistral-swa", "gpt2", "bert-cls", "embedded"])
  func `Scaling channels changes nothing that the model computes`(_ name: String) throws {
    var plan = QuantizationPlan(try Packing(parsing: "int3-g32"))
    plan.scaling = .awq
    // Their rows of 176 are no groups; the trained model has all its layers.
    if name != "embedded" { plan.skip = ["down_proj"] }
    let original = try model(name == "embedded" ? nil : name)
    var scaled = original, touched = 0
    for block in 0..<original.blockCount {
      let quantizer = BlockQuantizer(plan, block: block, of: scaled)
      let measured = try Calibration.listen(
        scaled, [.secondMoment, .magnitudes], of: quantizer.sites(scaled), keeping: { _ in [] }
      ) { listening in _ = listening.states(TokenBatch(sequences), Context()) }
      let moved = try quantizer.scaled(&scaled, measured)
      touched += moved.count
      // In float, as they are before they are rounded.
      scaled.forEachLinear { name, layer in
        // The longest that fits: an attention's output layer ends as a feed-forward block's does.
        guard blockIndex(name) == block,
          let short = moved.weights.keys.filter({ name.hasSuffix("." + $0) }).max(by: { $0.count < $1.count }),
          let weight = moved.weights[short]
        else { return }
        layer.base.weight = FrozenWeight(weight)
      }
    }
    #expect(difference(original, scaled) < 2e-5)
    #expect(name == "bert-cls" || touched > 0)
  }

  @Test(arguments: plans.map(\.name))
  func `A method packs every layer of every block and little else changes`(_ name: String) throws {
    let plan = try #require(plans.first { $0.name == name }).plan
    let original = try model()
    var layers: [LayerReport] = []
    let packed = try pack(plan, original) { _, found, _ in layers += found }
    #expect(layers.count == 7 * original.blockCount && layers.allSatisfy { $0.bytes < $0.bytesBefore })
    #expect(layers.allSatisfy { $0.weightError > 0 && $0.weightError < 0.35 && ($0.outputError ?? 1) < 0.35 })
    let lost = difference(original, packed)
    #expect(lost > 1e-4 && lost < 0.5, "\(lost)")
  }

  @Test func `Each method loses less of the outputs than rounding to nearest`() throws {
    func lost(_ name: String) throws -> Double {
      var sum = 0.0
      _ = try pack(try #require(plans.first { $0.name == name }).plan, try model(), folder: name) { _, layers, _ in
        sum += layers.reduce(0) { $0 + ($1.outputError ?? 0) }
      }
      return sum
    }
    let nearest = try lost("rtn")
    #expect(try lost("gptq") < 0.95 * nearest)
    #expect(try lost("awq") < nearest)
    #expect(try lost("adadim") <= nearest * 1.001)
    let floats = try lost("fp4")
    let one = try #require(plans.first { $0.name == "fp4" }).plan
    var plain = one
    plain.searchesFormat = false
    var sum = 0.0
    _ = try pack(plain, try model(), folder: "plain") { _, layers, _ in
      sum += layers.reduce(0) { $0 + ($1.outputError ?? 0) }
    }
    #expect(floats < sum)
  }

  private struct Stop: Error {}

  @Test(arguments: ["gptq", "awq"])
  func `A run that was ended goes on to the same bytes`(_ name: String) throws {
    let plan = try #require(plans.first { $0.name == name }).plan
    let whole = weights(try pack(plan, try model()))
    #expect(throws: Stop.self) {
      try pack(plan, try model(), folder: "b") { block, _, _ in if block == 0 { throw Stop() } }
    }
    var found: [Bool] = []
    #expect(weights(try pack(plan, try model(), folder: "b") { _, _, isNew in found.append(isNew) }) == whole)
    #expect(found.first == false && found.last == true)
    // Also where the stream's file was lost, or left half written.
    #expect(throws: Stop.self) {
      try pack(plan, try model(), folder: "c") { block, _, _ in if block == 0 { throw Stop() } }
    }
    for file in Folder.names(in: scratch + "/c") where file.hasPrefix("stream-") && file != "stream-0.h5" {
      Folder.remove(scratch + "/c/" + file)
    }
    #expect(weights(try pack(plan, try model(), folder: "c")) == whole)
  }

  @Test(arguments: [Damage.flipped, .shortened, .unsummed])
  func `A finished block that was damaged is packed anew, to the same bytes`(_ damage: Damage) throws {
    let plan = try #require(plans.first { $0.name == "gptq" }).plan
    let whole = weights(try pack(plan, try model(), folder: "damaged"))
    let path = scratch + "/damaged/block-1.safetensors"
    var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
    switch damage {
    case .flipped: bytes[bytes.count - 40] ^= 4
    case .shortened: bytes.removeLast(7)
    case .unsummed: Folder.remove(scratch + "/damaged/block-1.sum")
    }
    try bytes.write(to: URL(fileURLWithPath: path))
    var anew: [Int] = []
    let again = try pack(plan, try model(), folder: "damaged") { block, _, isNew in if isNew { anew.append(block) } }
    #expect(anew == [1])
    #expect(weights(again) == whole)
  }

  enum Damage { case flipped, shortened, unsummed }

  @Test func `One seedless run is like another`() throws {
    let plan = try #require(plans.first { $0.name == "gptq" }).plan
    #expect(weights(try pack(plan, try model())) == weights(try pack(plan, try model(), folder: "b")))
  }

  @Test func `Layers named to be skipped keep their bytes, and so does everything outside of blocks`() throws {
    var plan = QuantizationPlan(try Packing(parsing: "int4-g32"))
    plan.acceptsPacked = true
    plan.skip = ["down_proj"]
    let original = try model(), before = weights(original), after = weights(try pack(plan, original))
    for (name, bytes) in before {
      #expect((after[name] == bytes) == (name.hasSuffix("down_proj") || name == "lm_head"), "\(name)")
    }
  }

  @Test func `What does not go together is refused`() throws {
    var plan = QuantizationPlan(try Packing(parsing: "q4_0"))
    plan.rounding = .gptq
    #expect(throws: QuantizationError.self) { try plan.check() }
    var search = QuantizationPlan(try Packing(parsing: "int4-g64"))
    search.searchesFormat = true
    #expect(throws: QuantizationError.self) { try search.check() }
    var blind = QuantizationPlan(try Packing(parsing: "int4-g32"))
    blind.rounding = .gptq
    let error = #expect(throws: QuantizationError.self) {
      try ModelQuantizer(blind).pack(try model(), on: [], scratch: scratch) { _, _, _ in }
    }
    #expect(error?.description.contains("no calibration text") == true)
  }

  @Test func `The loss is the mean squared length of what the error makes of the inputs`() throws {
    let x = Tensor((0..<96).map { Float(($0 * 37) % 19) / 7 - 1 }, shape: [12, 8])
    let error = Tensor((0..<40).map { Float(($0 * 11) % 13) / 9 - 0.6 }, shape: [5, 8])
    let moment = matmul(x, x, transposingA: true) * Tensor(1 / 12)
    let direct = matmul(x, error, transposingB: true).values.reduce(0.0) { $0 + Double($1) * Double($1) } / 12
    #expect(abs(OutputLoss(moment: moment)(error) - direct) < 1e-5 * direct)
    let scales = Tensor((1...8).map { Float($0) / 3 }, shape: [8])
    let other = OutputLoss(moment: moment).dividingInputs(by: scales)(error * scales)
    #expect(abs(other - direct) < 1e-5 * direct)
  }
}
