import Files
import Foundation
import Testing

/// S²FT and the two stages of INT2.1 from recipe to file, on a tiny model.
struct StackedTests {
  private let scratch: Scratch

  init() throws {
    scratch = try Scratch(learning: Scratch.rowsAlike)
    try scratch.write(
      """
      output_dir: correction
      model: { path: model }
      quantization: { packing: int2, skip: [down_proj] }
      adapter: { type: int2.1, rank: 4, alpha: 16, correction: svd, target_modules: [q_proj, o_proj, up_proj] }
      objective: { type: distillation, divergence: 1, cross_entropy: 0.05 }
      data: { train: train.jsonl, eval: train.jsonl }
      train: { max_steps: 40, learning_rate: 0.01, weight_decay: 0 }
      log: { every_steps: 1 }
      """, to: "correction.yaml")
    try scratch.write(
      """
      output_dir: task
      model: { path: model }
      quantization: { packing: int2, skip: [down_proj] }
      adapter: { type: int2.1, from: correction/adapter, rank: 2 }
      data: { train: train.jsonl }
      train: { max_steps: 20, learning_rate: 0.01 }
      merge: { output: merged }
      """, to: "task.yaml")
  }

  private func train(_ arguments: String...) throws -> Command.Ending {
    try Command.run(["train"] + arguments, in: scratch.path)
  }

  private func losses(_ run: String) throws -> [Double] {
    try String(decoding: scratch.bytes("\(run)/metrics.jsonl"), as: UTF8.self).split(separator: "\n").compactMap {
      try JSON(parsing: String($0))["loss"]?.double
    }
  }

  @Test func `A correction is learned from the base, and a task stacked on it is one LoRA that merges`() throws {
    let first = try train("correction.yaml")
    #expect(first.code == 0, "\(first.errors)")
    #expect(first.errors.contains("KL(teacher ‖ model)"))
    let learned = try losses("correction")
    #expect(try #require(learned.last) < 0.7 * (try #require(learned.first)), "\(learned)")
    let second = try train("task.yaml")
    #expect(second.code == 0, "\(second.errors)")
    let configuration = try JSON.read(scratch.path + "/task/adapter/adapter_config.json")
    #expect(configuration["peft_type"]?.string == "LORA" && configuration["r"]?.int == 6)
    #expect(configuration["lora_alpha"]?.int == 6)
    let tensors = try Safetensors(scratch.path + "/task/adapter/adapter_model.safetensors")
    // Two blocks, three layers, two factors: the task stands where the correction does.
    #expect(tensors.names.count == 12)
  }

  @Test func `A closed-form start is nearer to the teacher than none`() throws {
    _ = try train("correction.yaml", "max_steps=1", "learning_rate=0", "adapter.correction=none", "rank=16")
    let without = try #require(try losses("correction").first)
    _ = try train("correction.yaml", "max_steps=1", "learning_rate=0", "rank=16", "--overwrite")
    #expect(try #require(try losses("correction").first) < without)
  }

  @Test func `What an objective and a correction need is told before training`() throws {
    let plain = try train("correction.yaml", "~quantization")
    #expect(plain.code != 0 && plain.errors.contains("add a quantization section"), "\(plain.errors)")
    let weight = try train("task.yaml", "objective.divergence=2")
    #expect(weight.errors.contains("belongs to objective distillation"), "\(weight.errors)")
    let unmeasured = try train("correction.yaml", "adapter.correction=nearest")
    #expect(unmeasured.errors.contains("adapter.correction 'nearest' is not none, svd, lqer, eora"))
  }

  @Test func `S²FT stores its channels, reads them back and exports`() throws {
    try scratch.write(
      """
      output_dir: s2ft
      model: { path: model }
      adapter: { type: s2ft, rank: 4, selection: weight, target_modules: [o_proj, down_proj] }
      data: { train: train.jsonl }
      train: { max_steps: 20, learning_rate: 0.01 }
      export: { gguf_lora: adapter.gguf }
      """, to: "s2ft.yaml")
    let ending = try train("s2ft.yaml")
    #expect(ending.code == 0, "\(ending.errors)")
    #expect(ending.errors.contains("bit for bit"))
    let configuration = try JSON.read(scratch.path + "/s2ft/adapter/adapter_config.json")
    #expect(configuration["peft_type"]?.string == "S2FT")
    let channels = try #require(configuration["graft"]?["channels"]?.object)
    #expect(channels.count == 4 && channels.values.contains { ($0.array?.count ?? 0) > 0 })
    #expect(FileManager.default.fileExists(atPath: scratch.path + "/adapter.gguf"))
  }
}
