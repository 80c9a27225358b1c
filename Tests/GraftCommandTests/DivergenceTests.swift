import Files
import Foundation
import Testing

/// `graft kl` as a user runs it.
struct DivergenceTests {
  private let scratch: Scratch

  init() throws {
    scratch = try Scratch()
    let packed = try Command.run(
      ["export", "embedded", "--to", "gguf", "--type", "q4_0", "--output", "packed.gguf"], in: scratch.path)
    try #require(packed.code == 0, "\(packed.errors)")
    try scratch.write(String(repeating: "The quick brown fox jumps over the lazy dog. ", count: 60), to: "text.txt")
    try scratch.write(
      "{\"text\": \"A row.\"}\n{\"text\": \"And another one, with more words in it.\"}", to: "rows.jsonl")
  }

  private func kl(_ arguments: String...) throws -> JSON {
    let ending = try Command.run(["kl"] + arguments + ["--json"], in: scratch.path)
    try #require(ending.code == 0, "\(ending.errors)")
    return try JSON(parsing: ending.output)
  }

  @Test func `A model lies nowhere from itself`() throws {
    let found = try kl("embedded", "embedded", "--text", "text.txt", "--window", "32")
    #expect(found["kl"]?.double == 0 && found["kl_max"]?.double == 0 && found["agreement"]?.double == 1)
    #expect(found["perplexity_a"] == found["perplexity_b"])
  }

  @Test func `It is the sum over the logits that both give, window by window`() throws {
    let found = try kl(
      "embedded", "packed.gguf", "--text", "text.txt", "--window", "24", "--windows", "2", "--skip", "3")
    let ids = try ids("embedded", "text.txt")
    var divergences: [Double] = [], lossA = 0.0, lossB = 0.0, agreeing = 0
    for window in 0..<2 {
      let piece = Array(ids[window * 24..<window * 24 + 24])
      let (a, b) = (try logits("embedded", piece), try logits("packed.gguf", piece))
      for row in 2..<23 {
        func logs(_ x: [Double]) -> [Double] {
          let top = x.max() ?? 0, sum = x.reduce(0) { $0 + exp($1 - top) }
          return x.map { $0 - top - log(sum) }
        }
        let (p, q) = (logs(a[row]), logs(b[row]))
        divergences.append(zip(p, q).reduce(0) { $0 + exp($1.0) * ($1.0 - $1.1) })
        lossA -= p[piece[row + 1]]
        lossB -= q[piece[row + 1]]
        if p.firstIndex(of: p.max() ?? 0) == q.firstIndex(of: q.max() ?? 0) { agreeing += 1 }
      }
    }
    let count = Double(divergences.count)
    func isNear(_ key: String, _ wanted: Double) -> Bool {
      abs((found[key]?.double ?? .nan) - wanted) < 2e-4 * max(1, abs(wanted))
    }
    #expect(found["tokens"]?.int == 42 && isNear("kl", divergences.reduce(0, +) / count))
    #expect(isNear("kl_max", divergences.max() ?? 0) && isNear("agreement", Double(agreeing) / count))
    #expect(isNear("perplexity_a", exp(lossA / count)) && isNear("perplexity_b", exp(lossB / count)))
    // The same figure that perplexity gives by itself.
    let alone = try Command.run(
      ["perplexity", "packed.gguf", "--text", "text.txt", "--window", "24", "--windows", "2", "--skip", "3", "--json"],
      in: scratch.path)
    #expect(isNear("perplexity_b", try JSON(parsing: alone.output)["perplexity"]?.double ?? 0))
  }

  @Test func `Rows are laid end to end`() throws {
    let found = try kl("embedded", "packed.gguf", "--text", "rows.jsonl", "--window", "8")
    #expect((found["windows"]?.int ?? 0) > 0 && (found["kl"]?.double ?? 0) > 0)
  }

  @Test func `What cannot be compared is refused`() throws {
    try scratch.copy("models/llama-untied", as: "stranger")
    for (arguments, code, problem) in [
      (["embedded", "stranger"], 3, "compare models of one tokenizer"),
      (["embedded", "packed.gguf", "--window", "4096"], 2, "reads at most"),
      (["embedded", "packed.gguf", "--skip", "9", "--window", "8"], 2, "--skip from 1"),
      (["embedded", "nowhere"], 3, "is not there"),
    ] {
      let window = arguments.contains("--window") ? [] : ["--window", "16"]
      let ending = try Command.run(["kl"] + arguments + ["--text", "text.txt"] + window, in: scratch.path)
      #expect(Int(ending.code) == code && ending.errors.contains(problem), "\(ending.code) \(ending.errors)")
    }
  }

  private func ids(_ model: String, _ text: String) throws -> [Int] {
    let content = try String(contentsOfFile: scratch.path + "/" + text, encoding: .utf8)
    let ending = try Command.run(
      ["logits", model, "--text", String(content.prefix(300)), "--out", "ids"], in: scratch.path)
    try #require(ending.code == 0, "\(ending.errors)")
    return try Safetensors(scratch.path + "/ids").entry("ids").integers()
  }

  private func logits(_ model: String, _ ids: [Int]) throws -> [[Double]] {
    let list = ids.map(String.init).joined(separator: ",")
    try #require(try Command.run(["logits", model, "--ids", list, "--out", "logits"], in: scratch.path).code == 0)
    let entry = try Safetensors(scratch.path + "/logits").entry("logits"), values = try entry.floats()
    let width = values.count / ids.count
    return ids.indices.map { row in values[row * width..<(row + 1) * width].map(Double.init) }
  }
}
