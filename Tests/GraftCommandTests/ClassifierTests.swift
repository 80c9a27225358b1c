import Files
import Foundation
import Testing

/// A tiny encoder that learns classes, from a recipe to a merged folder, as a user has it.
struct ClassifierTests {
  private let scratch: Scratch

  init() throws {
    scratch = try Scratch()
    try scratch.copy("models/bert-cls", as: "model")
    let texts = [("the quick dog", "fox"), ("hello world", "greeting"), ("it's over", "other")]
    let rows = (0..<24).map { i in
      "{\"text\": \"\(texts[i % 3].0) \(i % 5)\", \"second\": \"or \(i % 2)\", \"label\": \"\(texts[i % 3].1)\"}"
    }
    try scratch.write(rows.joined(separator: "\n"), to: "train.jsonl")
    try scratch.write(rows.prefix(9).joined(separator: "\n"), to: "eval.jsonl")
    try scratch.write(
      """
      output_dir: run
      model: { path: model }
      adapter: { type: lora, rank: 4, alpha: 8 }
      data: { format: classification, train: train.jsonl, eval: eval.jsonl, max_seq_len: 32 }
      train: { epochs: 12, batch_size: 8, learning_rate: 0.01 }
      merge: { output: merged }
      """, to: "recipe.yaml")
  }

  private func run(_ arguments: String...) throws -> Command.Ending { try Command.run(arguments, in: scratch.path) }

  private func classify(_ arguments: [String]) throws -> JSON {
    let ending = try Command.run(["classify"] + arguments + ["--json"], in: scratch.path)
    try #require(ending.code == 0, "\(ending.errors)")
    return try JSON(parsing: ending.output, path: "output")
  }

  @Test(arguments: ["lora", "dora", "hydra", "s2ft", "mosa", "bottleneck", "corda", "qllm", "mhr", "s2ft-gradient"])
  func `An encoder learns classes, and its adapter reads back with their names`(_ family: String) throws {
    let own = [
      "hydra": ["adapter.branch_bias=false"], "bottleneck": ["~merge"], "mhr": ["data.task_field=second", "~merge"],
      "qllm": ["adapter.activation_bits=8", "~merge"],
      "s2ft-gradient": ["adapter.type=s2ft", "adapter.selection=gradient", "adapter.target_modules=[output.dense]"],
    ]
    let changes = (own[family] ?? []).contains { $0.hasPrefix("adapter.type") } ? [] : ["adapter.type=\(family)"]
    let task = family == "mhr" ? ["--task", "or 0"] : []
    let ending = try Command.run(["train", "recipe.yaml"] + changes + (own[family] ?? []), in: scratch.path)
    try #require(ending.code == 0, "\(ending.errors)")
    #expect(ending.errors.contains("classes   3: fox, greeting, other; a fresh head learns with the adapter"))
    #expect(ending.errors.contains("adapter read back from disk"))
    let report = try JSON.read(scratch.path + "/run/report.json")
    #expect(try #require(report["eval_accuracy"]?.double) == 1)
    #expect(try #require(report["eval_macro_f1"]?.double) == 1)
    let told = try classify(["model", "--adapter", "run/adapter", "--text", "hello world 9"] + task)
    #expect(told["label"]?.string == "greeting")
    let probabilities = (told["probabilities"]?.object ?? [:]).values.compactMap(\.double)
    #expect(abs(probabilities.reduce(0, +) - 1) < 1e-5 && probabilities.count == 3)
  }

