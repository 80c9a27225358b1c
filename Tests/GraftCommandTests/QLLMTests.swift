import Files
import Foundation
import Testing

/// QLLM and tuning by blocks from recipe to file, on a tiny model.
@Suite(.serialized)
struct QLLMTests {
  private let scratch: Scratch

  init() throws {
    scratch = try Scratch(learning: Scratch.rowsOfAllLengths)
    try scratch.write(
      """
      output_dir: run
      model: { path: model }
      quantization: { packing: int4, group_size: 32, skip: [down_proj] }
      adapter: { type: qllm, rank: 4, alpha: 1, activation_bits: 4, modules_to_save: [input_layernorm] }
      objective: { type: blocks, blocks: 1 }
      data: { train: train.jsonl, eval: eval.jsonl }
      calibration: { statistics: s.h5 }
      train: { max_steps: 60, batch_size: 3, learning_rate: 0.05 }
      log: { every_steps: 1 }
      """, to: "run.yaml")
  }

  private func train(_ arguments: String...) throws -> Command.Ending {
    try Command.run(["train", "run.yaml"] + arguments, in: scratch.path)
  }

  @Test func `It measures, tunes block by block, is read back and used`() throws {
    let ending = try train()
    #expect(ending.code == 0, "\(ending.errors)")
    for line in [
      "measured anew and kept in", "in 2 rounds of up to 1 blocks; teacher the base as it lies on disk",
      "round 1: blocks 0 to 0, 30 steps", "round 2: blocks 1 to 1, 30 steps", "bit for bit",
    ] { #expect(ending.errors.contains(line), "\(line): \(ending.errors)") }
    let entries = try String(decoding: scratch.bytes("run/metrics.jsonl"), as: UTF8.self).split(separator: "\n")
      .map { try JSON(parsing: String($0)) }
    let losses = entries.compactMap { $0["loss"]?.double }, rates = entries.compactMap { $0["lr"]?.double }
    #expect(losses.count == 60 && losses[25..<30].reduce(0, +) < 0.9 * losses[0..<5].reduce(0, +), "\(losses)")
    #expect(losses[55..<60].reduce(0, +) < losses[30..<35].reduce(0, +) && rates[30] == rates[0])
    // What is judged on held-out rows is the prediction, in nats: that of 320 tokens by chance is 5.8.
    let held = entries.compactMap { $0["eval_loss"]?.double }
    #expect(held.count == 2 && held.allSatisfy { $0 > 1 && $0 < 20 })
    let configuration = try JSON.read(scratch.path + "/run/adapter/adapter_config.json")
    #expect(configuration["peft_type"]?.string == "QLLM")
    let channels = try #require(configuration["graft"]?["channels"]?.object)
    #expect(
      channels.count == 14 && channels.filter { $0.key.hasSuffix("o_proj") }.allSatisfy { $0.value == .array([]) })
    let used = try Command.run(
      ["logits", "model", "--adapter", "run/adapter", "--ids", "3,17,29", "--out", "l.safetensors"], in: scratch.path)
    #expect(used.code == 0, "\(used.errors)")
    let again = try train("output_dir=again")
    #expect(again.errors.contains("taken from"))
    let files = try ["run", "again"].map { try scratch.bytes($0 + "/adapter/adapter_model.safetensors") }
    #expect(files[0] == files[1])
  }

  @Test func `What it cannot be asked is told before training`() throws {
    for (arguments, sentence) in [
      (["adapter.activation_bits=5"], "adapter.activation_bits '5' is not 4, 6, 8 or 16"),
      (["adapter.reassembly_ratio=-1"], "adapter.reassembly_ratio '-1' is not a number from 0 to 0.5"),
      (["adapter.activation_bits=16"], "nothing is measured for adapter type 'qllm'"),
      (["merge.output=merged"], "it rounds its layers' inputs to 4 bits, which no matrix does"),
      (["max_steps=1"], "1 steps for 2 rounds of blocks"),
      (["adapter.modules_to_save=[norm]"], "'model.norm.weight' learns but belongs to no block"),
      (["objective.divergence=2"], "belongs to objective distillation; this recipe trains by blocks"),
      (["objective.blocks=0"], "'objective.blocks' must be a whole number from 1 to 65536"),
      (["train.early_stopping.patience=2", "eval.every_steps=5"], "objective blocks ends each round by its steps"),
    ] {
      let ending = try Command.run(["train", "run.yaml"] + arguments, in: scratch.path)
      #expect(ending.code == 2 && ending.errors.contains(sentence), "\(arguments): \(ending.errors)")
      #expect(!FileManager.default.fileExists(atPath: scratch.path + "/run/metrics.jsonl"))
    }
    let routed = try train("~calibration", "~adapter.activation_bits", "adapter.type=mosa", "~adapter.modules_to_save")
    #expect(routed.errors.contains("'mosa' makes two passes a step, which blocks does not"), "\(routed.errors)")
    let plain = try train("objective.type=cross_entropy")
    #expect(plain.errors.contains("'objective.blocks' belongs to objective blocks"), "\(plain.errors)")
  }

  @Test func `Without rounding it merges and is stored as plain LoRA`() throws {
    let ending = try train(
      "~calibration", "adapter.activation_bits=16", "~adapter.modules_to_save", "merge.output=merged",
      "merge.format=full")
    #expect(ending.code == 0 && ending.errors.contains("does what base + adapter do"), "\(ending.errors)")
    let configuration = try JSON.read(scratch.path + "/run/adapter/adapter_config.json")
    #expect(configuration["peft_type"]?.string == "LORA" && configuration["lora_alpha"]?.int == 1)
  }

  @Test func `An adapter whose reassembly was tampered with is refused`() throws {
    #expect(try train("max_steps=2").code == 0)
    let path = "run/adapter/adapter_config.json"
    let text = String(decoding: try scratch.bytes(path), as: UTF8.self)
    let key = "\"model.layers.1.self_attn.o_proj\": []"
    #expect(text.contains(key))
    try scratch.write(text.replacing(key, with: key.replacing("[]", with: "[1, 70, 2, 0, 1]")), to: path)
    let ending = try Command.run(["generate", "model", "--adapter", "run/adapter", "--prompt", "x"], in: scratch.path)
    #expect(
      ending.code == 3 && ending.errors.contains("splits channel 70 of 64, or splits it twice"), "\(ending.errors)")
  }
}
