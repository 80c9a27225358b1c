import Files
import Foundation
import Testing

/// A family that routes by task, from a recipe to one task's merged model, on a tiny model.
struct TaskTests {
  private let scratch: Scratch

  init() throws {
    scratch = try Scratch()
    try scratch.copy("models/llama-untied", as: "model")
    try scratch.write(Self.rows(["ask", "tell"]), to: "train.jsonl")
    try scratch.write(Self.rows(["sing", "tell"]), to: "later.jsonl")
    try scratch.write(
      """
      output_dir: run
      model: { path: model }
      adapter: { type: mhr, rank: 2, alpha: 4, skills: 3, heads: 2 }
      data: { train: train.jsonl, task_field: task }
      train: { max_steps: 12, learning_rate: 0.02, role_rates: { router: 20 } }
      """, to: "recipe.yaml")
  }

  /// Rows that begin alike and go on as their task says.
  private static func rows(_ tasks: [String]) -> String {
    (0..<8).map { i in
      let end = i % 2 == 0 ? "55, 90, 120" : "200, 210, 220"
      return "{\"input_ids\": [\(i + 3), 17, 29, \(end)], \"task\": \"\(tasks[i % 2])\"}"
    }.joined(separator: "\n")
  }

  private func run(_ arguments: String...) throws -> Command.Ending { try Command.run(arguments, in: scratch.path) }

  private func train(_ changes: String...) throws {
    let ending = try Command.run(["train", "recipe.yaml"] + changes, in: scratch.path)
    try #require(ending.code == 0, "\(ending.errors)")
  }

  private func logits(_ model: [String], _ name: String) throws -> [Float] {
    let ending = try Command.run(
      ["logits"] + model + ["--ids", "3,17,29,55,90", "--out", name], in: scratch.path)
    try #require(ending.code == 0, "\(ending.errors)")
    return try Safetensors(scratch.path + "/" + name).entry("logits").floats()
  }

  private func distance(_ a: [Float], _ b: [Float]) -> Float {
    a.count == b.count ? zip(a, b).reduce(0) { max($0, abs($1.0 - $1.1)) } : .infinity
  }

  @Test func `Each task has a model of its own, which folds`() throws {
    try train()
    let ask = try logits(["model", "--adapter", "run/adapter", "--task", "ask"], "ask.safetensors")
    let tell = try logits(["model", "--adapter", "run/adapter", "--task", "tell"], "tell.safetensors")
    #expect(distance(ask, tell) > 0.01)
    for (output, task, expected) in [("ask-merged", "ask", ask), ("tell.gguf", "tell", tell)] {
      let merge = try run("merge", "model", "run/adapter", "--task", task, "--output", output)
      #expect(merge.code == 0, "\(merge.output)\(merge.errors)")
      #expect(distance(try logits([output], "merged.safetensors"), expected) < 1e-4)
    }
    let lora = try run(
      "export", "model", "--adapter", "run/adapter", "--task", "ask", "--to", "gguf-lora", "--output", "ask-lora.gguf")
    #expect(lora.code == 0, "\(lora.errors)")
  }

  @Test func `Without a task, or with one it does not know, a command names those there are`() throws {
    try train()
    for command in [
      ["generate", "model", "--adapter", "run/adapter", "--prompt", "a"],
      ["perplexity", "model", "--adapter", "run/adapter", "--text", "recipe.yaml"],
      ["logits", "model", "--adapter", "run/adapter", "--ids", "3", "--out", "x"],
      ["merge", "model", "run/adapter", "--output", "x"],
      ["export", "model", "--adapter", "run/adapter", "--to", "hf", "--output", "x"],
    ] {
      let ending = try Command.run(command, in: scratch.path)
      #expect(ending.code == 2 && ending.errors.contains("--task: ask, tell"), "\(command) \(ending.errors)")
    }
    let unknown = try run("merge", "model", "run/adapter", "--task", "sing", "--output", "x")
    #expect(unknown.code == 2 && unknown.errors.contains("no such task; its tasks are ask, tell"))
    let bare = try run("logits", "model", "--task", "ask", "--ids", "3", "--out", "x")
    #expect(bare.code == 2 && bare.errors.contains("--task belongs to --adapter"))
    #expect(!FileManager.default.fileExists(atPath: scratch.path + "/x"))
  }

  @Test func `A task is refused where the adapter is the same for all`() throws {
    try train("adapter.type=lora", "~adapter.skills", "~adapter.heads")
    let ending = try run("merge", "model", "run/adapter", "--task", "ask", "--output", "x")
    #expect(ending.code == 2 && ending.errors.contains("computes the same for every task"))
  }

  @Test func `A recipe that would merge all tasks into one, or names none, is refused before training`() throws {
    let merge = try run("train", "recipe.yaml", "merge.output=merged.gguf")
    #expect(merge.code == 2 && merge.errors.contains("'mhr' folds for one task at a time"))
    let file = scratch.path + "/recipe.yaml"
    let text = try String(contentsOfFile: file, encoding: .utf8).replacing(", task_field: task", with: "")
    try scratch.write(text, to: "recipe.yaml")
    let taskless = try run("train", "recipe.yaml")
    #expect(taskless.code == 2 && taskless.errors.contains("no row names its task"))
    #expect(!FileManager.default.fileExists(atPath: scratch.path + "/run/adapter"))
  }