  @Test func `A merged encoder tells the classes that base and adapter told`() throws {
    let ending = try run("train", "recipe.yaml", "data.pair_field=second", "merge.verify.max_kl=1e-6")
    try #require(ending.code == 0, "\(ending.errors)")
    let files = ["--file", "eval.jsonl", "--pair-field", "second", "--output"]
    for (model, output) in [(["model", "--adapter", "run/adapter"], "apart.jsonl"), (["merged"], "merged.jsonl")] {
      let told = try Command.run(["classify"] + model + files + [output, "--json"], in: scratch.path)
      #expect(told.code == 0, "\(told.errors)")
      #expect(try JSON(parsing: told.output, path: "output")["accuracy"]?.double == 1)
    }
    let apart = try scratch.bytes("apart.jsonl"), merged = try scratch.bytes("merged.jsonl")
    let rows = [apart, merged].map { String(decoding: $0, as: UTF8.self).split(separator: "\n") }
    #expect(rows[0].count == 9)
    for (a, b) in zip(rows[0], rows[1]) {
      let (a, b) = (try JSON(parsing: String(a), path: "a"), try JSON(parsing: String(b), path: "b"))
      #expect(a["label"] == b["label"] && a["truth"] == b["truth"])
      for name in ["fox", "greeting", "other"] {
        let left = try #require(a["probabilities"]?[name]?.double)
        let right = try #require(b["probabilities"]?[name]?.double)
        #expect(abs(left - right) < 1e-5)
      }
    }
    let configuration = try JSON.read(scratch.path + "/merged/config.json")
    #expect(configuration["id2label"]?["1"]?.string == "greeting")
  }

  @Test func `A head that tells the data's classes by number is kept`() throws {
    let rows = (0..<6).map { "{\"text\": \"hello \($0)\", \"label\": \($0 % 3)}" }
    try scratch.write(rows.joined(separator: "\n"), to: "train.jsonl")
    let ending = try run("train", "recipe.yaml", "~data.eval", "train.epochs=1", "~merge")
    try #require(ending.code == 0, "\(ending.errors)")
    #expect(ending.errors.contains("classes   3: 0, 1, 2; the model's own head learns with the adapter"))
  }

  @Test(arguments: [
    (["data.format=text"], "'text' is text to be written, and the model is an encoder"),
    (["+eval.samples.prompts=[hi]"], "an encoder writes no text"),
    (["+export.gguf=out.gguf"], "an encoder has no GGUF form here"),
    (["merge.format=requantize"], "an encoder has no GGUF form here"),
    (["data.label_field=kind"], "'kind' is missing"),
    (["data.pair_field=third"], "'third' is missing"),
    (["data.train=one.jsonl", "~data.eval"], "names one class, 'a'; there is nothing to tell apart"),
    (["model.path=\(fixtures)/models/llama-untied"], "'classification' needs an encoder with a head"),
    (["data.eval=stranger.jsonl"], "class 'unheard' is none of those known: fox, greeting, other"),
    (["objective.type=distillation"], "the base has no head for these classes that could be followed"),
    (["objective.type=distillation", "objective.teacher=headless"], "the teacher tells 0 classes and the model 3"),
    (
      ["objective.type=distillation", "objective.teacher=\(fixtures)/models/llama-untied"],
      "one of teacher and model tells classes and the other writes text"
    ),
    (["model.path=narrow", "data.pair_field=second"], "the model knows 1 kinds of segment"),
    (["data.max_seq_len=100"], "100 tokens are more than the model's context of 64"),
  ])
  func `What an encoder cannot do is refused before training`(_ changes: [String], _ problem: String) throws {
    try scratch.write("{\"text\": \"x\", \"label\": \"a\"}", to: "one.jsonl")
    try scratch.write("{\"text\": \"x\", \"label\": \"unheard\"}", to: "stranger.jsonl")
    try make("headless") { $0.hasPrefix("classifier") ? nil : $1 }
    try make("narrow") { $0.contains("token_type") ? $1.prefix(1) : $1 }
    let changes = changes.map { $0.hasPrefix("+") ? String($0.dropFirst()) : $0 }
    let ending = try Command.run(["train", "recipe.yaml"] + changes, in: scratch.path)
    #expect([2, 3].contains(ending.code), "\(ending.code)")
    #expect(ending.errors.contains(problem), "\(ending.errors)")
    #expect(!Folder.exists(scratch.path + "/run/adapter"))
  }

