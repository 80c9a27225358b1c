/// How the values of a weight matrix are stored, row by row.
///
/// Every row `[columns]` is stored on its own, so any range of rows can be unpacked without its neighbours. Numbers
/// are little-endian. Those whose names begin in capitals have the bytes GGUF files have; the rest are laid out here:
///
/// - `int4(group: g)`: `columns / 2` bytes of codes, then `columns / g` pairs of bfloat16 (scale, offset). In every
///   16 bytes the low nibbles are 16 codes and the high nibbles the next 16. A value is `scale × code + offset`,
///   codes 0…15.
/// - `int2(group: g)`: as `int4`, with `columns / 4` bytes of codes 0…3 before the pairs. In every 8 bytes the lowest two
///   bits are 8 codes, the next two the next 8, and so on.
/// - `int8(group: g)`: `columns` signed bytes of codes, then `columns / g` single-precision scales. A value is
///   `scale × code`, codes -127…127.
/// - `nf4`: `columns / 2` bytes of codes, the first of two in the high nibble, then for each 64 columns their largest
///   magnitude. A value is `level[code] × magnitude`, with the levels of the 4-bit normal float.
///   Doubly quantised, each magnitude is one byte, then for each 256 blocks of the row comes a single-precision scale,
///   then one single-precision offset: `magnitude = map[byte] × scale + offset`, with the signed dynamic 8-bit map.
///
/// Papers: <https://arxiv.org/abs/2305.14314> (NF4, double quantisation). Departure: there, blocks run on across rows;
/// here they end with the row.
public enum Packing: Sendable, Hashable {
  /// Single precision, 32 bits a value.
  case float32
  /// Half precision, 16 bits a value, magnitudes to 65504.
  case float16
  /// The upper half of single precision, 16 bits a value.
  case bfloat16
  /// 4-bit codes around zero, one half-precision scale for 32 values: 4.5 bits a value.
  case q4_0
  /// 4-bit codes from a minimum, scale and minimum for 32 values: 5 bits a value.
  case q4_1
  /// 5-bit codes around zero: 5.5 bits a value.
  case q5_0
  /// 5-bit codes from a minimum: 6 bits a value.
  case q5_1
  /// 8-bit codes around zero: 8.5 bits a value.
  case q8_0
  /// 4-bit codes in blocks of 32 whose scales and minima are themselves 6-bit, by 256 values: 4.5 bits a value.
  case q4_K
  /// 5-bit codes, as `q4_K` otherwise: 5.5 bits a value.
  case q5_K
  /// 6-bit codes in blocks of 16 with 8-bit scales, by 256 values: 6.5625 bits a value.
  case q6_K
  /// Signs, one half-precision magnitude for 128 values: 1.125 bits a value.
  case q1_0
  /// 2-bit codes from one below zero, one half-precision scale for 64 values: 2.25 bits a value.
  case q2_0
  /// 2-bit codes in blocks of 16 whose scales and minima are themselves 4-bit, by 256 values: 2.625 bits a value.
  case q2_K
  /// 3-bit codes around zero in blocks of 16 with 6-bit scales, by 256 values: 3.4375 bits a value.
  case q3_K
  /// 4-bit choices among levels that are denser near zero, one half-precision scale for 32 values: 4.5 bits a value.
  case iq4_nl
  /// As `iq4_nl`, with 6-bit scales of blocks of 32, by 256 values: 4.25 bits a value.
  case iq4_xs
  /// 4-bit floats (E2M1), one power of two for 32 values: 4.25 bits a value.
  case mxfp4
  /// 4-bit floats, one 8-bit float as the scale of 16 values, by 64 values: 4.5 bits a value, magnitudes to 2688.
  case nvfp4
  /// 2-bit codes with a scale and an offset for each group of columns: 2.5 bits a value at 64 columns.
  case int2(group: Int)
  /// 4-bit codes with a scale and an offset for each group of columns: 4.5 bits a value at 64 columns.
  case int4(group: Int)
  /// 8-bit codes with a scale for each group of columns: 8.5 bits a value at 64 columns.
  case int8(group: Int)
  /// 4-bit codes of normally distributed levels, by 64 values: 4.5 bits a value, or about 4.2 doubly quantised.
  case nf4(doubleQuantised: Bool)
  /// Codes of a few bits in groups, laid out in any way; `int2`, `int4` and `int8` are such layouts with kernels of their
  /// own, and ``GroupLayout/packing`` gives them where they are meant.
  case grouped(GroupLayout)
  /// So many of a hundred numbers of a row in eight bits, the others a sign around the row's mean: 2.8 bits a value at 10.
  case partlyBinary(salient: Int)

