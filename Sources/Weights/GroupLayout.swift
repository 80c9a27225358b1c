import CKernels

/// Codes of a few bits, of which a group shares a scale: every packing that is no GGUF block is a value of this type.
///
///     integer codes:  w = scale × (code − zero)   or   scale × code + offset
///     levels:         w = scale × level[code]
///
/// **Bytes**, numbers little-endian. Every 32 codes of a row lie in `4 × bits` bytes: of one bit, bit i is code i; of two,
/// bits 2p and 2p+1 of byte i are code 8p + i; of three, eight bytes as of two and then 32 third bits; of four, low
/// nibbles are codes 0…15 and high nibbles 16…31; of eight, a byte a code. Groups along the input (`axis` ``Axis/input``)
/// follow a row's codes, each its scale and then its zero or offset. Groups along the output come before all rows: for
/// each `group` rows, the scales of all columns and then their zeros.
///
/// A GPTQ or AWQ checkpoint is `int4-g128-f16-zero`, one of MXFP4 `fp4-g32-e8`. **Block floating point**, signed mantissas
/// of a few bits that share an exponent, is `bfp4-g32`: integers around zero whose scale is a power of two (MXINT8 is
/// `bfp8-g32`; its codes end at ±127).
public struct GroupLayout: Sendable, Hashable {
  /// What a code is.
  public enum Element: Sendable, Hashable {
    /// 0 … 2^bits − 1, for 1, 2, 3, 4 or 8 bits.
    case integer(bits: Int)
    /// One of sixteen levels.
    case levels(Levels)
  }

  /// Tables of sixteen levels.
  public enum Levels: String, Sendable, CaseIterable {
    /// The normal float of QLoRA.
    case normalFloat = "nf4"
    /// Sign, two exponent bits, one of fraction (OCP's E2M1).
    case e2m1 = "fp4"
    /// One exponent bit and two of fraction: even steps.
    case e1m2 = "fp4e1"
    /// Three exponent bits: powers of two.
    case e3m0 = "fp4e3"
    /// The 4-bit float of bitsandbytes.
    case bitsandbytes = "bnbfp4"
  }

  /// Along what a group lies.
  public enum Axis: String, Sendable, CaseIterable {
    /// Adjacent inputs of one output.
    case input = "in"
    /// Adjacent outputs of one input.
    case output = "out"
  }

  /// How scales and offsets are stored.
  public enum Number: String, Sendable, CaseIterable {
    /// Single precision.
    case single = "f32"
    /// Half precision.
    case half = "f16"
    /// The upper half of single precision.
    case brain = "bf16"
    /// A power of two in one byte.
    case power = "e8"
  }

  /// What stands for zero.
  public enum Zero: String, Sendable, CaseIterable {
    /// The middle code, or the level 0.
    case symmetric = "sym"
    /// A code of the group's own, 0…255.
    case code = "zero"
    /// None: a number is added to the product.
    case offset
  }

  /// What its codes are.
  public var element: Element
  /// How many share a scale; 0 for a whole row.
  public var group: Int
  /// Along what.
  public var axis: Axis
  /// How a scale is stored.
  public var scale: Number
  /// What stands for zero.
  public var zero: Zero

  /// A layout; whether its group suits a matrix is known when there is one.
  public init(
    _ element: Element, group: Int, axis: Axis = .input, scale: Number? = nil, zero: Zero? = nil
  ) {
    (self.element, self.group, self.axis) = (element, group, axis)
    self.scale = scale ?? element.usualScale
    self.zero = zero ?? element.usualZero
  }

  /// Bits a code.
  public var bits: Int { if case .integer(let bits) = element { bits } else { 4 } }

  /// The largest integer code.
  public var largestCode: Int { 1 << bits - 1 }

  /// What the codes stand for before they are scaled, by code; nil for integers.
  public var levels: [Float]? {
    guard case .levels(let levels) = element else { return nil }
    return (0..<16).map { levels.table[$0] }
  }

