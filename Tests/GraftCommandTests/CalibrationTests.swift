import Foundation
import Testing

/// Methods that measure first, through the command line.
@Suite(.serialized)
struct CalibrationTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch(learning: Scratch.rowsOfAllLengths) }

  private func train(
    _ name: String, _ adapter: String, _ more: String = "", _ arguments: [String] = []
  ) throws -> Command.Ending {
    try scratch.write(
      """
      output_dir: \(name)
      model: { path: model }
      adapter: { rank: 4, alpha: 8, \(adapter) }
      data: { train: train.jsonl, eval: eval.jsonl }
      train: { max_steps: 30, batch_size: 3 }
      \(more)
      """, to: name + ".yaml")
    return try Command.run(["train", name + ".yaml"] + arguments, in: scratch.path)
  }

  private func changedByTraining(_ name: String) throws -> [String] {
    let files = ["model.safetensors", "config.json"]
    return try files.filter { file in
      try scratch.bytes("model/" + file)
        != Data(contentsOf: URL(fileURLWithPath: fixtures + "/models/llama-untied/" + file))
    }
  }

  @Test func `CorDA trains, keeps what it measured, and is stored for the untouched base`() throws {
    let targets = "type: corda, target_modules: [q_proj, up_proj]"
    let section = "calibration: { statistics: s.h5 }\nmerge: { output: merged, format: full }"
    let first = try train("one", targets, section)
    #expect(first.code == 0, "\(first.errors)")
    #expect(first.errors.contains("calibration  24 rows, 231 tokens, through 4 layers, measured anew and kept in"))
    #expect(first.errors.contains("s.h5: it was not there"))
    #expect(first.errors.contains("as plain LoRA over the untouched base: logits within"))
    #expect(try changedByTraining("one").isEmpty)
    let configuration = String(decoding: try scratch.bytes("one/adapter/adapter_config.json"), as: UTF8.self)
    #expect(configuration.contains("\"peft_type\": \"LORA\"") && configuration.contains("\"r\": 8"))
    let second = try train("two", targets, section)
    #expect(second.errors.contains("through 4 layers, taken from"))
    let adapters = try ["one", "two"].map { try scratch.bytes($0 + "/adapter/adapter_model.safetensors") }
    #expect(adapters[0] == adapters[1])
    let other = try train("three", targets, section.replacing("s.h5", with: "s.h5, max_rows: 20"))
    #expect(other.errors.contains("s.h5: it was measured on other data"))
    let packed = try train(
      "four", targets, section + "\nquantization: { packing: int8, group_size: 32, skip: [down_proj] }")
    #expect(packed.errors.contains("s.h5: it was measured on another base"))
    #expect(packed.code == 0, "\(packed.errors)")
  }

  @Test(arguments: ["pissa", "olora", "eva", "orthogonal", "pissa_niter_4"])
  func `A start trains, is proved, and merges`(_ start: String) throws {
    let ending = try train(
      "run", "type: lora, init: \(start), target_modules: [v_proj, down_proj]",
      "merge: { output: merged, format: full }")
    #expect(ending.code == 0, "\(ending.errors)")
    #expect(ending.errors.contains(start.hasPrefix("pissa") || start == "olora" ? "logits within" : "bit for bit"))
    #expect(try changedByTraining("run").isEmpty)
  }

  @Test func `LoftQ rounds what it starts from, and its file is put on the base rounded the same way`() throws {
    let ending = try train(
      "run", "type: lora, init: loftq, target_modules: [q_proj, v_proj]",
      "quantization: { packing: int8, group_size: 32, skip: [down_proj] }\nmerge: { output: merged, format: full }")
    #expect(ending.code == 0, "\(ending.errors)")
    #expect(ending.errors.contains("bit for bit"))
    #expect(ending.errors.contains("int8-g32"))
    let refused = try train(
      "skipped", "type: lora, init: loftq, target_modules: [q_proj, v_proj]",
      "quantization: { packing: int8, group_size: 32, skip: [down_proj, v_proj] }")
    #expect(refused.code != 0)
    #expect(
      refused.errors.contains(
        "loftq starts from what packing a layer loses, and 'model.layers.0.self_attn.v_proj' is not packed"))
  }

  @Test func `Too little data, or a section without use, is refused before training`() throws {
    let few = try train("few", "type: corda", "calibration: { max_rows: 2 }")
    #expect(few.code != 0 && few.errors.contains("few.yaml:6:1: 2 rows hold"))
    #expect(
      few.errors.contains(
        "tokens, fewer than the 176 inputs of layer 'model.layers.0.mlp.down_proj': their second moment would have no inverse"
      ), "\(few.errors)")
    let missing = try train("missing", "type: corda", "calibration: { data: none.jsonl }")
    #expect(missing.code != 0 && missing.errors.contains("none.jsonl"))
    let idle = try train("idle", "type: lora", "calibration: { max_rows: 2 }")
    #expect(
      idle.errors.contains("nothing is measured for adapter type 'lora' with init 'default'"), "\(idle.errors)")
    for name in ["few", "missing", "idle"] {
      #expect(!FileManager.default.fileExists(atPath: scratch.path + "/\(name)/metrics.jsonl"))
    }
  }

  @Test func `An interrupted run goes on to the same bytes`() throws {
    let adapter = "type: corda, mode: kpm, target_modules: [q_proj, up_proj]"
    #expect(try train("whole", adapter).code == 0)
    #expect(try train("part", adapter, "save: { every_steps: 10 }").code == 0)
    // As if it had been killed after step 20.
    for name in ["report.json", "adapter", "checkpoints/step-000030"] {
      try FileManager.default.removeItem(atPath: scratch.path + "/part/" + name)
    }
    let resumed = try Command.run(["resume", "part", "--threads", "1"], in: scratch.path)
    #expect(resumed.code == 0 && resumed.errors.contains("resuming after step 20"), "\(resumed.errors)")
    let adapters = try ["whole", "part"].map { try scratch.bytes($0 + "/adapter/adapter_model.safetensors") }
    #expect(adapters[0] == adapters[1])
  }
}