  /// The name recipes and reports use: `Q4_1`, `int4-g64`, `nf4`, `nf4-double`.
  public var name: String {
    switch self {
    case .float32: "F32"
    case .float16: "F16"
    case .bfloat16: "BF16"
    case .q4_0: "Q4_0"
    case .q4_1: "Q4_1"
    case .q5_0: "Q5_0"
    case .q5_1: "Q5_1"
    case .q8_0: "Q8_0"
    case .q4_K: "Q4_K"
    case .q5_K: "Q5_K"
    case .q6_K: "Q6_K"
    case .q1_0: "Q1_0"
    case .q2_0: "Q2_0"
    case .q2_K: "Q2_K"
    case .q3_K: "Q3_K"
    case .iq4_nl: "IQ4_NL"
    case .iq4_xs: "IQ4_XS"
    case .mxfp4: "MXFP4"
    case .nvfp4: "NVFP4"
    case .int2(let group): "int2-g\(group)"
    case .int4(let group): "int4-g\(group)"
    case .int8(let group): "int8-g\(group)"
    case .nf4(let doubleQuantised): doubleQuantised ? "nf4-double" : "nf4"
    case .grouped(let layout): layout.name
    case .partlyBinary(let salient): "pb\(salient)"
    }
  }

  /// The layout of codes in groups; nil for floats, GGUF blocks and NF4 as bitsandbytes lays it out.
  public var layout: GroupLayout? {
    switch self {
    case .int2(let group): GroupLayout(.integer(bits: 2), group: group)
    case .int4(let group): GroupLayout(.integer(bits: 4), group: group)
    case .int8(let group): GroupLayout(.integer(bits: 8), group: group)
    case .grouped(let layout): layout
    default: nil
    }
  }

  /// Those that are known by their name alone; the others' names tell their groups.
  public static let fixed: [Packing] = [
    .float32, .float16, .bfloat16, .q4_0, .q4_1, .q5_0, .q5_1, .q8_0, .q4_K, .q5_K, .q6_K,
    .q1_0, .q2_0, .q2_K, .q3_K, .iq4_nl, .iq4_xs, .mxfp4, .nvfp4,
    .nf4(doubleQuantised: false), .nf4(doubleQuantised: true),
  ]

  /// The packing of a name, in either case; `int2`, `int4` and `int8` alone mean groups of 64 columns.
  ///
  ///     try Packing(parsing: "int4-g128")   // .int4(group: 128)
  ///
  /// - Throws: when the text names no packing, or a group no kernel takes.
  public init(parsing text: String) throws {
    let lower = text.lowercased()
    if let packing = Packing.fixed.first(where: { $0.name.lowercased() == lower }) {
      self = packing
      return
    }
    if lower.hasPrefix("pb"), let salient = Int(lower.dropFirst(2)) {
      self = .partlyBinary(salient: salient)
      try checkGroup()
      return
    }
    guard let layout = GroupLayout(name: lower) else {
      let names = Packing.fixed.map(\.name).joined(separator: ", ")
      let integers = ["int1", "int2", "int3", "int4", "int8", "bfp2", "bfp3", "bfp4", "bfp8"]
      let elements = integers + GroupLayout.Levels.allCases.map(\.rawValue)
      throw PackingError(
        "'\(text)'", "unknown packing",
        remedy:
          "expected one of \(names), or \(elements.joined(separator: ", ")) with -g<columns> or -row, such as int3-g64, or pb<salient of a hundred>"
      )
    }
    self = layout.packing
    try checkGroup()
  }

  /// How many adjacent columns share a scale, and so must divide a row: 1 for the floats.
  public var blockSize: Int {
    switch self {
    case .float32, .float16, .bfloat16: 1
    case .q4_0, .q4_1, .q5_0, .q5_1, .q8_0, .iq4_nl, .mxfp4: 32
    case .q2_0, .nvfp4: 64
    case .q1_0: 128
    case .q2_K, .q3_K, .q4_K, .q5_K, .q6_K, .iq4_xs: 256
    case .int2(let group), .int4(let group), .int8(let group): group
    case .nf4: 64
    // Groups along the output are whole matrices' business.
    case .grouped(let layout): layout.axis == .output || layout.group == 0 ? 32 : layout.group
    case .partlyBinary: 32
    }
  }

