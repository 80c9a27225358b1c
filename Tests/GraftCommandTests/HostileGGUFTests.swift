import Foundation
import Testing

/// Damaged GGUF files, read as models.
struct HostileGGUFTests {
  /// The fixture as GGUF, made by the program itself; once for all tests.
  private static let model: [UInt8] = {
    guard let scratch = try? Scratch(),
      let ending = try? Command.run(
        ["export", fixtures + "/models/llama-tied", "--to", "gguf", "--output", "model.gguf"], in: scratch.path),
      ending.code == 0, let bytes = try? scratch.bytes("model.gguf")
    else { return [] }
    return [UInt8](bytes)
  }()
  private static let parts = GGUFParts(model)
  /// Where the data begins.
  private static let head = model.count - parts.data.count
  private static let every = [UInt8](FileManager.default.contents(atPath: fixtures + "/files/every.gguf") ?? Data())

  private static func altered(
    _ name: String, says words: String = "", _ change: @escaping @Sendable (inout GGUFParts) -> Void
  ) -> Hostile {
    Hostile(name, says: words) {
      var copy = parts
      change(&copy)
      return copy.bytes
    }
  }

  private static func key(
    _ name: String, _ kind: UInt32, _ value: [UInt8], _ what: String, says words: String = ""
  )
    -> Hostile
  {
    altered("\(name) is \(what)", says: words.isEmpty ? name : words) { $0.set(name, kind, value) }
  }

  private static let cuts: [Hostile] =
    ([0, 1, 4, 7, 8, 15, 16, 23, 24, 31, 40, 100, 500, 1000, 2000, 4000, 6000, 7000] as [Int]).map { length in
      Hostile("cut to \(length) bytes") { Array(model.prefix(length)) }
    } + [
      Hostile("cut before the data") { Array(model.prefix(head)) },
      Hostile("cut inside the data") { Array(model.prefix(head + 1000)) },
      Hostile("cut by a byte") { Array(model.dropLast(300)) },
    ]

  private static let claims: [Hostile] = [
    altered("version 1", says: "version 1") { $0.version = 1 },
    altered("big-endian", says: "big-endian") { $0.version = 0x0300_0000 },
    altered("2^64-1 tensors", says: "number of tensors") { $0.tensorCount = .max },
    altered("2^63 keys", says: "number of keys") { $0.keyCount = 1 << 63 },
    altered("a tensor too many", says: "") { $0.tensorCount = UInt64(parts.tensors.count + 1) },
    altered("a key too many", says: "") { $0.keyCount = UInt64(parts.keys.count + 1) },
    altered("key without a name", says: "0 bytes long") { $0.keys[0].name = [] },
    altered("key of 70000 bytes", says: "70000 bytes long") { $0.keys[0].name = Array(repeating: 0x61, count: 70_000) },
    altered("key that is not UTF-8", says: "not valid UTF-8") { $0.keys[0].name = [0xff] },
    altered("key twice", says: "is there twice") { $0.keys.append($0.keys[0]) },
    altered("kind 13", says: "unknown kind 13") { $0.keys[0].kind = 13 },
    key("k", 8, GGUFParts.number(UInt64.max - 3), "a string near 2^64", says: "a length of the value of key 'k'"),
    key("k", 8, GGUFParts.text([0xff]), "a string that is not UTF-8"),
    key("k", 9, GGUFParts.array(9, claiming: 1, GGUFParts.array(4, claiming: 0, [])), "an array of arrays"),
    key("k", 9, GGUFParts.array(10, claiming: 1 << 61, []), "an array whose bytes overflow"),
    key("k", 9, GGUFParts.array(8, claiming: .max, []), "an array of 2^64-1 strings"),
    key("k", 9, GGUFParts.array(8, claiming: 1, GGUFParts.number(UInt64.max)), "an array of a string near 2^64"),
    key("k", 9, GGUFParts.array(13, claiming: 1, []), "an array of an unknown kind"),
    key("general.alignment", 4, GGUFParts.number(UInt32(0)), "0"),
    key("general.alignment", 4, GGUFParts.number(UInt32(33)), "33"),
    key("general.alignment", 4, GGUFParts.number(UInt32(1 << 31)), "2^31"),
    key("general.alignment", 4, GGUFParts.number(UInt32(1 << 20)), "beyond the file", says: "more than the file has"),
    key("general.alignment", 8, GGUFParts.text("32"), "a text"),
  ]

  private static func tensor(
    _ name: String, says words: String, _ change: @escaping @Sendable (inout GGUFParts.Tensor) -> Void
  ) -> Hostile {
    altered(name, says: words) { change(&$0.tensors[1]) }
  }

