/// Quantisers of the 32-value blocks with one scale: the reference procedures of GGUF's types, byte for byte.
///
/// Codes are made with the single-precision scale; only its half-precision rounding is stored. In the 4- and 5-bit
/// types byte `i` of the codes holds value `i` in its low nibble and value `i + 16` in its high one.
enum SimpleBlocks {
  /// Scale (2 bytes), codes (16): `scale × (code − 8)`; the value of largest magnitude always has code 0.
  static func packQ4_0(_ values: UnsafePointer<Float>, _ out: UnsafeMutableRawPointer) {
    let scale = mostExtreme(values, 32) / -8
    let inverse = scale != 0 ? 1 / scale : 0
    out.storeHalf(scale, at: 0)
    for i in 0..<16 {
      let low = truncated(values[i] * inverse + 8.5, 15)
      let high = truncated(values[i + 16] * inverse + 8.5, 15)
      out.storeByte(low | high << 4, at: 2 + i)
    }
  }

  /// Scale (2), minimum (2), codes (16): `scale × code + minimum`.
  static func packQ4_1(_ values: UnsafePointer<Float>, _ out: UnsafeMutableRawPointer) {
    let (minimum, maximum) = bounds(values)
    let scale = (maximum - minimum) / 15
    let inverse = scale != 0 ? 1 / scale : 0
    out.storeHalf(scale, at: 0)
    out.storeHalf(minimum, at: 2)
    for i in 0..<16 {
      let low = truncated((values[i] - minimum) * inverse + 0.5, 15)
      let high = truncated((values[i + 16] - minimum) * inverse + 0.5, 15)
      out.storeByte(low | high << 4, at: 4 + i)
    }
  }

  /// Scale (2), fifth bits (4), low nibbles (16): `scale × (code − 16)`; bit `i` of the four bytes is value `i`'s.
  static func packQ5_0(_ values: UnsafePointer<Float>, _ out: UnsafeMutableRawPointer) {
    let scale = mostExtreme(values, 32) / -16
    let inverse = scale != 0 ? 1 / scale : 0
    out.storeHalf(scale, at: 0)
    packFiveBits(out, bitsAt: 2) { truncated(values[$0] * inverse + 16.5, 31) }
  }

  /// Scale (2), minimum (2), fifth bits (4), low nibbles (16): `scale × code + minimum`.
  static func packQ5_1(_ values: UnsafePointer<Float>, _ out: UnsafeMutableRawPointer) {
    let (minimum, maximum) = bounds(values)
    let scale = (maximum - minimum) / 31
    let inverse = scale != 0 ? 1 / scale : 0
    out.storeHalf(scale, at: 0)
    out.storeHalf(minimum, at: 2)
    packFiveBits(out, bitsAt: 4) { truncated((values[$0] - minimum) * inverse + 0.5, 31) }
  }

  /// Scale (2), signed codes (32): `scale × code`, codes rounded half away from zero.
  static func packQ8_0(_ values: UnsafePointer<Float>, _ out: UnsafeMutableRawPointer) {
    let scale = abs(mostExtreme(values, 32)) / 127
    let inverse = scale != 0 ? 1 / scale : 0
    out.storeHalf(scale, at: 0)
    for i in 0..<32 {
      let scaled = values[i] * inverse
      let magnitude = truncated(abs(scaled) + 0.5, 127)
      // Just below a half the sum above may round up to the next integer; the code may not.
      let excess: UInt8 = Float(magnitude) - abs(scaled) > 0.5 ? 1 : 0
      let code = Int8(truncatingIfNeeded: Int(magnitude) - Int(excess))
      out.storeByte(UInt8(bitPattern: scaled < 0 ? -code : code), at: 2 + i)
    }
  }

  @inline(__always)
  private static func packFiveBits(_ out: UnsafeMutableRawPointer, bitsAt: Int, _ code: (Int) -> UInt8) {
    var bits: UInt32 = 0
    for i in 0..<16 {
      let low = code(i)
      let high = code(i + 16)
      out.storeByte(low & 15 | (high & 15) << 4, at: bitsAt + 4 + i)
      bits |= UInt32(low >> 4) << UInt32(i) | UInt32(high >> 4) << UInt32(i + 16)
    }
    out.storeBytes(of: bits.littleEndian, toByteOffset: bitsAt, as: UInt32.self)
  }

  private static func bounds(_ values: UnsafePointer<Float>) -> (Float, Float) {
    var minimum = values[0]
    var maximum = values[0]
    for i in 1..<32 {
      minimum = values[i] < minimum ? values[i] : minimum
      maximum = values[i] > maximum ? values[i] : maximum
    }
    return (minimum, maximum)
  }
}
