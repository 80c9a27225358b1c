import Files
import Weights

/// The form in which GPTQ's tools store a packed layer, which reads as `w = scale × (code − zero)`.
///
///     P.qweight  I32 [inputs · bits / 32, outputs]     the codes of one output, a little-endian bit stream along the inputs
///     P.qzeros   I32 [groups, outputs · bits / 32]     the same along the outputs; version 1 stores zero − 1
///     P.scales   F16 [groups, outputs]
///     P.g_idx    I32 [inputs]                          each input's group, where columns were ordered by activation
///
/// Some writers name the wrong version; a symmetric layer tells itself which it is, its zeros being all 2^(bits − 1).
/// Columns whose groups do not lie side by side are stored in the groups' order.
struct GPTQForm: PackedForm {
  static let method = "gptq"
  private let layout: GroupLayout
  private let storesZeroLessOne: Bool, isSymmetric: Bool

  init(_ section: JSON, path: String) throws {
    let place = "key 'quantization_config"
    guard let bits = section["bits"]?.int, [2, 3, 4, 8].contains(bits) else {
      throw FileError(path, at: place + ".bits'", "is not 2, 3, 4 or 8")
    }
    guard let group = section["group_size"]?.int, group == -1 || group > 0 && group % 32 == 0 else {
      throw FileError(path, at: place + ".group_size'", "is neither -1 nor a multiple of 32")
    }
    let version = section["checkpoint_format"]?.string ?? "gptq"
    guard ["gptq", "gptq_v2"].contains(version) else {
      throw FileError(
        path, at: place + ".checkpoint_format'", "\(quoted(version)) is not read", remedy: "expected gptq or gptq_v2")
    }
    layout = GroupLayout(.integer(bits: bits), group: max(0, group), scale: .half, zero: .code)
    (storesZeroLessOne, isSymmetric) = (version == "gptq", section["sym"] == .bool(true))
  }

  func matrix(_ name: String, rows: Int, columns: Int, in tensors: PackedTensors) throws -> FrozenWeight? {
    let module = String(name.dropLast(".weight".count))
    guard name.hasSuffix(".weight"), tensors.has(module + ".qweight") else { return nil }
    let groups = columns / layout.groupLength(columns), bits = layout.bits
    let codes = try tensors.integers(module + ".qweight", [columns * bits / 32, rows])
    let zeros = try tensors.integers(module + ".qzeros", [groups, rows * bits / 32])
    let scales = try tensors.floats(module + ".scales", [groups, rows])
    var grouped = try tensors.placed(name) { try GroupedCodes(layout, rows: rows, columns: columns) }
    let order = try columnOrder(module, columns, in: tensors)
    for (stored, column) in (order ?? (0..<Int32(columns)).map(\.self)).enumerated() {
      for row in 0..<rows {
        // A stream of one output lies `rows` words apart.
        grouped.codes[row * columns + stored] = UInt8(
          BitStream.code(codes, Int(column), bits: bits, start: row, stride: rows))
      }
    }
    let middle = 1 << (bits - 1)
    let stored = (0..<groups).flatMap { group in
      (0..<rows).map { BitStream.code(zeros, $0, bits: bits, start: group * (rows * bits / 32), stride: 1) }
    }
    var isLessOne = storesZeroLessOne
    if isSymmetric, Set(stored) == [middle] { isLessOne = false }
    if isSymmetric, Set(stored) == [middle - 1] { isLessOne = true }
    for group in 0..<groups {
      for row in 0..<rows {
        let zero = stored[group * rows + row] + (isLessOne ? 1 : 0)
        grouped.grids[row * groups + group] = GroupGrid(
          scale: scales[group * rows + row], zero: Float(zero), layout)
      }
    }
    return try tensors.placed(name) { try grouped.packed(columnOrder: order) }
  }

  /// The inputs in the order of their groups; nil where that is their own.
  private func columnOrder(_ module: String, _ columns: Int, in tensors: PackedTensors) throws -> [Int32]? {
    guard tensors.has(module + ".g_idx") else { return nil }
    let groups = try tensors.integers(module + ".g_idx", [columns]), length = layout.groupLength(columns)
    guard !groups.indices.allSatisfy({ groups[$0] == $0 / length }) else { return nil }
    let order = groups.indices.sorted { (groups[$0], $0) < (groups[$1], $1) }
    guard order.indices.allSatisfy({ groups[order[$0]] == $0 / length }) else {
      throw FileError(
        tensors.file.path, at: "tensor '\(module).g_idx'",
        "does not put \(length) inputs into each of \(columns / length) groups")
    }
    return order.map { Int32($0) }
  }
}

