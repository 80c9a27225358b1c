import Foundation
import Testing

/// Recipes that are no recipes, or ask for what cannot be.
struct HostileRecipeTests {
  private static let recipe = """
    name: r
    seed: 7
    output_dir: out
    model:
      path: m
    adapter:
      type: lora
      rank: 2
      target_modules: [q_proj, v_proj]
    data:
      train: d.jsonl
      max_seq_len: 64
    train:
      max_steps: 1
      batch_size: 2

    """

  private static func changed(_ name: String, _ old: String, _ new: String, says words: String) -> Hostile {
    Hostile(name, says: words, recipe.replacing(old, with: new))
  }

  /// The recipe with one more line under a section.
  private static func with(_ section: String, _ line: String, says words: String) -> Hostile {
    changed(line, section + ":\n", section + ":\n  " + line + "\n", says: words)
  }

  private static func repeated(_ text: String, _ count: Int) -> String { String(repeating: text, count: count) }

  private static let texts: [Hostile] = [
    Hostile("empty", says: "r.yaml:1:1: the recipe is empty", ""),
    Hostile("white space", says: "is empty", "  \n\n"),
    Hostile("a comment", says: "is empty", "# name: r\n"),
    Hostile("null", says: "a recipe is a mapping", "null\n"),
    Hostile("a list", says: "found a list", "- name: r\n"),
    Hostile("a word", says: "found the string 'abc'", "abc\n"),
    Hostile("byte order mark", says: "byte order mark", "\u{feff}" + recipe),
    Hostile("not UTF-8", says: "r.yaml:1:7: the recipe is not UTF-8") {
      Array("name: ".utf8) + [0xff] + Array(recipe.utf8)
    },
    Hostile("UTF-16", says: "not UTF-8") {
      [0xff, 0xfe] + recipe.utf16.flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] }
    },
    Hostile("bytes of zero", says: "not YAML", "\0\0\0"),
    Hostile("control character", says: "not YAML", "name: a\u{7}b\n"),
    changed("tab", "  path", "\tpath", says: "r.yaml:5:1: a tab where only spaces can stand"),
    changed("unclosed list", "[q_proj", "[[q_proj", says: "not YAML"),
    changed("unclosed quotes", "name: r", "name: \"r", says: "not YAML"),
    Hostile("two documents", says: "a second document", recipe + "---\na: b\n"),
    Hostile("version of YAML", says: "not YAML", "%YAML 9.9\n---\n" + recipe),
    changed("tag", "name: r", "name: !!python/object:os.system r", says: "tag"),
    changed("alias without anchor", "name: r", "name: *r", says: "not YAML"),
    Hostile("anchor in itself", says: "not YAML", "a: &a [*a]\n" + recipe),
    Hostile("merge key", says: "merge keys", recipe + "<<: {a: 1}\n"),
    Hostile("key twice", says: "r.yaml:16:1: key 'seed' is given twice", recipe + "seed: 8\n"),
    with("adapter", "rank: 3", says: "key 'rank' is given twice"),
    with("adapter", "r: 3", says: "'rank' sets 'adapter.rank' a second time"),
    Hostile("key that is a list", says: "a key must be a name", "? [a, b]\n: c\n" + recipe),
    Hostile("2 MB", says: "larger than 1 MiB", recipe + "# " + repeated("x", 1 << 21)),
    Hostile("60000 keys", says: "values", (0..<60_000).map { "k\($0): 1\n" }.joined()),
    Hostile("key of 2000 letters", says: "not YAML", repeated("k", 2000) + ": 1\n"),
    Hostile(
      "anchors that multiply", says: "aliases",
      "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + zip("bcdefghi", "abcdefgh").map {
          "\($0): &\($0) [\(Array(repeating: "*\($1)", count: 9).joined(separator: ","))]\n"
        }
        .joined() + recipe),
    Hostile(
      "anchors that multiply as keys", says: "r.yaml:",
      "a: &a {x: y}\n"
        + zip("bcdefgh", "abcdefg").map { "\($0): &\($0) {? *\($1) : *\($1)}\n" }.joined() + recipe),
  ]

  private static let depths: [Hostile] = [30, 1000, 100_000].flatMap { count in
    [
      Hostile("\(count) lists", says: "r.yaml:", "a: " + repeated("[", count) + repeated("]", count) + "\n"),
      Hostile("\(count) open lists", says: "r.yaml:", "a: " + repeated("[", count) + "\n"),
      Hostile("\(count) mappings", says: "r.yaml:", "a: " + repeated("{a: ", count) + "\n"),
      Hostile("\(count) dashes", says: "r.yaml:", "a:\n " + repeated("- ", count) + "x\n"),
      Hostile("\(count) question marks", says: "r.yaml:", repeated("? ", count) + "x\n"),
    ]
  }

  private static let values: [Hostile] = [
    with("adapter", "rnak: 3", says: "did you mean 'rank'?"),
    with("adapter", "alpha: .nan", says: "only finite numbers"),
    with("adapter", "alpha: .inf", says: "only finite numbers"),
    with("adapter", "alpha: 1e999", says: "the number is too large"),
    with("adapter", "alpha: 1e300", says: "that single precision can hold"),
    with("adapter", "alpha: '4'", says: "remove the quotes"),
    with("adapter", "dropout: 1.5", says: "'adapter.dropout' must be"),
    with("adapter", "layers: last:0", says: "'adapter.layers' must be"),
    with("adapter", "layers: [-1]", says: "whole number"),
    with("adapter", "rank_pattern: {q_proj: 1e9}", says: "whole number"),
    with("adapter", "rank_pattern: {\"(\": 3}", says: "regular expression '('"),
    with("adapter", "alpha_pattern: [1]", says: "a mapping of names"),
    changed("rank 0", "rank: 2", "rank: 0", says: "r.yaml:8:9: 'adapter.rank' must be"),
    changed("rank -1", "rank: 2", "rank: -1", says: "whole number"),
    changed("rank 2.0", "rank: 2", "rank: 2.0", says: "write 2"),
    changed("rank 1e400", "rank: 2", "rank: 1e400", says: "the number is too large"),
    changed("rank 010", "rank: 2", "rank: 010", says: "without a leading zero"),
    changed("rank 0x10", "rank: 2", "rank: 0x10", says: "in decimal"),
    changed("rank 1_000", "rank: 2", "rank: 1_000", says: "write 1000"),
    changed("rank of 40 digits", "rank: 2", "rank: \(repeated("9", 40))", says: "whole number"),
    changed("rank of 100000 digits", "rank: 2", "rank: \(repeated("9", 100_000))", says: "…"),
    changed("rank that is a list", "rank: 2", "rank: [2]", says: "found a list"),
    changed("rank that is a mapping", "rank: 2", "rank: {a: 2}", says: "found a mapping"),
    changed("rank left empty", "rank: 2", "rank:", says: "'adapter.rank' has no value"),
    changed("type that is no type", "type: lora", "type: lorra", says: "did you mean 'lora'?"),
    changed("section that is a number", "adapter:\n", "adapter: 3\nx:\n", says: "'adapter' must be a mapping"),
    changed("section that is a list", "model:\n  path: m", "model: [m]", says: "'model' must be a mapping"),
    changed("targets that are one word", "[q_proj, v_proj]", "q_proj", says: "write [q_proj]"),
    changed("targets that open", "[q_proj, v_proj]", "'regex:('", says: "regular expression '('"),
    changed("targets that nest", "[q_proj, v_proj]", "'regex:\(repeated("[", 3000))'", says: "50 classes"),
    changed("targets of 100000 letters", "[q_proj, v_proj]", "'regex:\(repeated("a", 100_000))'", says: "100000 bytes"),
    changed("seed beyond 2^63", "seed: 7", "seed: 9223372036854775808", says: "whole number"),
    changed("path of a zero byte", "output_dir: out", "output_dir: \"a\\0b\"", says: "not a path"),
    changed("path of an unknown variable", "output_dir: out", "output_dir: ${x}/out", says: "is not known"),
    changed("path of itself", "output_dir: out", "output_dir: ${output_dir}", says: "made of itself"),
    changed("batch size of 2^40", "batch_size: 2", "batch_size: 1099511627776", says: "whole number"),
    changed("no data", "train: d.jsonl", "shuffle: true", says: "'data.train' is missing"),
    with("train", "epochs: 3", says: "exclude each other"),
    with("train", "learning_rate: -1", says: "≥ 0"),
    with("train", "betas: [0.9, 1.0]", says: "[0, 1)"),
    with("train", "on_nonfinite: skip_step:-1", says: "skip_step:N"),
    with("train", "threads: 100000", says: "whole number"),
  ]

  /// What only opening the model and the data shows.
  private static let plans: [Hostile] = [
    changed("weight 1e300", "train: d.jsonl", "train: [{path: d.jsonl, weight: 1e300}]", says: "weight 1e+300 makes"),
    changed("weight 1e10", "train: d.jsonl", "train: [{path: d.jsonl, weight: 1e10}]", says: "r.yaml:11:1"),
    changed("epochs 1e300", "max_steps: 1", "epochs: 1e300", says: "more than can be counted"),
    changed("epochs 2^63", "max_steps: 1", "epochs: 9223372036854775808", says: "more than can be counted"),
    changed("a target that backtracks", "[q_proj, v_proj]", "'regex:(.*)*X'", says: "match none"),
    changed("a target that multiplies", "[q_proj, v_proj]", "'regex:(.|..)*(.*.*.*)*X'", says: "match none"),
    changed("a target there is not", "q_proj,", "qq_proj,", says: "did you mean 'q_proj'"),
    with("adapter", "layers: [0, 9223372036854775807]", says: "'9223372036854775807'".replacing("'", with: "")),
    with("data", "packing: true", says: "'packing: true' is not needed"),
    changed("longer than the model", "max_seq_len: 64", "max_seq_len: 1000000", says: "the model's context"),
    with("train", "memory_limit_gb: 1e-300", says: "raise train.memory_limit_gb"),
    changed(
      "a model of petabytes", "path: m",
      """
      init:
          {hidden_size: 65536, intermediate_size: 1048576, num_hidden_layers: 1024, num_attention_heads: 64,
          tokenizer: m}
      """, says: "r.yaml:6:1: a model of this shape has"),
  ]

  private func folder() throws -> Scratch {
    let scratch = try Scratch()
    try scratch.link("models/llama-untied", as: "m")
    try scratch.write(repeatElement("{\"text\": \"Hello, hello.\"}\n", count: 4).joined(), to: "d.jsonl")
    return scratch
  }

  @Test(arguments: [recipe, recipe.replacing("\n", with: "\r\n")])
  func `The recipe itself is carried out, whatever its line ends`(_ text: String) throws {
    let scratch = try folder()
    try scratch.write(text, to: "r.yaml")
    #expect(try Command.run(["validate", "r.yaml"], in: scratch.path).code == 0)
    #expect(try Command.run(["train", "r.yaml"], in: scratch.path).code == 0)
  }

  @Test(arguments: texts + depths + values)
  func `A text that is no recipe is refused where it stops being one`(_ hostile: Hostile) throws {
    let scratch = try folder()
    try scratch.write(hostile.bytes(), to: "r.yaml")
    try scratch.expect(["validate", "r.yaml"], endsWith: [2], about: "r.yaml", saying: hostile.says)
    try scratch.expect(["train", "r.yaml"], endsWith: [2], about: "r.yaml", saying: hostile.says)
  }

  @Test(arguments: plans)
  func `A recipe that cannot be carried out is refused before it starts`(_ hostile: Hostile) throws {
    let scratch = try folder()
    try scratch.write(hostile.bytes(), to: "r.yaml")
    try scratch.expect(["train", "r.yaml"], endsWith: [2], about: "r.yaml", saying: hostile.says)
  }

  @Test(arguments: 0..<40)
  func `A damaged recipe is refused or read`(_ seed: Int) throws {
    let scratch = try folder()
    let bytes = Array(Self.recipe.utf8)
    try scratch.write(damaged(bytes, within: 0..<bytes.count, seed: seed, pieces: textPieces), to: "r.yaml")
    // Reading alone: a damaged path or number of steps may be as valid as the one before.
    try scratch.expect(["validate", "r.yaml"], endsWith: [0, 2], about: "r.yaml")
  }

  @Test func `A recipe that cannot be carried out leaves an earlier run as it was`() throws {
    let scratch = try folder()
    try scratch.write(Self.recipe, to: "r.yaml")
    #expect(try Command.run(["train", "r.yaml"], in: scratch.path).code == 0)
    let adapter = try scratch.bytes("out/adapter/adapter_model.safetensors")
    try scratch.write("{\"text\": 3}\n", to: "d.jsonl")
    #expect(try Command.run(["train", "r.yaml"], in: scratch.path).code == 3)
    #expect(try scratch.bytes("out/adapter/adapter_model.safetensors") == adapter)
  }
}