  @Test func `A decoder tells no classes, and an encoder writes no text`() throws {
    try scratch.copy("models/llama-untied", as: "decoder")
    let classify = try run("classify", "decoder", "--text", "hello")
    #expect(classify.code == 3 && classify.errors.contains("is a decoder (llama), which has no head for classes"))
    let generate = try run("generate", "model", "--prompt", "hello")
    #expect(generate.code == 3 && generate.errors.contains("is an encoder (bert), which reads texts and writes none"))
    let both = try run("classify", "model", "--text", "a", "--file", "train.jsonl")
    #expect(both.code == 2 && both.errors.contains("give either --text or --file"))
    let long = try run("classify", "model", "--text", String(repeating: "hello ", count: 90))
    #expect(long.code == 3 && long.errors.contains("the model reads at most 64"))
  }

  @Test func `An encoder without a head tells no classes, and merges as it reads`() throws {
    try make("headless") { $0.hasPrefix("classifier") ? nil : $1 }
    for command in [
      ["classify", "headless", "--text", "hello"], ["logits", "headless", "--ids", "2,9,3", "--out", "x"],
    ] {
      let ending = try Command.run(command, in: scratch.path)
      #expect(ending.code == 3 && ending.errors.contains("is an encoder without a head for classes"), "\(command)")
    }
    // An adapter of the encoder alone, as one trained for embeddings is.
    try #require(try run("train", "recipe.yaml", "~merge").code == 0)
    let tensors = scratch.path + "/run/adapter/adapter_model.safetensors"
    let file = try Safetensors(tensors)
    let kept = try file.names.filter { !$0.contains("classifier") }.map { name in
      let entry = try file.entry(name)
      return TensorToWrite(name: name, floats: try entry.floats(), shape: entry.shape)
    }
    try Safetensors.write(kept, metadata: [:], to: tensors)
    var configuration = try #require(try JSON.read(scratch.path + "/run/adapter/adapter_config.json").object)
    configuration["modules_to_save"] = .null
    try scratch.write(JSON.object(configuration).text(), to: "run/adapter/adapter_config.json")
    let merge = try run("merge", "headless", "run/adapter", "--any-base", "--output", "plain")
    #expect(merge.code == 0 && merge.output.contains("does what base + adapter do"), "\(merge.output)\(merge.errors)")
  }

  @Test func `A pair is refused where the model knows one kind of segment`() throws {
    try make("narrow") { $0.contains("token_type") ? $1.prefix(1) : $1 }
    let pair = try run("classify", "narrow", "--text", "hello", "--pair", "world")
    #expect(pair.code == 3 && pair.errors.contains("gives pairs of texts 2"), "\(pair.errors)")
    #expect(try run("classify", "narrow", "--text", "hello").code == 0)
  }

  /// A copy of the model with its tensors as `change` has their rows.
  private func make(
    _ name: String, _ change: (_ name: String, _ rows: ArraySlice<[Float]>) -> ArraySlice<[Float]>?
  ) throws {
    let folder = scratch.path + "/" + name
    try scratch.copy("models/bert-cls", as: name)
    let file = try Safetensors(folder + "/model.safetensors")
    let tensors = try file.names.compactMap { name -> TensorToWrite? in
      let entry = try file.entry(name), values = try entry.floats()
      let width = values.count / entry.shape[0]
      let rows = stride(from: 0, to: values.count, by: width).map { Array(values[$0..<$0 + width]) }
      guard let changed = change(name, rows[...]) else { return nil }
      return TensorToWrite(
        name: name, floats: changed.flatMap(\.self), shape: [changed.count] + entry.shape.dropFirst())
    }
    try FileManager.default.removeItem(atPath: folder + "/model.safetensors")
    try Safetensors.write(tensors, metadata: [:], to: folder + "/model.safetensors")
    if name == "narrow" {
      var configuration = try #require(try JSON.read(folder + "/config.json").object)
      configuration["type_vocab_size"] = .integer(1)
      try JSON.object(configuration).text().write(toFile: folder + "/config.json", atomically: true, encoding: .utf8)
    }
  }
}
