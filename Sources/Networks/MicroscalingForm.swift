import Files
import Weights

/// The form in which Hugging Face stores a layer `P` in OCP's MXFP4: 32 adjacent inputs share a power of two.
///
///     P.weight_blocks   U8 [outputs, inputs / 32, 16]   two codes a byte, the first in the low nibble
///     P.weight_scales   U8 [outputs, inputs / 32]       2^(byte − 127)
///
/// Some writers leave `.weight` out of the names.
struct MicroscalingForm: PackedForm {
  static let method = "mxfp4"
  private static let layout = GroupLayout(.levels(.e2m1), group: 32, scale: .power)

  func matrix(_ name: String, rows: Int, columns: Int, in tensors: PackedTensors) throws -> FrozenWeight? {
    let module = String(name.dropLast(".weight".count))
    guard let stem = [name, module].first(where: { tensors.has($0 + "_blocks") }) else { return nil }
    guard columns % 32 == 0 else {
      throw FileError(
        tensors.file.path, at: "tensor '\(stem)_blocks'", "packs 32 inputs together, and rows have \(columns)")
    }
    let groups = columns / 32
    let blocks = try tensors.checked(stem + "_blocks", .u8, [rows, groups, 16])
    let scales = try tensors.checked(stem + "_scales", .u8, [rows, groups])
    var grouped = try tensors.placed(name) { try GroupedCodes(Self.layout, rows: rows, columns: columns) }
    blocks.withBytes { bytes in
      for index in 0..<rows * columns { grouped.codes[index] = bytes[index / 2] >> UInt8(4 * (index % 2)) & 15 }
    }
    for (group, exponent) in try scales.integers().enumerated() {
      guard exponent < 255 else {
        throw FileError(tensors.file.path, at: "tensor '\(stem)_scales'", "holds 255, which is no number")
      }
      grouped.grids[group] = GroupGrid(
        scale: Float(sign: .plus, exponent: exponent - 127, significand: 1), zero: 0, Self.layout)
      // The largest level is 6: only the two largest powers can take it beyond what a number holds.
      guard exponent > 252 else { continue }
      for code in grouped.codes[32 * group..<32 * (group + 1)] where !grouped.grids[group].value(code).isFinite {
        throw FileError(
          tensors.file.path, at: "tensor '\(stem)_scales'", "holds \(exponent), by which numbers are infinite",
          remedy: "fetch or make the model again")
      }
    }
    return try tensors.placed(name) { try grouped.packed() }
  }
}
