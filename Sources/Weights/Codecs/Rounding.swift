import CKernels

/// The nearest integer, ties to even, kept within bounds no wider than ±2²¹; what is not a number gives the lower.
///
/// Beside 1.5 × 2²³ floats are the integers, so an addition rounds; `rounded()` would call into the C library.
@inline(__always)
func nearest(_ value: Float, _ low: Float, _ high: Float) -> Int32 {
  let bounded = value >= low ? (value <= high ? value : high) : low
  return Int32(bitPattern: (bounded + 12_582_912).bitPattern &- 0x4B40_0000)
}

/// The integer part of a value taken as at least 0, kept at most `high`; what is not a number gives 0.
@inline(__always)
func truncated(_ value: Float, _ high: Int32) -> UInt8 {
  guard value >= 0 else { return 0 }
  return value < Float(high) ? UInt8(truncatingIfNeeded: Int32(value)) : UInt8(truncatingIfNeeded: high)
}

/// The value of largest magnitude, with its sign; the first of equals.
@inline(__always)
func mostExtreme(_ values: UnsafePointer<Float>, _ count: Int) -> Float {
  var magnitude: Float = 0
  var extreme: Float = 0
  for i in 0..<count where magnitude < abs(values[i]) {
    magnitude = abs(values[i])
    extreme = values[i]
  }
  return extreme
}

/// Below this a scale counts as zero: its inverse, and sums of squares made with it, must stay finite.
let smallestScale: Float = 0x1p-100

extension UnsafeMutableRawPointer {
  /// Writes a half-precision number of this value and returns the value it stands for.
  @discardableResult
  func storeHalf(_ value: Float, at offset: Int) -> Float {
    let bits = graft_f16_bits(value)
    storeBytes(of: bits.littleEndian, toByteOffset: offset, as: UInt16.self)
    return graft_f16_value(bits)
  }

  /// Writes a bfloat16 number of this value and returns the value it stands for.
  func storeBrain(_ value: Float, at offset: Int) -> Float {
    let bits = graft_bf16_bits(value)
    storeBytes(of: bits.littleEndian, toByteOffset: offset, as: UInt16.self)
    return graft_bf16_value(bits)
  }

  /// Writes a single-precision number.
  func storeSingle(_ value: Float, at offset: Int) {
    storeBytes(of: value.bitPattern.littleEndian, toByteOffset: offset, as: UInt32.self)
  }

  /// Writes one byte.
  @inline(__always)
  func storeByte(_ value: UInt8, at offset: Int) {
    storeBytes(of: value, toByteOffset: offset, as: UInt8.self)
  }

  /// Sets bits of one byte and leaves the others.
  @inline(__always)
  func setBits(_ bits: UInt8, at offset: Int) {
    storeByte(load(fromByteOffset: offset, as: UInt8.self) | bits, at: offset)
  }
}
