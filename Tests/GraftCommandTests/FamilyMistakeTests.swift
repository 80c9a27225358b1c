import Foundation
import Testing

/// Every family and the mistakes that can be made with it, through the program: one message that names the key at its
/// line, before any training, and nothing written.
struct FamilyMistakeTests {
  private let scratch: Scratch

  init() throws {
    scratch = try Scratch()
    try scratch.link("models/llama-untied", as: "model")
    try scratch.link("models/llama3-rope", as: "other")
    let rows = (0..<24).map { row in
      let ids = (0..<20).map { String(($0 * 37 + row * 101) % 320) }.joined(separator: ", ")
      return "{\"input_ids\": [\(ids)], \"task\": \"\(row % 2 == 0 ? "ask" : "tell")\"}"
    }
    try scratch.write(rows.joined(separator: "\n"), to: "d.jsonl")
    try scratch.write(rows[0], to: "one.jsonl")
  }

  /// The families that stand on linear layers and are trained by rank.
  static let lowRank = ["lora", "dora", "hydra", "mhr", "corda", "mosa", "int2.1"]
  /// Those that a language model can carry.
  static let families = lowRank + ["s2ft", "bottleneck"]
  static let all = families + ["full", "clr"]

  /// A recipe of which the adapter's lines begin with line 5, and `more` with line 5 + their number + 2.
  private func write(_ family: String, _ adapter: [String] = ["rank: 4"], _ more: String = "") throws {
    var lines = ["output_dir: out", "model: { path: model }", "adapter:", "  type: \(family)"]
    lines += adapter.map { "  " + $0 }
    lines.append("data: { train: d.jsonl\(family == "mhr" ? ", task_field: task" : "") }")
    lines.append("train: { max_steps: 1 }")
    lines.append(more)
    if family == "int2.1", !more.contains("quantization") {
      lines.append("quantization: { packing: int4, skip: [down_proj] }")
    }
    if family == "full", !more.contains("merge") { lines.append("merge: { output: m }") }
    try scratch.write(lines.joined(separator: "\n"), to: "r.yaml")
  }

  /// Expects the recipe to be refused at a line with the given words.
  private func expectRefusal(
    _ line: Int, _ words: String, _ overrides: [String] = [], sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    try scratch.expect(
      ["train", "r.yaml"] + overrides, endsWith: [2], about: "r.yaml:\(line):", saying: words,
      sourceLocation: sourceLocation)
  }

  @Test(arguments: lowRank) func `A rank above what a matrix can use`(_ family: String) throws {
    let words = "is above 32, the most that a change of 'model.layers.0.self_attn.k_proj' [32, 64] can have"
    try write(family, ["rank: 65"])
    try expectRefusal(5, "rank 65 " + words)
    try write(family, ["rank: 33"])
    try expectRefusal(5, "rank 33 " + words)
    try write(family, ["rank: 4", "rank_pattern: { k_proj: 33 }"])
    try expectRefusal(6, family == "int2.1" ? "has one rank for all layers" : "rank 33 " + words)
    try write(family, ["rank: 65536"])
    try expectRefusal(5, "rank 65536 " + words)
    if family == "hydra" {
      try write(family, ["rank: 4", "sequential_rank: 33"])
      try expectRefusal(6, "sequential rank 33 " + words)
    }
    // The most is no mistake.
    try write(family, ["rank: 32"])
    #expect(try Command.run(["train", "r.yaml", "--dry-run"], in: scratch.path).code == 0)
  }

  @Test(arguments: all) func `Targets that are not there, and keys of another family`(_ family: String) throws {
    let rank = family == "full" ? [] : ["rank: 4"], line = 5 + rank.count
    try write(family, rank + ["target_modules: [q_porj]"])
    switch family {
    case "bottleneck": try expectRefusal(line, "the targets name none of the model's 4")
    case "clr": try expectRefusal(4, "stands behind convolutions, and the targets match none of the model's 0")
    default: try expectRefusal(line, "did you mean 'q_proj' (2 matches)?")
    }
    let (key, owner) = family == "mhr" ? ("ratio: 0.1", "s2ft") : ("skills: 3", "mhr")
    try write(family, rank + [key])
    try expectRefusal(line, "it belongs to \(owner)")
    try write(family, rank + ["skils: 3"])
    try expectRefusal(line, "unknown key 'skils'")
  }