  @Test(arguments: ["full", "router", "mean"])
  func `An inventory goes on to other tasks`(_ mode: String) throws {
    try train()
    let before = try Safetensors(scratch.path + "/run/adapter/adapter_model.safetensors")
    try train(
      "output_dir=later", "adapter.from=run/adapter", "adapter.mode=\(mode)", "data.train=later.jsonl")
    let after = try Safetensors(scratch.path + "/later/adapter/adapter_model.safetensors")
    if mode == "mean" {
      #expect(after.names.allSatisfy { $0.hasSuffix("lora_A.weight") || $0.hasSuffix("lora_B.weight") })
      #expect(try run("merge", "model", "later/adapter", "--output", "merged").code == 0)
    } else {
      #expect(after.names.sorted() == before.names.sorted())
      for name in before.names where name.hasSuffix("poly_lora_B") {
        let same = try before.entry(name).floats() == after.entry(name).floats()
        #expect(same == (mode == "router"), "\(name)")
      }
      #expect(try run("merge", "model", "later/adapter", "--task", "sing", "--output", "merged").code == 0)
    }
  }

  @Test func `A Poly folder of PEFT serves each task, by name or by number, and becomes plain LoRA`() throws {
    try scratch.copy("adapters/llama-untied/poly", as: "poly")
    for task in ["0", "task1"] {
      let apart = try logits(["model", "--adapter", "poly", "--task", task], "apart.safetensors")
      let convert = try run(
        "convert", "poly", "--to", "lora", "--base", "model", "--task", task, "--output", "lora", "--overwrite")
      #expect(convert.code == 0 && convert.output.contains("6 layers, 6 exact"), "\(convert.errors)")
      #expect(distance(try logits(["model", "--adapter", "lora"], "lora.safetensors"), apart) < 1e-5)
      let merged = "merged-" + task
      #expect(try run("merge", "model", "poly", "--task", task, "--output", merged).code == 0)
      #expect(distance(try logits([merged], "merged.safetensors"), apart) < 1e-4)
    }
    let unknown = try run("logits", "model", "--adapter", "poly", "--task", "2", "--ids", "3", "--out", "x")
    #expect(unknown.code == 2 && unknown.errors.contains("no such task; its tasks are task0, task1"))
    #expect(try run("generate", "model", "--adapter", "poly", "--task", "1", "--prompt", "a").code == 0)
  }

  @Test func `A run's adapter is written as Poly by its recipe or by convert, with α in its factors`() throws {
    try train("export.peft=exported")
    let wanted = try ["ask", "tell"].map { try logits(["model", "--adapter", "run/adapter", "--task", $0], "own") }
    let convert = try run("convert", "run/adapter", "--to", "poly", "--output", "poly")
    #expect(convert.code == 0, "\(convert.errors)")
    #expect(convert.output.contains("14 layers: 3 skills of rank 2 in 2 heads, for 2 tasks"))
    #expect(try scratch.bytes("poly/adapter_model.safetensors") == scratch.bytes("exported/adapter_model.safetensors"))
    #expect(String(decoding: try scratch.bytes("poly/adapter_config.json"), as: UTF8.self).contains("\"POLY\""))
    for (task, wanted) in zip(["ask", "tell"], wanted) {
      // α = 4 is a power of two.
      #expect(distance(try logits(["model", "--adapter", "poly", "--task", task], "poly.safetensors"), wanted) == 0)
    }
    let twice = try run("convert", "run/adapter", "--to", "poly", "--output", "poly")
    #expect(twice.code == 3 && twice.errors.contains("is there already"))
    let stray = try run("convert", "run/adapter", "--to", "poly", "--task", "ask", "--output", "other")
    #expect(stray.code == 2 && stray.errors.contains("belong to --to lora"))
    let biases = try run("train", "recipe.yaml", "output_dir=more", "adapter.bias=all", "export.peft=x")
    #expect(
      biases.code == 2 && biases.errors.contains("PEFT's Poly, which has no place for biases"), "\(biases.errors)")
  }

  @Test func `Hydra without biases folds and is exported as plain LoRA, and with biases is refused in time`() throws {
    let hydra = ["adapter.type=hydra", "~adapter.skills", "~adapter.heads"]
    let files = ["merge.output=merged.gguf", "export.gguf_lora=lora.gguf"]
    let refused = try Command.run(["train", "recipe.yaml"] + hydra + files, in: scratch.path)
    #expect(refused.code == 2, "\(refused.errors)")
    #expect(refused.errors.contains("would give 'model.layers.0.self_attn.q_proj' a bias"))
    #expect(refused.errors.contains("does not amount to plain LoRA without biases"))
    #expect(!FileManager.default.fileExists(atPath: scratch.path + "/run/adapter"))
    let done = try Command.run(
      ["train", "recipe.yaml", "adapter.branch_bias=false"] + hydra + files, in: scratch.path)
    #expect(done.code == 0, "\(done.errors)")
    let apart = try logits(["model", "--adapter", "run/adapter"], "apart.safetensors")
    #expect(distance(try logits(["merged.gguf"], "folded.safetensors"), apart) < 1e-4)
  }
}