  private static let tensors: [Hostile] = [
    tensor("no dimension", says: "has 0 dimensions") { $0.rank = 0 },
    tensor("9 dimensions", says: "has 9 dimensions") { $0.rank = 9 },
    tensor("2^32-1 dimensions", says: "has 4294967295 dimensions") { $0.rank = .max },
    tensor("zero rows", says: "not positive") { $0.dimensions[1] = 0 },
    tensor("zero columns", says: "not positive") { $0.dimensions[0] = 0 },
    tensor("2^64-1 rows", says: "18446744073709551615") { $0.dimensions[1] = .max },
    tensor("rows and columns that overflow", says: "too large to address") { $0.dimensions = [1 << 32, 1 << 32] },
    tensor("another shape", says: "has shape [128, 32]") { $0.dimensions = [32, 128] },
    tensor("a row too many", says: "begins at byte") { $0.dimensions[1] += 1 },
    tensor("type 4", says: "type 4") { $0.type = 4 },
    tensor("type 2^32-1", says: "type 4294967295") { $0.type = .max },
    tensor("type Q8_0", says: "begins at byte") { $0.type = 8 },
    tensor("offset 0", says: "begins at byte 0") { $0.offset = 0 },
    tensor("offset near 2^64", says: "begins at byte 18446744073709551584") { $0.offset = .max - 31 },
    tensor("offset between two places", says: "begins at byte") { $0.offset += 1 },
    tensor("no name", says: "a name of 0 bytes") { $0.name = [] },
    tensor("a name that is not UTF-8", says: "not valid UTF-8") { $0.name = [0xc3] },
    tensor("a name of control characters", says: "'blk.0.attn_q.weight': is not in the file") {
      $0.name = Array("\u{1b}[31m\n".utf8)
    },
    altered("tensor twice", says: "is there twice") { $0.tensors[1].name = $0.tensors[0].name },
    altered("tensors in another order", says: "begins at byte") { $0.tensors.swapAt(0, 1) },
    altered("no tensor", says: "'token_embd.weight'") { $0.tensors = [] },
    altered("a tensor the model does not have", says: "'extra'") { $0.add("extra", [1], type: 0, [0, 0, 0, 0]) },
    altered("too few rotary divisors", says: "holds 2 numbers where a head has 8 pairs") {
      $0.add("rope_freqs.weight", [2], type: 0, GGUFParts.number(Float(1)) + GGUFParts.number(Float(1)))
    },
    altered("rotary divisors of 0", says: "not finite") {
      $0.add("rope_freqs.weight", [8], type: 0, Array(repeating: 0, count: 32))
    },
    altered("rotary divisors that are no floats", says: "cannot be used") {
      $0.add("rope_freqs.weight", [8], type: 24, Array(repeating: 1, count: 8))
    },
  ]

  private static let settings: [Hostile] = [
    key("llama.block_count", 4, GGUFParts.number(UInt32(16_777_215)), "2^24-1"),
    key("llama.block_count", 4, GGUFParts.number(UInt32(0)), "0"),
    key("llama.block_count", 4, GGUFParts.number(UInt32(3)), "3", says: "'blk.2.attn_norm.weight'"),
    key("llama.block_count", 5, GGUFParts.number(Int32(-1)), "-1"),
    key("llama.block_count", 10, GGUFParts.number(UInt64.max), "2^64-1"),
    key("llama.block_count", 8, GGUFParts.text("2"), "a text"),
    key("llama.attention.head_count", 4, GGUFParts.number(UInt32(1 << 23)), "2^23"),
    key("llama.attention.head_count", 4, GGUFParts.number(UInt32(0)), "0"),
    key("llama.attention.head_count_kv", 4, GGUFParts.number(UInt32(3)), "3", says: "3 does not divide 4"),
    key("llama.attention.key_length", 4, GGUFParts.number(UInt32(15)), "odd", says: "even number"),
    key("llama.attention.key_length", 4, GGUFParts.number(UInt32(1 << 22)), "2^22"),
    key("llama.attention.sliding_window", 5, GGUFParts.number(Int32(-1)), "-1", says: "sliding_window"),
    key(
      "llama.embedding_length", 4, GGUFParts.number(UInt32(1 << 23)), "2^23", says: "the metadata says [320, 8388608]"),
    key("llama.expert_count", 4, GGUFParts.number(UInt32(8)), "8"),
    key("llama.attention.layer_norm_rms_epsilon", 6, GGUFParts.number(Float.nan), "nan", says: "rms_norm_eps"),
    key("llama.rope.freq_base", 6, GGUFParts.number(Float.nan), "nan"),
    key("llama.rope.freq_base", 6, GGUFParts.number(Float(-1)), "-1"),
    altered("rotary factor 0", says: "not finite") {
      $0.set("llama.rope.scaling.type", 8, GGUFParts.text("linear"))
      $0.set("llama.rope.scaling.factor", 6, GGUFParts.number(Float(0)))
    },
    key("general.architecture", 8, GGUFParts.text("\u{7}mamba"), "another", says: "'�mamba' is not supported"),
    key("general.architecture", 4, GGUFParts.number(UInt32(1)), "a number"),
  ]