  @Test(arguments: [
    ("dora", "init: pissa"), ("hydra", "init: pissa"), ("mhr", "init: pissa"), ("mhr", "dropout: 0.1"),
    ("corda", "init: pissa"), ("mosa", "init: olora"), ("int2.1", "init: eva"), ("s2ft", "init: pissa"),
    ("s2ft", "dropout: 0.1"), ("s2ft", "rslora: true"), ("bottleneck", "init: gaussian"), ("full", "dropout: 0.1"),
    ("lora", "init: loftq"), ("mhr", "mode: mean"), ("mhr", "heads: 3"), ("mhr", "skills: 0"), ("mosa", "splits: 257"),
    ("bottleneck", "splits: 0"), ("corda", "mode: both"), ("s2ft", "selection: best"), ("s2ft", "ratio: 2"),
    ("bottleneck", "style: tall"), ("hydra", "branch_bias: perhaps"), ("int2.1", "correction: nearest"),
  ])
  func `Values that mean nothing to a family`(_ family: String, _ line: String) throws {
    try write(family, family == "full" ? [line] : ["rank: 4", line])
    try expectRefusal(family == "full" ? 5 : 6, "")
  }

  @Test(arguments: all) func `Groups that do not divide a row`(_ family: String) throws {
    let rank = family == "full" ? [] : ["rank: 4"]
    try write(family, rank, "quantization:\n  packing: int4\n  group_size: 64")
    try expectRefusal(5 + rank.count + 4, "layer 'model.layers.0.mlp.down_proj'")
    try write(family, rank, "quantization:\n  packing: q8_0")
    try expectRefusal(5 + rank.count + 3, "layer 'model.layers.0.mlp.down_proj'")
  }

  @Test(arguments: [
    ("bottleneck", "merge: { output: m }", "cannot be merged: its activation"),
    ("bottleneck", "export: { gguf: m.gguf }", "cannot be merged: its activation"),
    ("mhr", "merge: { output: m }", "folds for one task at a time"),
    ("mhr", "export: { gguf_lora: m.gguf }", "folds for one task at a time"),
    ("clr", "merge: { output: m }", "cannot be merged"),
    ("hydra", "merge: { output: m }", "would give 'model.layers.0.self_attn.q_proj' a bias"),
    ("dora", "export: { gguf_lora: m.gguf }", "does not amount to plain LoRA"),
    ("full", "export: { peft: m }", "leaves no adapter"),
  ])
  func `Files that a family has no form for`(_ family: String, _ key: String, _ words: String) throws {
    try write(family, family == "full" ? [] : ["rank: 4"], key)
    try expectRefusal(family == "full" ? 4 : 8, words)
  }

  @Test(arguments: all) func `Calibration that is missing, too little or of no use`(_ family: String) throws {
    let rank = family == "full" ? [] : ["rank: 4"], line = 5 + rank.count + 2
    if family == "corda" {
      try write(family, rank, "calibration:\n  max_rows: 1")
      try expectRefusal(line + 1, "fewer than the 176 inputs")
      try write(family, rank, "calibration: { data: none.jsonl }")
      try scratch.expect(["train", "r.yaml"], endsWith: [3], about: "none.jsonl", saying: "cannot be opened")
      try write(family, rank, "calibration: { data: one.jsonl }")
      try expectRefusal(line, "fewer than the 176 inputs")
    } else {
      try write(family, rank, "calibration: { max_rows: 1 }")
      try expectRefusal(1, "nothing is measured for adapter type '\(family)'")
    }
  }

