/// How a GGUF file stores a tensor's elements: plainly, or packed in blocks along the innermost dimension.
public enum GGUFType: UInt32, Sendable, CaseIterable {
  case f32 = 0
  case f16 = 1
  case q4_0 = 2
  case q4_1 = 3
  case q5_0 = 6
  case q5_1 = 7
  case q8_0 = 8
  case q2_K = 10
  case q3_K = 11
  case q4_K = 12
  case q5_K = 13
  case q6_K = 14
  case iq4_nl = 20
  case iq4_xs = 23
  case i8 = 24
  case i16 = 25
  case i32 = 26
  case i64 = 27
  case f64 = 28
  case bf16 = 30
  case mxfp4 = 39
  case nvfp4 = 40
  case q1_0 = 41
  case q2_0 = 42

  /// Elements a block.
  public var blockSize: Int {
    switch self {
    case .f32, .f16, .bf16, .f64, .i8, .i16, .i32, .i64: 1
    case .q4_0, .q4_1, .q5_0, .q5_1, .q8_0, .iq4_nl, .mxfp4: 32
    case .q2_0, .nvfp4: 64
    case .q1_0: 128
    case .q2_K, .q3_K, .q4_K, .q5_K, .q6_K, .iq4_xs: 256
    }
  }

  /// Bytes a block.
  public var bytesPerBlock: Int {
    switch self {
    case .i8: 1
    case .f16, .bf16, .i16: 2
    case .f32, .i32: 4
    case .f64, .i64: 8
    case .q4_0, .iq4_nl, .q1_0, .q2_0: 18
    case .q4_1: 20
    case .q5_0: 22
    case .q5_1: 24
    case .q8_0: 34
    case .q2_K: 84
    case .q3_K: 110
    case .q4_K: 144
    case .q5_K: 176
    case .q6_K: 210
    case .iq4_xs: 136
    case .mxfp4: 17
    case .nvfp4: 36
    }
  }

  /// The name in common use, such as `Q4_1`.
  public var name: String { "\(self)".uppercased() }

  /// The bytes a tensor of this shape takes.
  ///
  /// - Throws: the reason, as the end of a sentence about the tensor, when the shape cannot be stored.
  func byteCount(_ shape: [Int]) throws(GGUFShapeProblem) -> Int {
    guard (1...4).contains(shape.count) else {
      throw GGUFShapeProblem("has \(shape.count) dimensions where 1 to 4 are allowed")
    }
    guard shape.allSatisfy({ $0 > 0 }) else { throw GGUFShapeProblem("has a dimension that is not positive") }
    guard let inner = shape.last, inner % blockSize == 0 else {
      throw GGUFShapeProblem("has rows that are not whole blocks of \(blockSize) elements, as \(name) needs")
    }
    var count = bytesPerBlock
    for dimension in shape.dropLast() + [inner / blockSize] {
      let (product, overflow) = count.multipliedReportingOverflow(by: dimension)
      guard !overflow else { throw GGUFShapeProblem("has a shape too large to address") }
      count = product
    }
    // The elements may outnumber the bytes; their number must be an Int too.
    guard !(count / bytesPerBlock).multipliedReportingOverflow(by: blockSize).overflow else {
      throw GGUFShapeProblem("has a shape too large to address")
    }
    return count
  }
}

/// Why a shape cannot be stored, as the end of a sentence about the tensor.
struct GGUFShapeProblem: Error {
  let text: String

  init(_ text: String) {
    self.text = text
  }
}
