import Autodiff
import Files
import Foundation
import Testing
import Weights

@testable import Networks

/// Layers as GPTQ's and AWQ's tools store them, written here word by word from the formats' descriptions.
struct PackedCheckpointTests {
  private let folder = FileManager.default.temporaryDirectory.appendingPathComponent("graft-\(UUID().uuidString)").path
  private let rows = 32, columns = 64

  private func code(_ row: Int, _ column: Int, _ bits: Int) -> Int {
    (row * 7 + column * 5 + row * column) % (1 << bits)
  }
  private func zero(_ row: Int, _ group: Int, _ bits: Int) -> Int { 1 + (row * 3 + group) % (1 << bits - 1) }
  private func scale(_ row: Int, _ group: Int) -> Float { Float(1 + (row + 3 * group) % 13) / 64 }

  private func integers(_ name: String, _ values: [UInt32], _ shape: [Int]) -> TensorToWrite {
    TensorToWrite(name: name, type: .i32, shape: shape) { writer in
      try values.withUnsafeBytes { try writer.write($0) }
    }
  }

  private func halves(_ name: String, _ values: [Float], _ shape: [Int]) -> TensorToWrite {
    TensorToWrite(name: name, type: .f16, shape: shape) { writer in
      try values.map { Float16($0) }.withUnsafeBytes { try writer.write($0) }
    }
  }

  /// The bits of all codes one after another, 32 to a word.
  private func stream(_ codes: [Int], _ bits: Int) -> [UInt32] {
    var words = [UInt32](repeating: 0, count: codes.count * bits / 32)
    for (index, code) in codes.enumerated() {
      for bit in 0..<bits where code >> bit & 1 == 1 {
        words[(index * bits + bit) / 32] |= 1 << UInt32((index * bits + bit) % 32)
      }
    }
    return words
  }

  private func source(_ tensors: [TensorToWrite], _ section: String) throws -> SafetensorsSource {
    try Folder.create(folder)
    try Safetensors.write(tensors, to: folder + "/model.safetensors")
    return try SafetensorsSource(
      folder: folder, configuration: JSON(parsing: "{\"quantization_config\": \(section)}"))
  }

  private func gptq(_ bits: Int, group: Int, lessOne: Bool, order: [Int]? = nil) -> [TensorToWrite] {
    let length = group == -1 ? columns : group, groups = columns / length
    var weight = [UInt32](repeating: 0, count: columns * bits / 32 * rows)
    for row in 0..<rows {
      let words = stream((0..<columns).map { code(row, $0, bits) }, bits)
      for (index, word) in words.enumerated() { weight[index * rows + row] = word }
    }
    let zeros = (0..<groups).flatMap { group in
      stream((0..<rows).map { zero($0, group, bits) - (lessOne ? 1 : 0) }, bits)
    }
    var tensors = [
      integers("p.qweight", weight, [columns * bits / 32, rows]),
      integers("p.qzeros", zeros, [groups, rows * bits / 32]),
      halves("p.scales", (0..<groups).flatMap { group in (0..<rows).map { scale($0, group) } }, [groups, rows]),
    ]
    if let order {
      var index = [UInt32](repeating: 0, count: columns)
      for (place, column) in order.enumerated() { index[column] = UInt32(place / length) }
      tensors.append(integers("p.g_idx", index, [columns]))
    }
    return tensors
  }

  private func expect(_ weight: FrozenWeight, _ value: (_ row: Int, _ column: Int) -> Float) {
    let found = weight.unpacked().values
    var strays = 0
    for row in 0..<rows {
      for column in 0..<columns where found[row * columns + column] != value(row, column) { strays += 1 }
    }
    #expect(strays == 0)
  }

  @Test(arguments: [2, 3, 4, 8], [("gptq", 32), ("gptq_v2", 32), ("gptq", -1)])
  func `A GPTQ layer reads as its formula says, bit for bit`(_ bits: Int, _ form: (version: String, group: Int)) throws
  {
    let tensors = gptq(bits, group: form.group, lessOne: form.version == "gptq")
    let source = try source(
      tensors,
      "{\"quant_method\": \"gptq\", \"bits\": \(bits), \"group_size\": \(form.group), \"checkpoint_format\": \"\(form.version)\"}"
    )
    let weight = try source.matrix("p.weight", rows: rows, columns: columns)
    let length = form.group == -1 ? columns : form.group
    expect(weight) { scale($0, $1 / length) * Float(code($0, $1, bits) - zero($0, $1 / length, bits)) }
    #expect(source.unused.isEmpty && weight.byteCount < rows * columns * 2)
  }

  @Test func `Columns ordered by activation keep the groups they were given`() throws {
    let order = (0..<columns).map { $0 * 37 % columns }
    let tensors = gptq(4, group: 32, lessOne: false, order: order)
    let source = try source(
      tensors, "{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 32, \"checkpoint_format\": \"gptq_v2\"}")
    var group = [Int](repeating: 0, count: columns)
    for (place, column) in order.enumerated() { group[column] = place / 32 }
    expect(try source.matrix("p.weight", rows: rows, columns: columns)) {
      scale($0, group[$1]) * Float(code($0, $1, 4) - zero($0, group[$1], 4))
    }
  }