  /// Bytes of one row.
  ///
  /// - Throws: when `columns` is negative, not a multiple of the block, or its bytes cannot be counted.
  public func bytesPerRow(columns: Int) throws -> Int {
    try checkGroup()
    guard columns >= 0, columns % blockSize == 0 else {
      let sharesRow = layout.map { $0.group == 0 || $0.axis == .output } ?? false
      throw PackingError(
        name, "a row has \(columns) columns, and \(blockSize) \(sharesRow ? "are packed together" : "share a scale")",
        remedy: "use a packing whose block divides \(columns)")
    }
    // No packing takes more than 16 bytes a column: the most is 4, and 8 more at the end of a row of 64 or longer.
    guard columns <= Int.max / 16 else {
      throw PackingError(name, "a row of \(columns) columns is too long to address")
    }
    return rowBytes(columns)
  }

  /// Bytes of a matrix `[rows, columns]`.
  ///
  /// - Throws: as for one row, and when the whole cannot be counted.
  public func bytes(rows: Int, columns: Int) throws -> Int {
    let (total, overflows) = try bytesPerRow(columns: columns).multipliedReportingOverflow(by: rows)
    guard rows >= 0, !overflows else {
      throw PackingError(name, "a matrix of [\(rows), \(columns)] cannot be addressed")
    }
    return total
  }

  /// Bytes of one row of columns that `bytesPerRow` has accepted.
  func rowBytes(_ columns: Int) -> Int {
    if case .grouped(let layout) = self { return layout.rowBytes(columns) }
    if case .partlyBinary(let salient) = self { return PartlyBinary.rowBytes(columns, salient: salient) }
    let blocks = columns / blockSize
    guard case .nf4(doubleQuantised: true) = self, blocks > 0 else { return blocks * bytesPerBlock }
    return blocks * bytesPerBlock + 4 * ((blocks + 255) / 256) + 4
  }

  /// Bytes of one block, leaving out what a doubly quantised row adds at its end.
  var bytesPerBlock: Int {
    switch self {
    case .float32: 4
    case .float16, .bfloat16: 2
    case .q4_0: 18
    case .q4_1: 20
    case .q5_0: 22
    case .q5_1: 24
    case .q8_0: 34
    case .q4_K: 144
    case .q5_K: 176
    case .q6_K: 210
    case .q1_0, .q2_0, .iq4_nl: 18
    case .q2_K: 84
    case .q3_K: 110
    case .iq4_xs: 136
    case .mxfp4: 17
    case .nvfp4: 36
    case .int2(let group): group / 4 + 4
    case .int4(let group): group / 2 + 4
    case .int8(let group): group + 4
    case .nf4(let doubleQuantised): doubleQuantised ? 33 : 36
    case .grouped(let layout): layout.rowBytes(blockSize)
    case .partlyBinary(let salient): PartlyBinary.rowBytes(blockSize, salient: salient)
    }
  }

  /// The largest magnitude whose packed form stays finite.
  var largestMagnitude: Float {
    switch self {
    case .float32, .nf4, .mxfp4: .greatestFiniteMagnitude
    case .nvfp4: 2688
    case .partlyBinary: 1e36
    case .bfloat16: 0x1.FEp127
    case .int2, .int4, .int8: 1e38
    case .grouped(let layout): layout.scale == .half ? 65504 : 1e36
    default: 65504
    }
  }

  private func checkGroup() throws {
    switch self {
    case .int2(let group), .int4(let group), .int8(let group):
      guard group >= 32, group <= 1 << 20, group % 32 == 0 else {
        throw PackingError(name, "groups of \(group) columns", remedy: "a group is a multiple of 32, such as 64")
      }
    case .grouped(let layout): try layout.check()
    case .partlyBinary(let salient):
      guard (1...50).contains(salient) else {
        throw PackingError(
          name, "\(salient) of a hundred", remedy: "1 to 50 of a hundred are kept in eight bits, such as pb10")
      }
    default: return
    }
  }
}

extension GroupLayout {
  /// The packing of this layout: the one with kernels of its own where there is one.
  public var packing: Packing {
    let plain: [Packing] = [.int2(group: group), .int4(group: group), .int8(group: group)]
    return group > 0 ? plain.first { $0.layout == self } ?? .grouped(self) : .grouped(self)
  }
}
