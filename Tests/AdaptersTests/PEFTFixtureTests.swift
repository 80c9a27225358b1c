import Autodiff
import Files
import Foundation
import Networks
import Testing

@testable import Adapters

let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .appendingPathComponent("Fixtures").path

/// Adapters PEFT 0.21 wrote with random factors, and what it computes with them.
private let cases: [(model: String, adapter: String)] = [
  ("llama-untied", "lora"), ("llama-untied", "lora-all-linear"), ("llama-untied", "lora-bias"),
  ("llama-untied", "lora-embed"), ("llama-untied", "lora-modules-to-save"), ("llama-untied", "lora-patterns"),
  ("llama-untied", "lora-regex"), ("llama-untied", "rslora"), ("llama-untied", "dora"), ("mistral-swa", "lora"),
  ("qwen2", "lora"), ("gpt2", "lora"), ("gpt2", "rslora"), ("gpt2", "dora"),
  ("bert-cls", "lora"), ("bert-cls", "lora-head"),
  ("bert-cls", "rslora"), ("bert-cls", "dora"),
]

struct PEFTFixtureTests {
  private func load(_ model: String, _ adapter: String) throws -> (any TextNetwork, Safetensors, TokenBatch, [Int32]) {
    var network = try Checkpoint("\(fixtures)/models/\(model)").model()
    let folder = "\(fixtures)/adapters/\(model)/\(adapter)"
    try AdapterFolder.load(folder, onto: &network)
    let reference = try Safetensors(folder + "/reference.safetensors")
    let width = try reference.entry("input_ids").shape[1]
    let mask = try reference["attention_mask"]?.integers()
    func rows(_ name: String) throws -> [[Int32]] {
      let all = try reference.entry(name).integers().map(Int32.init)
      return stride(from: 0, to: all.count, by: width).map { start in
        (start..<start + width).filter { mask?[$0] != 0 }.map { all[$0] }
      }
    }
    let isPaired = reference["token_type_ids"] != nil
    let batch = TokenBatch(try rows("input_ids"), segments: isPaired ? try rows("token_type_ids") : [])
    return (network, reference, batch, try reference.entry("labels").integers().map(Int32.init))
  }

  private func distance(_ a: [Float], _ b: [Float]) -> Float {
    a.count == b.count ? zip(a, b).reduce(0) { max($0, abs($1.0 - $1.1)) } : .infinity
  }

  @Test(arguments: cases.map { "\($0.model) \($0.adapter)" })
  func `An adapter made by PEFT computes PEFT's logits`(_ name: String) throws {
    let parts = name.split(separator: " ").map(String.init)
    let (model, reference, batch, labels) = try load(parts[0], parts[1])
    #expect(distance(model.logits(batch).values, try reference.entry("logits").floats()) < 2e-5)
    let (sum, count) = model.lossSum(batch, labels: labels, Context())
    #expect(abs(sum.scalar / Float(count) - (try reference.entry("loss").floats()[0])) < 1e-5)
  }

  @Test(arguments: cases.map { "\($0.model) \($0.adapter)" })
  func `Folding it gives PEFT's merged weights and logits`(_ name: String) throws {
    let parts = name.split(separator: " ").map(String.init)
    let (model, reference, batch, _) = try load(parts[0], parts[1])
    // PEFT cannot fold a branch's bias into a layer that has none.
    guard parts[1] != "lora-bias" else { return }
    func merged(_ model: some TextNetwork) -> any TextNetwork { model.merged() }
    var folded = merged(model)
    #expect(distance(folded.logits(batch).values, try reference.entry("merged_logits").floats()) < 2e-5)
    var weights: [String: Tensor] = [:]
    folded.forEachLinear { name, layer in
      let weight = layer.base.weight.unpacked()
      weights[name + ".weight"] = layer.base.storesTransposed ? weight.transposed : weight
    }
    folded.forEachEmbedding { weights[$0 + ".weight"] = $1.base.weight.unpacked() }
    for stored in reference.names where stored.hasPrefix("merged.") {
      let ours = try #require(weights[String(stored.dropFirst(7))])
      #expect(distance(ours.values, try reference.entry(stored).floats()) < 1e-6)
    }
  }

  @Test(arguments: cases.map { "\($0.model) \($0.adapter)" })
  func `Its gradients are PEFT's`(_ name: String) throws {
    let parts = name.split(separator: " ").map(String.init)
    let (model, reference, batch, labels) = try load(parts[0], parts[1])
    func gradients(_ model: some TextNetwork) -> [Tensor] {
      valueAndGradients(of: model) { model in
        let (sum, count) = model.lossSum(batch, labels: labels, Context())
        return (1 / Float(count)) * sum
      }.gradients
    }
    let names = model.trainableParameters.map(\.name)
    var compared = 0
    for (name, gradient) in zip(names, gradients(model)) {
      // In memory PEFT names the adapter: lora_A.default.weight, lora_embedding_A.default.
      let candidates = reference.names.filter {
        $0.hasPrefix("grad.")
          && $0.replacingOccurrences(of: ".default", with: "")
            .replacingOccurrences(of: ".modules_to_save", with: "")
            .replacingOccurrences(of: "lora_magnitude_vector.weight", with: "lora_magnitude_vector")
            == "grad.base_model.model." + name
      }
      guard let stored = candidates.first else { continue }
      compared += 1
      let theirs = try reference.entry(stored).floats()
      #expect(distance(gradient.values, theirs) < 2e-6 + 1e-4 * (theirs.map(abs).max() ?? 0), "\(name)")
    }
    let stored = reference.names.count { $0.hasPrefix("grad.") }
    #expect(compared == stored)
  }

  @Test(arguments: cases.map { "\($0.model) \($0.adapter)" })
  func `Saving and loading restores every bit`(_ name: String) throws {
    let parts = name.split(separator: " ").map(String.init)
    let (model, _, _, _) = try load(parts[0], parts[1])
    let folder = NSTemporaryDirectory() + "graft-" + UUID().uuidString
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let path = "\(fixtures)/adapters/\(parts[0])/\(parts[1])/adapter_config.json"
    try AdapterFolder.save(model, try PEFTConfiguration(json: try JSON.read(path), path: path), to: folder)
    var again = try Checkpoint("\(fixtures)/models/\(parts[0])").model()
    try AdapterFolder.load(folder, onto: &again)
    #expect(again.trainableParameters.map(\.name) == model.trainableParameters.map(\.name))
    #expect(zip(again.trainableParameters, model.trainableParameters).allSatisfy { $0.value == $1.value })
  }
}
