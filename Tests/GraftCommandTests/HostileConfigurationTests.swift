import Foundation
import Testing

/// The JSON beside a model's and an adapter's weights, damaged.
struct HostileConfigurationTests {
  private static let config = text("models/llama-tied/config.json")
  private static let tokenizer = text("models/llama-tied/tokenizer.json")
  private static let adapter = text("adapters/llama-untied/lora/adapter_config.json")

  private static func text(_ fixture: String) -> String {
    (try? String(contentsOfFile: fixtures + "/" + fixture, encoding: .utf8)) ?? ""
  }

  private static func repeated(_ text: String, _ count: Int) -> String { String(repeating: text, count: count) }

  /// `json` with another value under one of its keys, on a line of its own.
  private static func setting(_ key: String, _ value: String, in json: String) -> String {
    json.split(separator: "\n", omittingEmptySubsequences: false).map { line -> String in
      guard line.trimmingCharacters(in: .whitespaces).hasPrefix("\"\(key)\":") else { return String(line) }
      return "\"\(key)\": \(value)" + (line.hasSuffix("[") || line.hasSuffix("{") || !line.hasSuffix(",") ? "" : ",")
    }.joined(separator: "\n")
  }

  private static let texts: [(name: String, says: String, change: @Sendable (String) -> String)] = [
    ("empty", "found the end of the text", { _ in "" }), ("null", "", { _ in "null" }), ("a list", "", { _ in "[]" }),
    ("cut off", "", { String($0.dropLast(20)) }),
    ("text behind", "text follows", { $0 + "x" }),
    ("1e400", "out of range", { "{\"a\": 1e400," + $0.dropFirst() }),
    ("NaN", "'NaN' is not a JSON value", { "{\"a\": NaN," + $0.dropFirst() }),
    ("key twice", "duplicate key 'a'", { "{\"a\": 1, \"a\": 1," + $0.dropFirst() }),
    ("half a surrogate pair", "surrogate", { "{\"a\": \"\\ud800\"," + $0.dropFirst() }),
    ("100000 lists", "nested more than", { "{\"a\": " + repeated("[", 100_000) + "," + $0.dropFirst() }),
    ("a number with a zero in front", "needless 0", { "{\"a\": 01," + $0.dropFirst() }),
  ]

  private static func broken(_ json: String) -> [Hostile] {
    texts.map { text in Hostile(text.name, says: text.says, text.change(json)) } + [
      Hostile("not UTF-8", says: "not valid UTF-8") { Array("{\"a\": \"".utf8) + [0xff] + Array("\"}".utf8) }
    ]
  }

  private static func model(_ key: String, _ value: String, says words: String = "") -> Hostile {
    Hostile("\(key) \(value.prefix(30))", says: words.isEmpty ? key : words, setting(key, value, in: config))
  }

  private static let models: [Hostile] = [
    model("model_type", "\"mamba\\u001b\"", says: "'mamba�' is not supported"), model("model_type", "5"),
    model("hidden_act", "\"\(repeated("x", 10_000))\"", says: "x…'"), model("vocab_size", "321", says: "[321, 64]"),
    model("vocab_size", "16777216", says: "[16777216, 64]"), model("vocab_size", "9223372036854775808"),
    model("hidden_size", "0"), model("hidden_size", "-64"), model("hidden_size", "64.5"),
    model("hidden_size", "\"64\""),
    model("hidden_size", "[\(repeated("1,", 100_000))1]", says: "…' is no whole number"),
    model("hidden_size", "4611686018427387904"), model("intermediate_size", "16777216", says: "16777216"),
    model("num_hidden_layers", "1000000"), model("num_hidden_layers", "1024", says: "layers.2."),
    model("num_hidden_layers", "1", says: "'model.layers.1."), model("num_attention_heads", "5000"),
    model("num_key_value_heads", "3", says: "3 does not divide 4"), model("head_dim", "15", says: "even number"),
    model("head_dim", "4096", says: "[16384, 64]"), model("max_position_embeddings", "-1"),
    model("rms_norm_eps", "-1e-5"), model("rms_norm_eps", "1e300", says: "rms_norm_eps"),
    model("rope_theta", "1", says: "rope_theta"), model("rope_type", "\"yarn\"", says: "'yarn' is not supported"),
    model("rope_type", "\"linear\",\n\"factor\": 0", says: "not finite"),
    Hostile(
      "sliding_window -1", says: "sliding_window",
      setting("model_type", "\"mistral\",\n\"sliding_window\": -1", in: config)),
  ]