  @Test func `A start, a selection and a correction that measure ask for the same`() throws {
    try write("lora", ["rank: 4", "init: eva"], "calibration:\n  max_rows: 1")
    try expectRefusal(10, "fewer than the 176 inputs")
    try write("s2ft", ["rank: 4", "selection: gradient"], "calibration: { data: none.jsonl }")
    try scratch.expect(["train", "r.yaml"], endsWith: [3], about: "none.jsonl", saying: "cannot be opened")
    try write("s2ft", ["rank: 4", "selection: activation"])
    try expectRefusal(6, "'model.layers.0.self_attn.q_proj' trains what it writes")
    try write("int2.1", ["rank: 4", "correction: svd"], "#quantization")
    try expectRefusal(6, "add a quantization section")
  }

  @Test func `Tasks that are not named, or not there`() throws {
    try write("mhr")
    try expectRefusal(4, "no row names its task", ["~data.task_field"])
    try scratch.expect(
      ["train", "r.yaml", "data.task_field=topic"], endsWith: [3], about: "d.jsonl:1", saying: "'topic' names no task")
  }

  /// One step of each family first; then its adapter in the wrong place.
  @Test(arguments: families) func `An adapter of another base or family, and a task it does not know`(
    _ family: String
  ) throws {
    try write(family)
    let trained = try Command.run(["train", "r.yaml", "output_dir=a"], in: scratch.path)
    try #require(trained.code == 0, "\(trained.errors)")
    let task = family == "mhr" ? ["--task", "ask"] : []
    for command in [
      ["logits", "other", "--adapter", "a/adapter", "--ids", "3", "--out", "x"],
      ["merge", "other", "a/adapter", "--output", "x"],
      ["convert", "a/adapter", "--to", "lora", "--base", "other", "--output", "x"],
    ] {
      // A plain LoRA is converted without its base.
      let isPlain = ["lora", "corda", "mosa", "int2.1"].contains(family)
      if command[0] == "convert" && isPlain { continue }
      try scratch.expect(command + task, endsWith: [3], about: "a/adapter", saying: "was trained on model")
    }
    try scratch.expect(
      ["logits", "model", "--adapter", "a/adapter", "--task", "7", "--ids", "3", "--out", "x"], endsWith: [2],
      about: "a/adapter", saying: family == "mhr" ? "its tasks are ask, tell" : "the same for every task")
    try write(family, ["from: a/adapter"])
    try scratch.expect(
      ["train", "r.yaml", "model.path=other"], endsWith: [3], about: "a/adapter", saying: "was trained on model")
    let stored = ["corda": "lora", "mosa": "lora", "int2.1": "lora"][family] ?? family
    try write(stored == "dora" ? "lora" : "dora", ["from: a/adapter"])
    try expectRefusal(4, "is of type '\(stored)', the recipe says")
  }

  @Test func `A task stacked on a correction has a rank of use, too`() throws {
    try write("lora")
    #expect(try Command.run(["train", "r.yaml", "output_dir=a"], in: scratch.path).code == 0)
    try write("int2.1", ["from: a/adapter", "rank: 33"], "#quantization")
    try expectRefusal(6, "rank 33 is above 32")
  }

  @Test(arguments: ["lora", "dora", "mhr", "s2ft", "bottleneck"])
  func `An adapter of the last blocks is read back`(_ family: String) throws {
    try write(family, ["rank: 4", "layers: last:1"])
    let ending = try Command.run(["train", "r.yaml"], in: scratch.path)
    #expect(ending.code == 0 && ending.errors.contains("bit for bit"), "\(ending.errors)")
    let configuration = String(decoding: try scratch.bytes("out/adapter/adapter_config.json"), as: UTF8.self)
    #expect(configuration.contains("model.layers.1.") && !configuration.contains("model.layers.0."))
    #expect(!configuration.contains("layers_to_transform"))
  }
}