  /// The code that stands for 0 where the layout is symmetric.
  public var centre: Int { if case .integer(let bits) = element { 1 << (bits - 1) } else { 0 } }

  /// Adjacent values along the axis that share a scale, of a row or column of `length`.
  public func groupLength(_ length: Int) -> Int { group == 0 ? length : group }

  /// Bytes of what a group stores besides its codes.
  var recordBytes: Int { scale.bytes + (zero == .symmetric ? 0 : zero == .code ? 1 : scale.bytes) }

  /// Signed mantissas of a shared exponent.
  var isBlockFloat: Bool { if case .integer(2...) = element { scale == .power && zero == .symmetric } else { false } }

  /// `int4-g64`, `int3-row`, `int4-g128-f16-zero`, `fp4-g32-e8`, `bfp4-g32`, `int4-g64-out`: what is usual is left out.
  public var name: String {
    var parts = [isBlockFloat ? "bfp\(bits)" : element.name, group == 0 ? "row" : "g\(group)"]
    if axis == .output { parts.append("out") }
    if isBlockFloat { return parts.joined(separator: "-") }
    if scale != element.usualScale { parts.append(scale.rawValue) }
    if zero != element.usualZero { parts.append(zero.rawValue) }
    return parts.joined(separator: "-")
  }

  /// The layout of a name in small letters; nil when it names none.
  init?(name: String) {
    var parts = name.split(separator: "-", omittingEmptySubsequences: false)
    let first = String(parts.removeFirst()), isBlockFloat = first.hasPrefix("bfp")
    guard let element = Element(name: isBlockFloat ? "int" + first.dropFirst(3) : first), first != "bfp1" else {
      return nil
    }
    self.init(
      element, group: isBlockFloat ? 32 : 64, scale: isBlockFloat ? .power : nil, zero: isBlockFloat ? .symmetric : nil)
    if let first = parts.first, first == "row" || first.first == "g" {
      guard let group = first == "row" ? 0 : Int(first.dropFirst()), group > 0 || first == "row" else { return nil }
      self.group = group
      parts.removeFirst()
    }
    for part in parts {
      if let axis = Axis(rawValue: String(part)) {
        self.axis = axis
      } else if !isBlockFloat, let scale = Number(rawValue: String(part)) {
        self.scale = scale
      } else if !isBlockFloat, let zero = Zero(rawValue: String(part)) {
        self.zero = zero
      } else {
        return nil
      }
    }
  }

  /// - Throws: when no kernel takes it.
  func check() throws {
    guard group == 0 || group >= 32 && group <= 1 << 20 && group % 32 == 0 else {
      throw PackingError(
        name, "groups of \(group) columns", remedy: "a group is a multiple of 32, such as 64, or a row")
    }
    guard axis == .input || group > 0 else {
      throw PackingError(name, "a row is no group along the output", remedy: "write \(element.name)-g64-out")
    }
    if case .levels = element, zero != .symmetric {
      throw PackingError(name, "levels lie around zero", remedy: "leave '\(zero.rawValue)' out")
    }
    guard scale != .power || zero != .offset else {
      throw PackingError(name, "an offset is no power of two", remedy: "write sym or zero")
    }
  }
}

extension GroupLayout.Element {
  private static let integers = [1, 2, 3, 4, 8]

  init?(name: String) {
    if let levels = GroupLayout.Levels(rawValue: name) {
      self = .levels(levels)
    } else if name.hasPrefix("int"), let bits = Int(name.dropFirst(3)), Self.integers.contains(bits) {
      self = .integer(bits: bits)
    } else {
      return nil
    }
  }

  var name: String {
    switch self {
    case .integer(let bits): "int\(bits)"
    case .levels(let levels): levels.rawValue
    }
  }

  var usualScale: GroupLayout.Number {
    switch self {
    case .integer(let bits): bits == 8 ? .single : .brain
    case .levels: .single
    }
  }

