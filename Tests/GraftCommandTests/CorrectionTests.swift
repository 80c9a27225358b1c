import Files
import Foundation
import Testing

/// Closed-form corrections of a base that was packed beforehand, told what it was by the teacher, without a step of
/// training.
struct CorrectionTests {
  private let scratch: Scratch

  init() throws {
    scratch = try Scratch(withModel: "original")
    try scratch.write(String(repeating: "The quick brown fox jumps over the lazy dog. ", count: 60), to: "text.txt")
    // More tokens than the widest layer has inputs, or their second moment would have no inverse.
    let words = ["quick", "brown", "foxes", "jump", "over", "lazy", "dogs", "while", "hackers", "write", "code"]
    let rows = (0..<80).map { row in
      "{\"text\": \"\((0..<16).map { words[(row * 7 + $0 * $0 * 3 + $0) % words.count] }.joined(separator: " "))\"}"
    }
    try scratch.write(rows.joined(separator: "\n"), to: "rows.jsonl")
    let packed = try Command.run(
      ["quantize", "original", "--packing", "int2-g32", "--skip", "k_proj", "v_proj", "--output", "packed"],
      in: scratch.path)
    try #require(packed.code == 0, "\(packed.errors)")
  }

  private func correct(_ correction: String, rank: Int) throws -> Command.Ending {
    try scratch.write(
      """
      seed: 1
      output_dir: \(correction)-\(rank)
      model: {path: packed}
      adapter:
        type: int2.1
        rank: \(rank)
        alpha: 8
        correction: \(correction)
        target_modules: [q_proj, o_proj, gate_proj, up_proj, down_proj]
      objective: {type: distillation, teacher: original}
      \(correction == "svd" ? "" : "calibration: {data: rows.jsonl}")
      data: {train: rows.jsonl, max_seq_len: 64}
      train: {max_steps: 0, batch_size: 2, learning_rate: 1e-3}
      """, to: "recipe.yaml")
    return try Command.run(["train", "recipe.yaml"], in: scratch.path)
  }

  private func divergence(_ adapter: String?) throws -> Double {
    let more = adapter.map { ["--adapter-b", $0] } ?? []
    let ending = try Command.run(
      ["kl", "original", "packed", "--text", "text.txt", "--window", "64", "--json"] + more, in: scratch.path)
    try #require(ending.code == 0, "\(ending.errors)")
    let object = try #require(try JSONSerialization.jsonObject(with: Data(ending.output.utf8)) as? [String: Any])
    return try #require(object["kl"] as? Double)
  }

  @Test(arguments: ["svd", "lqer", "eora"])
  func `A correction of full rank gives the original back, one of low rank comes nearer, and no byte of the base moves`(
    _ correction: String
  ) throws {
    let path = scratch.path + "/packed/model.safetensors"
    let before = try Data(contentsOf: URL(fileURLWithPath: path))
    let without = try divergence(nil)
    #expect(without > 0.1)
    for (rank, most) in [(16, 0.9 * without), (192, 1e-6)] {
      let ending = try correct(correction, rank: rank)
      try #require(ending.code == 0, "\(ending.errors)")
      let with = try divergence("\(correction)-\(rank)/adapter")
      #expect(with < most, "\(correction) of rank \(rank): \(with) of \(without)")
    }
    #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == before)
  }

  @Test func `A teacher of another shape is told before anything is written`() throws {
    try scratch.exportModel("other")
    let config = scratch.path + "/other/config.json"
    let text = try String(contentsOfFile: config, encoding: .utf8)
    #expect(text.contains("\"num_hidden_layers\": 7"), "the embedded model has changed: \(text)")
    try scratch.write(
      text.replacingOccurrences(of: "\"num_hidden_layers\": 7", with: "\"num_hidden_layers\": 6"),
      to: "other/config.json")
    _ = try correct("svd", rank: 4)
    try scratch.write(
      try String(contentsOfFile: scratch.path + "/recipe.yaml", encoding: .utf8)
        .replacingOccurrences(of: "teacher: original", with: "teacher: other")
        .replacingOccurrences(of: "output_dir: svd-4", with: "output_dir: refused"), to: "recipe.yaml")
    let ending = try Command.run(["train", "recipe.yaml"], in: scratch.path)
    #expect(ending.code != 0, "\(ending.output)")
    #expect(!Folder.exists(scratch.path + "/refused/adapter"), "\(ending.errors)")
  }
}