  private static let vocabularies: [Hostile] = [
    key("tokenizer.ggml.model", 8, GGUFParts.text("rwkv"), "another"),
    key("tokenizer.ggml.pre", 8, GGUFParts.text("x"), "another"),
    key(
      "tokenizer.ggml.tokens", 9, GGUFParts.array(4, claiming: 1, GGUFParts.number(UInt32(1))), "an array of numbers"),
    key("tokenizer.ggml.tokens", 9, GGUFParts.array(8, claiming: 1, GGUFParts.text([0xff])), "not UTF-8"),
    key("tokenizer.ggml.token_type", 9, GGUFParts.array(5, claiming: 1, GGUFParts.number(Int32(1))), "too short"),
    key(
      "tokenizer.ggml.merges", 9, GGUFParts.array(8, claiming: 1, GGUFParts.text("abc")), "no pairs", says: "merge 0"),
    key("tokenizer.ggml.bos_token_id", 4, GGUFParts.number(UInt32.max), "2^32-1"),
    key("tokenizer.ggml.eos_token_id", 5, GGUFParts.number(Int32(-1)), "-1"),
    key("tokenizer.chat_template", 8, GGUFParts.text("{% for"), "cut off", says: "chat template"),
    key(
      "tokenizer.chat_template", 8, GGUFParts.text("{{" + String(repeating: "(", count: 100_000)), "nested",
      says: "chat template"),
    altered("a token of a megabyte to be joined by score", says: "token 319 is 1048576 bytes long") { parts in
      let tokens = (0..<319).map { "t\($0)" } + [String(repeating: "a", count: 1 << 20)]
      parts.set("tokenizer.ggml.model", 8, GGUFParts.text("llama"))
      parts.set("tokenizer.ggml.tokens", 9, GGUFParts.array(8, claiming: 320, tokens.flatMap { GGUFParts.text($0) }))
    },
    altered("scores that are no numbers", says: "tokenizer.ggml.scores") { parts in
      parts.set("tokenizer.ggml.model", 8, GGUFParts.text("llama"))
      parts.set(
        "tokenizer.ggml.scores", 9,
        GGUFParts.array(6, claiming: 320, Array(repeatElement(GGUFParts.number(Float.nan), count: 320).joined())))
    },
  ]

  private let logits = ["logits", "model.gguf", "--ids", "1,2,3", "--out", "x.safetensors"]

  @Test func `The whole model is read`() throws {
    #expect(GGUFParts(Self.model).bytes == Self.model)
    let scratch = try Scratch()
    try scratch.write(Self.model, to: "model.gguf")
    #expect(try Command.run(logits, in: scratch.path).code == 0)
  }

  @Test(arguments: cuts + claims + tensors + settings + vocabularies)
  func `A model whose GGUF file lies is refused`(_ hostile: Hostile) throws {
    let scratch = try Scratch()
    try scratch.write(hostile.bytes(), to: "model.gguf")
    try scratch.expect(logits, endsWith: [3], about: "model.gguf", saying: hostile.says)
  }

  /// Counts and lengths that go wrong most easily.
  private static let extremes: [[UInt8]] = [0, 1, 1 << 31, 1 << 32, 1 << 63, UInt64.max].map { GGUFParts.number($0) }

  @Test(arguments: 0..<40)
  func `A model whose GGUF header is damaged is refused or read`(_ seed: Int) throws {
    let scratch = try Scratch()
    // The settings stand at the beginning, the tensors at the end of the header; the vocabulary between is long.
    let range = seed % 2 == 0 ? 0..<1000 : Self.head - 1500..<Self.head
    try scratch.write(damaged(Self.model, within: range, seed: seed, pieces: Self.extremes), to: "model.gguf")
    // What is damaged may be the context's length, for which three tokens are then too many.
    try scratch.expect(logits, endsWith: [0, 2, 3], about: "")
  }

  @Test(arguments: 0..<20)
  func `A file of every type and kind, damaged, is refused`(_ seed: Int) throws {
    let scratch = try Scratch()
    try scratch.write(damaged(Self.every, within: 0..<900, seed: seed, pieces: Self.extremes), to: "model.gguf")
    try scratch.expect(logits, endsWith: [3], about: "model.gguf")
  }
}