  var usualZero: GroupLayout.Zero {
    switch self {
    case .integer(let bits): bits == 8 ? .symmetric : .offset
    case .levels: .symmetric
    }
  }
}

extension GroupLayout.Levels {
  var table: UnsafePointer<Float> {
    switch self {
    case .normalFloat: graft_nf4_levels()
    case .e1m2: graft_fp4_levels(1)
    case .e2m1: graft_fp4_levels(2)
    case .e3m0: graft_fp4_levels(3)
    case .bitsandbytes: graft_bnb_fp4_levels()
    }
  }
}

extension GroupLayout.Number {
  /// Bytes of one.
  var bytes: Int { self == .single ? 4 : self == .power ? 1 : 2 }

  /// The number of this form nearest to `value`, ties to even; of powers of two the nearest below a ratio of √2.
  public func rounded(_ value: Float) -> Float {
    switch self {
    case .single: value
    case .half: graft_f16_value(graft_f16_bits(value))
    case .brain: graft_bf16_value(graft_bf16_bits(value))
    case .power: Self.power(Self.exponent(value))
    }
  }

  /// As ``rounded(_:)``, but of powers of two the least that is not below `value`.
  func covering(_ value: Float) -> Float {
    guard self == .power, value > 0, value.isFinite else { return rounded(value) }
    return rounded(Float(sign: .plus, exponent: Int(value.exponent) + (value.significand > 1 ? 1 : 0), significand: 1))
  }

  /// Writes `value` at `place` as this form holds it.
  func store(_ value: Float, at place: UnsafeMutableRawPointer) {
    switch self {
    case .single: place.storeSingle(value, at: 0)
    case .half: place.storeHalf(value, at: 0)
    case .brain: _ = place.storeBrain(value, at: 0)
    case .power: place.storeByte(Self.exponent(value), at: 0)
    }
  }

  /// The number at `place`.
  func load(_ place: UnsafeRawPointer) -> Float {
    switch self {
    case .single: Float(bitPattern: UInt32(littleEndian: place.loadUnaligned(as: UInt32.self)))
    case .half: graft_f16_value(UInt16(littleEndian: place.loadUnaligned(as: UInt16.self)))
    case .brain: graft_bf16_value(UInt16(littleEndian: place.loadUnaligned(as: UInt16.self)))
    case .power: Self.power(place.load(as: UInt8.self))
    }
  }

  private static func exponent(_ value: Float) -> UInt8 {
    guard value > 0, value.isFinite else { return 0 }
    let whole = Int(value.exponent) + (value.significand >= Float(2).squareRoot() ? 1 : 0)
    return UInt8(clamping: min(254, whole + 127))
  }

  private static func power(_ byte: UInt8) -> Float { Float(sign: .plus, exponent: Int(byte) - 127, significand: 1) }
}

extension GroupLayout {
  /// The same to the kernels.
  var kernel: graft_layout {
    var table: UnsafePointer<Float>?
    if case .levels(let levels) = element { table = levels.table }
    return graft_layout(
      bits: UInt32(bits), scale: scale.kernel, zero: zero.kernel,
      by_output: axis == .output, centre: isSignedByte ? 0 : Float(centre),
      levels: table)
  }
}

extension GroupLayout.Number {
  fileprivate var kernel: graft_number {
    switch self {
    case .single: GRAFT_NUMBER_F32
    case .half: GRAFT_NUMBER_F16
    case .brain: GRAFT_NUMBER_BF16
    case .power: GRAFT_NUMBER_E8M0
    }
  }
}

extension GroupLayout.Zero {
  fileprivate var kernel: graft_zero {
    switch self {
    case .symmetric: GRAFT_ZERO_NONE
    case .code: GRAFT_ZERO_CODE
    case .offset: GRAFT_ZERO_OFFSET
    }
  }
}
