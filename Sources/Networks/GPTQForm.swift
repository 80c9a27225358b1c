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
package struct GPTQForm: PackedForm {
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
    try tensors.checkGroups(layout, of: module, columns)
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

  /// What a configuration says of layers stored so, in version 2; `weights` are all of them.
  ///
  /// - Throws: a ``PackingError`` when they are not all of one layout, or of one that this form does not have.
  package static func section(_ weights: [FrozenWeight]) throws -> JSON {
    let layouts = Set(weights.map(\.packing.layout)), names = Set(weights.map(\.packing.name)).sorted()
    guard let first = layouts.first, layouts.count == 1, let layout = first else {
      throw PackingError(
        names.joined(separator: ", "), "GPTQ's form has one layout for all layers of the blocks",
        remedy: "pack the model with int4-g128-f16-zero")
    }
    guard case .integer(let bits) = layout.element, [2, 3, 4, 8].contains(bits), layout.axis == .input,
      layout.zero != .offset, layout.scale == .half
    else {
      throw PackingError(
        layout.name, "GPTQ's form holds codes of 2, 3, 4 or 8 bits with half scales and zero codes along the inputs",
        remedy: "pack the model with int\(layout.bits)-g128-f16-zero")
    }
    return .object([
      "quant_method": .string(method), "checkpoint_format": .string("gptq_v2"), "bits": .integer(bits),
      "group_size": .integer(layout.group == 0 ? -1 : layout.group), "sym": .bool(layout.zero == .symmetric),
      "desc_act": .bool(weights.contains { $0.columnOrder != nil }), "true_sequential": .bool(true),
    ])
  }

  /// The tensors of the layer called `module` in version 2; ``section(_:)`` must have accepted its weight.
  ///
  /// - Throws: a ``PackingError`` when the outputs do not fill words, or a zero is none of the codes.
  package static func tensors(_ module: String, _ weight: FrozenWeight) throws -> [TensorToWrite] {
    guard let layout = weight.packing.layout else { return [] }
    let codes = try GroupedCodes(weight, layout), bits = layout.bits
    let (rows, columns, length) = (codes.rows, codes.columns, layout.groupLength(codes.columns))
    let groups = columns / length
    guard rows * bits % 32 == 0 else {
      throw PackingError(
        layout.name, "\(rows) outputs of \(bits) bits do not fill words of 32", remedy: "skip '\(module)'")
    }
    if let zero = codes.grids.lazy.map(\.zero).first(where: { $0 > Float(layout.largestCode) }) {
      throw PackingError(layout.name, "a zero of \(zero) is none of its codes", remedy: "pack the model afresh")
    }
    let order = weight.columnOrder ?? (0..<Int32(columns)).map(\.self)
    var words = [UInt32](repeating: 0, count: columns * bits / 32 * rows)
    for (stored, column) in order.enumerated() {
      for row in 0..<rows {
        BitStream.set(
          &words, Int(column), bits: bits, start: row, stride: rows, to: UInt32(codes.codes[row * columns + stored]))
      }
    }
    var zeros = [UInt32](repeating: 0, count: groups * rows * bits / 32),
      scales = [Float](repeating: 0, count: groups * rows)
    for group in 0..<groups {
      for row in 0..<rows {
        let grid = codes.grids[row * groups + group]
        BitStream.set(&zeros, row, bits: bits, start: group * (rows * bits / 32), stride: 1, to: UInt32(grid.zero))
        scales[group * rows + row] = grid.scale
      }
    }
    var index = [Int32](repeating: 0, count: columns)
    for (stored, column) in order.enumerated() { index[Int(column)] = Int32(stored / length) }
    return [
      TensorToWrite(name: module + ".qweight", type: .i32, shape: [columns * bits / 32, rows]) { [words] in
        try $0.write(words: words)
      },
      TensorToWrite(name: module + ".qzeros", type: .i32, shape: [groups, rows * bits / 32]) { [zeros] in
        try $0.write(words: zeros)
      },
      TensorToWrite(name: module + ".scales", type: .f16, shape: [groups, rows]) { [scales] writer in
        // Exact: the layout stores halves.
        try scales.map { Half.bits($0) }.withUnsafeBytes { try writer.write($0) }
      },
      TensorToWrite(name: module + ".g_idx", type: .i32, shape: [columns]) { [index] writer in
        try index.withUnsafeBytes { try writer.write($0) }
      },
    ]
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
    try tensors.checkGroups(layout, of: module, columns)
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

  /// Puts code `index` into a stream of zeros laid out in the same way.
  static func set(_ words: inout [UInt32], _ index: Int, bits: Int, start: Int, stride: Int, to value: UInt32) {
    let bit = index * bits, word = start + bit / 32 * stride, shift = bit % 32
    words[word] |= value << UInt32(shift)
    if shift + bits > 32 { words[word + stride] |= value >> UInt32(32 - shift) }
  }
}

extension FileWriter {
  fileprivate mutating func write(words: [UInt32]) throws { try words.withUnsafeBytes { try write($0) } }
}

extension PackedTensors {
  /// Refuses groups that do not divide the inputs of a layer, which no shape of its tensors could mend.
  fileprivate func checkGroups(_ layout: GroupLayout, of module: String, _ columns: Int) throws {
    guard columns % layout.groupLength(columns) != 0 else { return }
    throw FileError(
      file.path, at: "layer '\(module)'",
      "has \(columns) inputs, which groups of \(layout.group) do not divide, as quantization_config.group_size says",
      remedy: "give the group_size the model was packed with")
  }

  /// The integers of a tensor that must be `I32` of that shape.
  fileprivate func integers(_ name: String, _ shape: [Int]) throws -> [Int] {
    let entry = try checked(name, .i32, shape)
    return try entry.integers()
  }

  /// The numbers of a tensor that must be `F16` of that shape, and finite.
  fileprivate func floats(_ name: String, _ shape: [Int]) throws -> [Float] { try finite(name, .f16, shape) }
}
