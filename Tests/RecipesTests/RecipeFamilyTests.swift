import Foundation
import Testing

@testable import Recipes

private let catalogue = RecipeCatalogue(
  adapterTypes: ["lora", "mosa", "bottleneck"],
  adapterOptions: [
    "mosa": ["splits", "share", "consistency"], "bottleneck": ["style", "splits", "share", "consistency"],
  ])

/// What the family of the adapter has to say about a run.
struct RecipeFamilyTests {
  private func problems(_ more: String, _ adapter: String) throws -> [String] {
    RunPlan.foldingProblems(try parse(small(more, adapter: adapter), catalogue: catalogue)).map {
      "\($0.line): \($0.message) [\($0.hint ?? "")]"
    }
  }

  @Test func `What cannot be folded is refused at the key that asks for it`() throws {
    let sentence = "adapter 'bottleneck' cannot be merged: its activation makes the change depend on the input"
    #expect(
      try problems("merge: { output: merged }", "type: bottleneck") == ["5: \(sentence) [remove merge.output]"])
    #expect(
      try problems("export: { gguf: a.gguf, gguf_lora: b.gguf }", "type: bottleneck") == [
        "5: \(sentence) [remove export.gguf]", "5: \(sentence) [remove export.gguf_lora]",
      ])
    #expect(try problems("merge: { format: adapter_only }", "type: bottleneck") == [])
    #expect(try problems("export: { peft: out }", "type: bottleneck") == [])
    #expect(try problems("merge: { output: merged }", "type: mosa") == [])
    #expect(try problems("merge: { output: merged }", "type: lora") == [])
  }

  @Test func `A refused recipe opens nothing`() throws {
    // Neither the model nor the data it names is there; it is told of the merge first.
    let recipe = try parse(small("merge: { output: merged }", adapter: "type: bottleneck"), catalogue: catalogue)
    #expect { try RunPlan(recipe) } throws: { "\($0)".contains("cannot be merged: its activation") }
  }

  @Test(
    arguments: [
      ("type: lora", nil), ("type: mosa", 1), ("type: 'mosa', consistency: 0.25", 0.25), ("type: mosa, splits: 1", nil),
      ("type: mosa, consistency: 0", nil), ("type: bottleneck", nil), ("type: bottleneck, splits: 2", 1),
    ] as [(String, Double?)]) func `A run makes two passes a step exactly where modules are drawn`(
      _ adapter: String, _ weight: Double?
    ) throws
  {
    let folder = NSTemporaryDirectory() + "graft-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try "{\"input_ids\": [3, 17, 29, 40]}\n".write(toFile: folder + "/d.jsonl", atomically: false, encoding: .utf8)
    let fixture = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Fixtures/models/llama-untied").path
    let text = small(model: "path: \(fixture)", adapter: adapter, data: "train: \(folder)/d.jsonl")
    let run = try RunPlan(try parse(text, catalogue: catalogue)).start
    if case .consistency(let found) = run.objective {
      #expect(found == weight)
    } else {
      #expect(weight == nil)
    }
  }
}