  @Test func `Words hold eight codes as each tool orders them`() {
    let words = [0x7654_3210]
    #expect((0..<8).map { BitStream.code(words, $0, bits: 4, start: 0, stride: 1) } == Array(0..<8))
    let three = [0x88FA_C688, 0xC688_FAC6, 0xFAC6_88FA]
    #expect((0..<32).map { BitStream.code(three, $0, bits: 3, start: 0, stride: 1) } == (0..<32).map { $0 % 8 })
  }

  @Test func `An AWQ layer reads as its formula says, bit for bit`() throws {
    let order = [0, 2, 4, 6, 1, 3, 5, 7]
    func words(_ value: (_ row: Int) -> Int) -> [UInt32] {
      (0..<rows / 8).map { word in
        order.enumerated().reduce(UInt32(0)) { $0 | UInt32(value(8 * word + $1.element)) << UInt32(4 * $1.offset) }
      }
    }
    // Codes 0…7 in order make the word that the format's description gives.
    #expect(words { $0 % 8 }.allSatisfy { $0 == 0x7531_6420 })
    let tensors = [
      integers("p.qweight", (0..<columns).flatMap { column in words { code($0, column, 4) } }, [columns, rows / 8]),
      integers("p.qzeros", (0..<2).flatMap { group in words { zero($0, group, 4) } }, [2, rows / 8]),
      halves("p.scales", (0..<2).flatMap { group in (0..<rows).map { scale($0, group) } }, [2, rows]),
    ]
    let source = try source(
      tensors, "{\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 32, \"version\": \"gemm\"}")
    expect(try source.matrix("p.weight", rows: rows, columns: columns)) {
      scale($0, $1 / 32) * Float(code($0, $1, 4) - zero($0, $1 / 32, 4))
    }
  }

  @Test func `A symmetric layer tells which version it is, whatever its configuration says`() throws {
    for (stored, version) in [(8, "gptq"), (7, "gptq_v2")] {
      var tensors = gptq(4, group: 32, lessOne: false)
      tensors[1] = integers("p.qzeros", stream([Int](repeating: stored, count: 2 * rows), 4), [2, rows / 8])
      let source = try source(
        tensors,
        "{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 32, \"sym\": true, \"checkpoint_format\": \"\(version)\"}"
      )
      expect(try source.matrix("p.weight", rows: rows, columns: columns)) {
        scale($0, $1 / 32) * Float(code($0, $1, 4) - 8)
      }
    }
  }

