import Files
import Weights

/// The forms in which bitsandbytes stores a packed layer `P`.
///
///     four bits    P.weight                        U8 [numbers / 2, 1]   two codes a byte, the first in the high nibble
///                  P.weight.absmax                 F32 [blocks]          what a block's codes are times; or, packed again,
///                                                  U8 [blocks]           codes of `nested_quant_map`
///                  P.weight.quant_map              F32 [16]              the levels, nf4 or fp4
///                  P.weight.nested_absmax          F32 [blocks / 256]    absmax = map[code] × nested + offset
///                  P.weight.nested_quant_map       F32 [256]
///                  P.weight.quant_state.bitsandbytes__nf4, …__fp4   U8   JSON: blocksize, shape, nested_offset, …
///     eight bits   P.weight I8 [outputs, inputs], P.SCB F32 [outputs]    w = code × SCB / 127
///
/// A block is so many numbers one behind another, whatever the rows; where a row is no whole number of blocks, the
/// largest groups that divide both share their block's number. Numbers stay in single precision, where bitsandbytes
/// rounds what it unpacks to the model's own type.
struct BitsAndBytesForm: PackedForm {
  static let method = "bitsandbytes"
  private static let state = ".quant_state.bitsandbytes__"

  init(_ section: JSON, path: String) throws {
    guard section["load_in_4bit"] == .bool(true) || section["load_in_8bit"] == .bool(true) else {
      throw FileError(
        path, at: "key 'quantization_config'", "says neither load_in_4bit nor load_in_8bit",
        remedy: "save the model from a version of transformers that writes them")
    }
  }

  func matrix(_ name: String, rows: Int, columns: Int, in tensors: PackedTensors) throws -> FrozenWeight? {
    if tensors.has(String(name.dropLast(".weight".count)) + ".SCB") {
      return try bytes(name, rows: rows, columns: columns, in: tensors)
    }
    for levels in [GroupLayout.Levels.normalFloat, .bitsandbytes] {
      let kind = levels == .normalFloat ? "nf4" : "fp4"
      guard tensors.has(name + Self.state + kind) else { continue }
      return try nibbles(name, kind, levels, rows: rows, columns: columns, in: tensors)
    }
    return nil
  }

  private func bytes(_ name: String, rows: Int, columns: Int, in tensors: PackedTensors) throws -> FrozenWeight {
    let module = String(name.dropLast(".weight".count))
    let codes = try tensors.checked(name, .i8, [rows, columns]),
      scales = try tensors.finite(module + ".SCB", .f32, [rows])
    if tensors.has(module + ".weight_format") {
      let format = try tensors(module + ".weight_format")
      guard try format.integers().allSatisfy({ $0 == 0 }) else {
        throw FileError(
          format.file.path, at: "tensor '\(module).weight_format'",
          "is not 0: the codes lie in a graphics card's order",
          remedy: "save the model in the row format")
      }
    }
    var grouped = try tensors.placed(name) {
      try GroupedCodes(GroupLayout(.integer(bits: 8), group: 0), rows: rows, columns: columns)
    }
    codes.withBytes { bytes in
      for index in 0..<rows * columns { grouped.codes[index] = bytes[index] ^ 0x80 }
    }
    for (row, scale) in scales.enumerated() {
      grouped.grids[row] = GroupGrid(scale: scale / 127, zero: 0, grouped.layout)
    }
    return try tensors.placed(name) { try grouped.packed() }
  }

  private func nibbles(
    _ name: String, _ kind: String, _ levels: GroupLayout.Levels, rows: Int, columns: Int, in tensors: PackedTensors
  ) throws -> FrozenWeight {
    let place = name + Self.state + kind, entry = try tensors(place), path = entry.file.path
    func error(_ problem: String) -> FileError { FileError(path, at: "tensor '\(place)'", problem) }
    let text = entry.withBytes { String(decoding: $0, as: UTF8.self) }
    let state: JSON
    do { state = try JSON(parsing: text) } catch {
      throw FileError(
        path, at: "tensor '\(place)'",
        "holds no JSON of a packed layer: \((error as? FileError)?.problem ?? "\(error)")",
        remedy: "fetch or make the model again")
    }
    guard let block = state["blocksize"]?.int, block > 0, block % 32 == 0 else {
      throw error("has no blocksize that is a multiple of 32")
    }
    guard state["shape"]?.array?.compactMap(\.int) == [rows, columns] else {
      throw error("is not of shape [\(rows), \(columns)], which the configuration says")
    }
    let total = rows * columns, blocks = (total + block - 1) / block
    let map = try tensors.checked(name + ".quant_map", .f32, [16]).floats()
    var layout = GroupLayout(.levels(levels), group: block)
    guard map == layout.levels else { throw error("has levels of its own; those of \(kind) are read") }
    // Blocks and rows both begin at multiples of what divides both.
    layout.group = greatestCommonDivisor(block, columns)
    guard layout.group >= 32 else {
      throw error("packs \(block) numbers together across rows of \(columns)")
    }
    let packed = try tensors.checked(name, .u8, [(total + 1) / 2, 1])
    let scales = try absmax(name, state, blocks, in: tensors, error)
    var grouped = try tensors.placed(name) { try GroupedCodes(layout, rows: rows, columns: columns) }
    packed.withBytes { bytes in
      for index in 0..<total { grouped.codes[index] = index % 2 == 0 ? bytes[index / 2] >> 4 : bytes[index / 2] & 15 }
    }
    for group in grouped.grids.indices {
      grouped.grids[group] = GroupGrid(scale: scales[group * layout.group / block], zero: 0, layout)
    }
    return try tensors.placed(name) { try grouped.packed() }
  }

  /// The largest magnitude of each block.
  private func absmax(
    _ name: String, _ state: JSON, _ blocks: Int, in tensors: PackedTensors, _ error: (String) -> FileError
  ) throws -> [Float] {
    guard tensors.has(name + ".nested_absmax") else {
      return try tensors.finite(name + ".absmax", .f32, [blocks])
    }
    guard let size = state["nested_blocksize"]?.int, size > 0, let offset = state["nested_offset"]?.double else {
      throw error("has no nested_blocksize and nested_offset, though its scales are packed")
    }
    let codes = try tensors.checked(name + ".absmax", .u8, [blocks]).integers()
    let map = try tensors.finite(name + ".nested_quant_map", .f32, [256])
    let outer = try tensors.finite(name + ".nested_absmax", .f32, [(blocks + size - 1) / size])
    let scales = codes.enumerated().map { map[$1] * outer[$0 / size] + Float(offset) }
    if let index = scales.firstIndex(where: { !$0.isFinite }) {
      throw error("and its numbers make \(scales[index]) the scale of block \(index)")
    }
    return scales
  }
}

private func greatestCommonDivisor(_ a: Int, _ b: Int) -> Int { b == 0 ? a : greatestCommonDivisor(b, a % b) }