/// The form in which AWQ's tools store a packed layer, `w = scale × (code − zero)` in four bits.
///
///     P.qweight  I32 [inputs, outputs / 8]    nibble i of a word is output 8 c + (0, 2, 4, 6, 1, 3, 5, 7)[i]
///     P.qzeros   I32 [inputs / group, outputs / 8]
///     P.scales   F16 [inputs / group, outputs]
struct AWQForm: PackedForm {
  static let method = "awq"
  private static let order = [0, 2, 4, 6, 1, 3, 5, 7]
  private let layout: GroupLayout

  init(_ section: JSON, path: String) throws {
    let place = "key 'quantization_config"
    guard (section["bits"] ?? section["w_bit"])?.int == 4 else {
      throw FileError(path, at: place + ".bits'", "is not 4")
    }
    guard let group = (section["group_size"] ?? section["q_group_size"])?.int, group > 0, group % 32 == 0 else {
      throw FileError(path, at: place + ".group_size'", "is no multiple of 32")
    }
    let version = section["version"]?.string?.lowercased() ?? "gemm"
    guard version == "gemm" else {
      throw FileError(path, at: place + ".version'", "\(quoted(version)) is not read", remedy: "expected gemm")
    }
    layout = GroupLayout(.integer(bits: 4), group: group, scale: .half, zero: .code)
  }

  func matrix(_ name: String, rows: Int, columns: Int, in tensors: PackedTensors) throws -> FrozenWeight? {
    let module = String(name.dropLast(".weight".count))
    guard name.hasSuffix(".weight"), tensors.has(module + ".qweight") else { return nil }
    let groups = columns / layout.group
    let codes = try tensors.integers(module + ".qweight", [columns, rows / 8])
    let zeros = try tensors.integers(module + ".qzeros", [groups, rows / 8])
    let scales = try tensors.floats(module + ".scales", [groups, rows])
    var grouped = try tensors.placed(name) { try GroupedCodes(layout, rows: rows, columns: columns) }
    for word in 0..<rows / 8 {
      for (place, offset) in Self.order.enumerated() {
        let row = 8 * word + offset
        for column in 0..<columns {
          grouped.codes[row * columns + column] = UInt8(codes[column * (rows / 8) + word] >> (4 * place) & 15)
        }
        for group in 0..<groups {
          let zero = zeros[group * (rows / 8) + word] >> (4 * place) & 15
          grouped.grids[row * groups + group] = GroupGrid(
            scale: scales[group * rows + row], zero: Float(zero), layout)
        }
      }
    }
    return try tensors.placed(name) { try grouped.packed() }
  }
}

/// Codes of a few bits in a stream of 32-bit words, the first in the lowest bits; a code may lie across two words.
enum BitStream {
  /// Code `index` of a stream whose words begin at `start`, `stride` apart.
  static func code(_ words: [Int], _ index: Int, bits: Int, start: Int, stride: Int) -> Int {
    let bit = index * bits, word = start + bit / 32 * stride, shift = bit % 32
    var value = (words[word] & 0xffff_ffff) >> shift
    if shift + bits > 32 { value |= (words[word + stride] & 0xffff_ffff) << (32 - shift) }
    return value & (1 << bits - 1)
  }
}

extension PackedTensors {
  /// The integers of a tensor that must be `I32` of that shape.
  fileprivate func integers(_ name: String, _ shape: [Int]) throws -> [Int] {
    let entry = try checked(name, .i32, shape)
    return try entry.integers()
  }

  /// The numbers of a tensor that must be `F16` of that shape.
  fileprivate func floats(_ name: String, _ shape: [Int]) throws -> [Float] { try checked(name, .f16, shape).floats() }

  private func checked(_ name: String, _ type: ElementType, _ shape: [Int]) throws -> TensorEntry {
    let entry = try self(name)
    guard entry.type == type, entry.shape == shape else {
      throw FileError(
        entry.file.path, at: "tensor '\(name)'",
        "is \(entry.type.rawValue) \(described(shape: entry.shape)); expected \(type.rawValue) \(shape)")
    }
    return entry
  }

  /// Tells at which matrix a layout does not fit.
  fileprivate func placed<R>(_ name: String, _ body: () throws -> R) throws -> R {
    do { return try body() } catch let error as PackingError {
      throw FileError(file.path, at: "tensor '\(name)'", "\(error)")
    }
  }
}