  private static func words(_ key: String, _ value: String, says words: String) -> Hostile {
    Hostile("\(key) \(value.prefix(80))", says: words) {
      var root = try JSONSerialization.jsonObject(with: Data(tokenizer.utf8)) as? [String: Any] ?? [:]
      root[key] = try JSONSerialization.jsonObject(with: Data(value.utf8), options: .fragmentsAllowed)
      return [UInt8](try JSONSerialization.data(withJSONObject: root))
    }
  }

  private static let splitting = #""behavior": "Isolated", "invert": false}"#

  private static let tokenizers: [Hostile] = [
    words("normalizer", #"{"type": "Precompiled"}"#, says: "'Precompiled' is not supported"),
    words("normalizer", "5", says: "normalizer: needs a 'type'"),
    words(
      "normalizer",
      #"{"type": "Sequence", "normalizers": ["#
        + Array(
          repeating: #"{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}"#, count: 40
        ).joined(separator: ",") + "]}", says: "normalizer: may make a text more than"),
    words(
      "pre_tokenizer", #"{"type": "Split", "pattern": {"Regex": "((a{1000}){1000}){1000}"}, "# + splitting,
      says: "too large"),
    words(
      "pre_tokenizer", "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"\(repeated("(", 10_000))\"}, " + splitting,
      says: "50 groups"),
    words(
      "pre_tokenizer",
      #"{"type": "Sequence", "pretokenizers": ["#
        + Array(repeating: #"{"type": "ByteLevel"}"#, count: 30).joined(separator: ",")
        + "]}", says: "pre_tokenizer: may make a text more than"),
    words("post_processor", #"{"type": "BertProcessing", "sep": ["x", 9999], "cls": ["a", 0]}"#, says: "9999"),
    words("decoder", #"{"type": "CTC"}"#, says: "'CTC' is not supported"),
    Hostile("an added token beyond the embedding", says: "m/tokenizer.json") {
      Array(tokenizer.replacing(#""id": 2,"#, with: #""id": 4194305,"#).utf8)
    },
    Hostile("an added token that is another", says: "contradicts the vocabulary") {
      Array(tokenizer.replacing(#""id": 2,"#, with: #""id": 7,"#).utf8)
    },
    Hostile("an id twice", says: "both have id 3", tokenizer.replacing(#""\"": 4"#, with: #""\"": 3"#)),
    Hostile("a negative id", says: "'\"'", tokenizer.replacing(#""\"": 4"#, with: #""\"": -4"#)),
    Hostile("an id beyond 2^22", says: "'\"'", tokenizer.replacing(#""\"": 4"#, with: #""\"": 4194304"#)),
    Hostile("no merges", says: "merges", tokenizer.replacing("\"merges\"", with: "\"mergers\"")),
  ]

  private static func plan(_ key: String, _ value: String, says words: String = "") -> Hostile {
    let text = adapter.replacing(#/"target_modules": \[[^\]]*\]/#, with: "\"target_modules\": [\"q_proj\"]")
    return Hostile("\(key) \(value.prefix(30))", says: words.isEmpty ? key : words, setting(key, value, in: text))
  }

  private static let plans: [Hostile] = [
    plan("peft_type", "\"LOHA\""), plan("peft_type", "1"), plan("r", "0"), plan("r", "-4"), plan("r", "\"4\""),
    plan("r", "4.5", says: "'4.5' is no whole number"), plan("r", "1048575", says: "ranks of up to 1048575 ask for"),
    plan("r", "4611686018427387904"), plan("rank_pattern", "{\"q_proj\": 1099511627776}"),
    plan("rank_pattern", "{\"q_proj\": 1048575}", says: "ranks of up to 1048575 ask for"),
    plan("rank_pattern", "{\"(\": 4}", says: "regular expression '('"),
    plan("alpha_pattern", "{\"\(repeated("[", 10_000))\": 4}", says: "bytes long"),
    plan("alpha_pattern", "{\"q_proj\": \"4\"}"), plan("lora_alpha", "1e300", says: "too large"),
    plan("lora_alpha", "null"), plan("lora_dropout", "1.5"), plan("bias", "\"some\""),
    plan("target_modules", "[]", says: "match none"), plan("target_modules", "null"), plan("target_modules", "[1]"),
    plan("target_modules", "[\"qq_proj\"]", says: "did you mean 'q_proj'"),
    plan("target_modules", "[\"\(repeated("x", 100_000))\"]", says: "x…' matches none"),
    plan("target_modules", "\"(\"", says: "a/adapter_config.json: target_modules: regular expression '('"),
    plan("target_modules", "\"(.*)*X\"", says: "match none"),
    plan("target_modules", "\"(.|..)*X\"", says: "match none"),
    plan("target_modules", "\"(.*.*.*.*.*.*.*.*)X\"", says: "match none"),
    plan("target_modules", "\"\(repeated("[", 3000))\"", says: "50 classes"),
    plan("target_modules", "\"(?:(?:.{0,1000}){0,1000}){0,1000}\"", says: "too large"),
    plan("exclude_modules", "\"\(repeated("(", 3000))\"", says: "exclude_modules: regular expression"),
    plan("exclude_modules", "\".*\"", says: "q_proj"), plan("layers_to_transform", "[9]", says: "names block 9"),
    plan("layers_to_transform", "[\"0\"]"), plan("modules_to_save", "[\"x\"]", says: "modules_to_save entry 'x'"),
    plan("use_bdlora", "true"), plan("trainable_token_indices", "[1]"),
  ]

  private let logits = ["logits", "m", "--ids", "1,2,3", "--out", "x.safetensors"]

  /// A model's folder of which one file will be hostile.
  private func modelFolder() throws -> Scratch {
    let scratch = try Scratch()
    try FileManager.default.createDirectory(atPath: scratch.path + "/m", withIntermediateDirectories: false)
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
      try scratch.copy("models/llama-tied/" + name, as: "m/" + name)
    }
    return scratch
  }

  private func adapterFolder() throws -> Scratch {
    let scratch = try Scratch()
    try scratch.link("models/llama-untied", as: "m")
    try scratch.copy("adapters/llama-untied/lora", as: "a")
    return scratch
  }

  @Test(arguments: broken(config) + models)
  func `A configuration that cannot be is refused`(_ hostile: Hostile) throws {
    let scratch = try modelFolder()
    try scratch.write(hostile.bytes(), to: "m/config.json")
    // What the weights contradict is told of them.
    try scratch.expect(logits, endsWith: [3], about: "m/", saying: hostile.says)
  }

  @Test(arguments: broken(tokenizer) + tokenizers)
  func `A tokenizer that cannot be is refused`(_ hostile: Hostile) throws {
    let scratch = try modelFolder()
    try scratch.write(hostile.bytes(), to: "m/tokenizer.json")
    try scratch.expect(logits, endsWith: [3], about: "m/tokenizer.json", saying: hostile.says)
  }

  @Test(arguments: broken(adapter) + plans)
  func `An adapter's plan that cannot be is refused`(_ hostile: Hostile) throws {
    let scratch = try adapterFolder()
    try scratch.write(hostile.bytes(), to: "a/adapter_config.json")
    try scratch.expect(
      logits + ["--adapter", "a"], endsWith: [3], about: "a/adapter_config.json", saying: hostile.says)
  }

  @Test(arguments: ["config.json", "tokenizer.json"], 0..<20)
  func `A damaged file of a model is refused or read`(_ name: String, _ seed: Int) throws {
    let scratch = try modelFolder()
    let bytes = [UInt8](try scratch.bytes("m/" + name))
    try scratch.write(damaged(bytes, within: 0..<bytes.count, seed: seed, pieces: textPieces), to: "m/" + name)
    // What is damaged may be the context's length, for which three tokens are then too many.
    try scratch.expect(logits, endsWith: [0, 2, 3], about: "")
  }

  @Test(arguments: 0..<20)
  func `An adapter's damaged plan is refused or followed`(_ seed: Int) throws {
    let scratch = try adapterFolder()
    let bytes = Array(Self.adapter.utf8)
    try scratch.write(
      damaged(bytes, within: 0..<bytes.count, seed: seed, pieces: textPieces), to: "a/adapter_config.json")
    try scratch.expect(logits + ["--adapter", "a"], endsWith: [0, 3], about: "a/adapter_")
  }

  @Test(arguments: [
    "", "[]", #"{"base": "x"}"#, #"{"base": "x", "base_sha256": "y", "base_packing": "int4-g7"}"#,
    #"{"base": "x", "base_sha256": "y", "base_packing": "int4-g9223372036854775807"}"#,
    #"{"base": "x", "base_sha256": "y", "base_packing": "int4-g1024"}"#,
  ])
  func `A binding that cannot be is refused`(_ text: String) throws {
    let scratch = try adapterFolder()
    try scratch.write(text, to: "a/graft.json")
    try scratch.expect(logits + ["--adapter", "a", "--any-base"], endsWith: [3], about: "a/graft.json")
  }
}
