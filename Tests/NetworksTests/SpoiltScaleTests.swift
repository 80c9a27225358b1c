import Files
import Foundation
import Testing
import Weights

@testable import Networks

/// Packed checkpoints whose scales are no numbers, made from fixtures by changing one tensor.
struct SpoiltScaleTests {
  private let folder = FileManager.default.temporaryDirectory.appendingPathComponent("graft-\(UUID().uuidString)").path

  /// The fixture's file with the first bytes of a tensor replaced; what reading `matrix` from it throws.
  private func error(
    _ fixture: String, _ tensor: String, _ bytes: [UInt8], _ section: JSON, _ matrix: (String, Int, Int)
  ) throws -> String {
    let file = try Safetensors("\(fixtures)/\(fixture)")
    try Folder.create(folder)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try #require(file.names.contains(tensor), "\(file.names)")
    try Safetensors.write(
      file.names.map { name in
        let entry = try file.entry(name)
        return TensorToWrite(name: name, type: entry.type, shape: entry.shape) { writer in
          var data = entry.withBytes { Array($0) }
          if name == tensor { data.replaceSubrange(0..<bytes.count, with: bytes) }
          try data.withUnsafeBytes { try writer.write($0) }
        }
      }, to: folder + "/model.safetensors")
    let source = try SafetensorsSource(folder: folder, configuration: .object(["quantization_config": section]))
    return #expect(throws: FileError.self) { try source.matrix(matrix.0, rows: matrix.1, columns: matrix.2) }?
      .description ?? ""
  }

  @Test(arguments: ["gptq", "awq"])
  func `A half scale that is infinite is told by its tensor`(_ name: String) throws {
    let section = try #require(try JSON.read("\(fixtures)/autoround/\(name)/config.json")["quantization_config"])
    let problem = try error(
      "autoround/\(name)/model.safetensors", "model.layers.0.mlp.down_proj.scales", [0, 0x7c], section,
      ("model.layers.0.mlp.down_proj.weight", 64, 96))
    #expect(problem.contains("tensor 'model.layers.0.mlp.down_proj.scales': holds inf in place 0"), "\(problem)")
  }

  @Test(arguments: [
    ("nf4.weight", "nf4.weight.absmax"), ("nf4_nested.weight", "nf4_nested.weight.nested_absmax"),
    ("int8.weight", "int8.SCB"),
  ])
  func `A scale of bitsandbytes that is no number is told by its tensor`(_ matrix: String, _ tensor: String) throws {
    let section = try JSON(parsing: "{\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": true}")
    let problem = try error(
      "bitsandbytes/layers.safetensors", tensor, [0, 0, 0xc0, 0x7f], section, (matrix, 24, 128))
    #expect(problem.contains("tensor '\(tensor)': holds nan in place 0"), "\(problem)")
  }

  @Test func `A state of bitsandbytes that is no JSON is told by its file and tensor`() throws {
    let section = try JSON(parsing: "{\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": true}")
    let tensor = "nf4.weight.quant_state.bitsandbytes__nf4"
    let problem = try error(
      "bitsandbytes/layers.safetensors", tensor, Array("{x".utf8), section, ("nf4.weight", 24, 128))
    #expect(problem.hasPrefix(folder) && problem.contains("tensor '\(tensor)': holds no JSON"), "\(problem)")
  }

  @Test func `Groups that do not divide a layer's inputs are told by their size`() throws {
    let section = try JSON(parsing: "{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 128}")
    let problem = try error(
      "autoround/gptq/model.safetensors", "model.layers.0.mlp.down_proj.scales", [], section,
      ("model.layers.0.mlp.down_proj.weight", 64, 96))
    #expect(problem.contains("has 96 inputs, which groups of 128 do not divide"), "\(problem)")
  }

  @Test(arguments: [(UInt8(253), false), (UInt8(254), true)])
  func `A power of two that makes numbers infinite is refused, and no smaller one`(
    _ exponent: UInt8, _ fails: Bool
  ) throws {
    // Codes of the level 3: 3 · 2¹²⁶ is a number, 3 · 2¹²⁷ is none.
    try Folder.create(folder)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    func bytes(_ name: String, _ values: [UInt8], _ shape: [Int]) -> TensorToWrite {
      TensorToWrite(name: name, type: .u8, shape: shape) { writer in
        try values.withUnsafeBytes { try writer.write($0) }
      }
    }
    try Safetensors.write(
      [bytes("p_blocks", [UInt8](repeating: 0x55, count: 16), [1, 1, 16]), bytes("p_scales", [exponent], [1, 1])],
      to: folder + "/model.safetensors")
    let source = try SafetensorsSource(
      folder: folder, configuration: JSON(parsing: "{\"quantization_config\": {\"quant_method\": \"mxfp4\"}}"))
    func read() throws -> FrozenWeight { try source.matrix("p.weight", rows: 1, columns: 32) }
    if fails {
      let error = #expect(throws: FileError.self) { try read() }
      #expect(error?.description.contains("tensor 'p_scales': holds 254") == true, "\(error?.description ?? "")")
    } else {
      #expect(try read().unpacked().values == [Float](repeating: 3 * 0x1p126, count: 32))
    }
  }
}