  @Test(arguments: [
    ("{\"quant_method\": \"gptq\", \"bits\": 5, \"group_size\": 32}", "is not 2, 3, 4 or 8"),
    ("{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 48}", "is neither -1 nor a multiple of 32"),
    (
      "{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 32, \"checkpoint_format\": \"marlin\"}",
      "'marlin' is not read"
    ),
    ("{\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 32, \"version\": \"gemv\"}", "'gemv' is not read"),
    ("{\"quant_method\": \"gptq\", \"bits\": 8, \"group_size\": 32}", "expected I32"),
    ("{\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 32}", "expected I32"),
  ])
  func `A checkpoint that is not what it says is refused`(_ section: String, _ problem: String) throws {
    let error = #expect(throws: FileError.self) {
      try source(gptq(4, group: 32, lessOne: true), section).matrix("p.weight", rows: rows, columns: columns)
    }
    #expect(error?.description.contains(problem) == true, "\(error?.description ?? "")")
  }

  @Test(arguments: [(2, 32), (3, 32), (4, 32), (8, -1)])
  func `A layer read from GPTQ's form is written back word for word`(_ bits: Int, _ group: Int) throws {
    let order = group == -1 ? nil : (0..<columns).map { $0 * 37 % columns }
    let words = gptq(bits, group: group, lessOne: false, order: order)
    let section =
      "{\"quant_method\": \"gptq\", \"bits\": \(bits), \"group_size\": \(group), \"checkpoint_format\": \"gptq_v2\"}"
    let weight = try source(words, section).matrix("p.weight", rows: rows, columns: columns)
    let written = folder + "/written.safetensors"
    try Safetensors.write(try GPTQForm.tensors("p", weight), to: written)
    let before = try Safetensors(folder + "/model.safetensors"), after = try Safetensors(written)
    for name in before.names {
      let (old, new) = (try before.entry(name), try after.entry(name))
      #expect(old.shape == new.shape && old.type == new.type)
      #expect(old.withBytes { old in new.withBytes { old.elementsEqual($0) } }, "\(name)")
    }
    let description = try GPTQForm.section([weight])
    #expect(description["bits"]?.int == bits && description["group_size"]?.int == group)
    #expect(description["desc_act"] == .bool(order != nil))
  }

  @Test func `Layers that GPTQ's form has no place for are refused with the packing to take`() throws {
    func error(_ names: String...) throws -> String {
      let weights = try names.map { try FrozenWeight(Tensor.zeros([32, 64]), packing: Packing(parsing: $0)) }
      return #expect(throws: PackingError.self) { try GPTQForm.section(weights) }?.description ?? ""
    }
    #expect(try error("int4-g64").contains("pack the model with int4-g128-f16-zero"))
    #expect(try error("fp4-g64").contains("codes of 2, 3, 4 or 8 bits"))
    #expect(try error("int4-g64-f16-zero", "int3-g64-f16-zero").contains("one layout for all layers"))
  }

  @Test(arguments: ["gptq", "gptq-symmetric", "awq"])
  func `A layer that AutoRound exported reads as what it rounded to, but for scales in half precision`(
    _ name: String
  ) throws {
    let folder = "\(fixtures)/autoround/\(name)"
    let source = try SafetensorsSource(folder: folder, configuration: try JSON.read(folder + "/config.json"))
    let weight = try source.matrix("model.layers.0.mlp.down_proj.weight", rows: 64, columns: 96)
    let expected = try Safetensors(folder + "/model.safetensors").entry("expected").floats()
    // Half of a half's last place, of the codes' sixteen steps.
    let largest = expected.map(abs).max() ?? 0
    #expect(zip(weight.unpacked().values, expected).allSatisfy { abs($0 - $1) <= largest / 2048 })
    #expect(weight.byteCount < expected.count)
  }

  @Test(arguments: ["nf4", "nf4_nested", "fp4_nested", "int8", "odd"])
  func `A layer that bitsandbytes packed reads as its codes say`(_ name: String) throws {
    let section = "{\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": true}"
    let folder = "\(fixtures)/bitsandbytes"
    let file = try Safetensors(folder + "/layers.safetensors")
    try Folder.create(self.folder)
    try Safetensors.write(
      file.names.map { name in
        let entry = try file.entry(name)
        return TensorToWrite(name: name, type: entry.type, shape: entry.shape) { writer in
          try entry.withBytes { try writer.write($0) }
        }
      }, to: self.folder + "/model.safetensors")
    let source = try SafetensorsSource(
      folder: self.folder, configuration: JSON(parsing: "{\"quantization_config\": \(section)}"))
    let weight = try source.matrix("\(name).weight", rows: name == "odd" ? 32 : 24, columns: name == "odd" ? 96 : 128)
    let expected = try file.entry("\(name).expected").floats()
    #expect(zip(weight.unpacked().values, expected).allSatisfy { abs($0 - $1) <= 1.2e-7 * max(0.5, abs($1)) })
    #expect(weight.byteCount < expected.count * 4 / 3)
    #expect(source.unused.allSatisfy { !$0.hasPrefix("\(name).weight") && !$0.hasPrefix("\(name).SCB") })
  }

  @Test func `Pairs of MXFP4 codes share a byte, the first in the low nibble, and 32 a power of two`() throws {
    // The published vector: 32 numbers of ((37 i) mod 101 − 50) / 64, the block's largest saturated.
    let bytes: [UInt8] = [
      0xbf, 0xe5, 0x69, 0x2e, 0xc7, 0xf4, 0x5a, 0x0e, 0xd6, 0x72, 0x4c, 0xaf, 0xe6, 0x61, 0x3d, 0xc7,
    ]
    let levels: [Float] = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    for suffix in ["p.weight", "p"] {
      let tensors = [
        TensorToWrite(name: suffix + "_blocks", type: .u8, shape: [1, 1, 16]) { writer in
          try bytes.withUnsafeBytes { try writer.write($0) }
        },
        TensorToWrite(name: suffix + "_scales", type: .u8, shape: [1, 1]) { writer in
          try [UInt8(0x7c)].withUnsafeBytes { try writer.write($0) }
        },
      ]
      let weight = try source(tensors, "{\"quant_method\": \"mxfp4\"}").matrix("p.weight", rows: 1, columns: 32)
      let expected = (0..<32).map { (i: Int) -> Float in
        let code = i % 2 == 0 ? bytes[i / 2] & 15 : bytes[i / 2] >> 4
        return levels[Int(code & 7)] / 8 * (code >= 8 ? -1 : 1)
      }
      #expect(weight.unpacked().values == expected)
      let original = (0..<32).map { (i: Int) -> Float in Float((i * 37) % 101 - 50) / 64 }
      #expect(zip(expected, original).allSatisfy { abs($0 - $1) <= 0.126 })
    }
  }

  @Test func `Groups of unequal size are refused`() throws {
    var tensors = gptq(4, group: 32, lessOne: true)
    tensors.append(integers("p.g_idx", [UInt32](repeating: 1, count: columns), [columns]))
    let error = #expect(throws: FileError.self) {
      try source(tensors, "{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 32}")
        .matrix("p.weight", rows: rows, columns: columns)
    }
    #expect(error?.description.contains("does not put 32 inputs into each") == true)
  }
}
