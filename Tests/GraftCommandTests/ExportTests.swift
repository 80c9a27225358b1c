import Files
import Foundation
import Testing

/// Models written as GGUF files, on a tiny model of 64 channels, 176 within its blocks.
struct ExportTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch(learning: Scratch.rowsAlike) }

  /// llama.cpp's numbers of file types, and what its quantiser packs rows of 64 in; rows of 176 fit in no blocks.
  @Test(
    arguments: [
      ("f32", 0, .f32), ("f16", 1, .f16), ("bf16", 32, .bf16), ("q4_0", 2, .q4_0), ("q4_1", 3, .q4_1),
      ("q5_0", 8, .q5_0), ("q5_1", 9, .q5_1), ("q8_0", 7, .q8_0), ("q2_k", 10, .q4_0), ("q3_k", 11, .q4_0),
      ("q4_k", 14, .q5_0), ("q5_k", 16, .q5_1), ("q6_k", 18, .q8_0), ("iq4_nl", 25, .iq4_nl), ("iq4_xs", 30, .iq4_nl),
      ("mxfp4", 38, .mxfp4), ("nvfp4", 39, .nvfp4), ("q1_0", 40, .q4_0), ("q2_0", 41, .q2_0),
    ] as [(String, Int, GGUFType)])
  func `A file has the type asked for, or one whose blocks fit`(_ name: String, _ number: Int, _ type: GGUFType) throws
  {
    let ending = try Command.run(
      ["export", "model", "--to", "gguf", "--type", name, "--output", "x.gguf"], in: scratch.path)
    try #require(ending.code == 0, "\(ending.errors)")
    let file = try GGUF(scratch.path + "/x.gguf")
    #expect(file.metadata["general.file_type"]?.int == number)
    #expect(try file.tensor("blk.0.attn_q.weight").type == type)
    #expect(try file.tensor("blk.0.ffn_up.weight").type == type)
    let isPlain = type.blockSize == 1
    #expect(try file.tensor("blk.0.ffn_down.weight").type == (isPlain ? type : .f16))
    let said = try Command.run(["logits", "x.gguf", "--ids", "3,17,29", "--out", "o.safetensors"], in: scratch.path)
    #expect(said.code == 0, "\(said.errors)")
    #expect(try Safetensors(scratch.path + "/o.safetensors").entry("logits").floats().allSatisfy { $0.isFinite })
  }

  @Test func `A type that is none is refused with those there are`() throws {
    let ending = try Command.run(
      ["export", "model", "--to", "gguf", "--type", "iq4", "--output", "x.gguf"], in: scratch.path)
    #expect(ending.code != 0 && ending.errors.contains("IQ4_NL, IQ4_XS, MXFP4, NVFP4"))
    #expect(!FileManager.default.fileExists(atPath: scratch.path + "/x.gguf"))
  }
}
