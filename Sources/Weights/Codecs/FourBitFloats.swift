/// Quantisers of the blocks of 4-bit floats: a sign, two bits of exponent, one of fraction (E2M1).
///
///     value = scale × one of 0, ½, 1, 1½, 2, 3, 4, 6, or its negative
///
/// The nearest is taken, of two the smaller magnitude; what lies beyond 6 is 6. As llama.cpp packs them, in ggml's order
/// of values, not that of OCP's or NVIDIA's checkpoints.
/// Papers: <https://arxiv.org/abs/2310.10537> (MXFP4), <https://arxiv.org/abs/2509.25149> (NVFP4).
enum FourBitFloats {
  /// Exponent (1 byte), codes (16): the scale is `2^(exponent − 127)`.
  ///
  /// The largest magnitude of a block comes to lie at 4 or above, and below 8. Departure: llama.cpp finds its exponent
  /// by a single-precision logarithm, which takes numbers just below a power of two for it.
  static func packMXFP4(_ values: UnsafePointer<Float>, _ out: UnsafeMutableRawPointer) {
    let largest = abs(mostExtreme(values, 32))
    let exponent = largest > 0 ? max(largest.exponent - 2, -127) : -127
    let half = Float(sign: .plus, exponent: exponent - 1, significand: 1)
    out.storeByte(UInt8(exponent + 127), at: 0)
    storeCodes(values, 32, halfScale: half, out + 1)
  }

  /// Scales of four sub-blocks (4), codes (32): a scale is a float of four bits of exponent and three of fraction.
  ///
  /// The scale nearest to a sixth of the largest magnitude. There is no scale of the whole tensor.
  static func packNVFP4(_ values: UnsafePointer<Float>, _ out: UnsafeMutableRawPointer) {
    for block in 0..<4 {
      let sub = values + 16 * block
      let (byte, scale) = eightBits(abs(mostExtreme(sub, 16)) / 6)
      out.storeByte(byte, at: block)
      storeCodes(sub, 16, halfScale: scale / 2, out + 4 + 8 * block)
    }
  }

  /// The nearest number of four bits of exponent and three of fraction (E4M3), up to 448, as its byte and its value.
  ///
  /// From half way the larger is taken, but below 2⁻⁶, where the spacing is 2⁻⁹, 7 × 2⁻⁹ at most. Departure: llama.cpp
  /// takes everything from 256 on as 448; this, the nearest.
  private static func eightBits(_ value: Float) -> (byte: UInt8, value: Float) {
    guard value >= 0x1p-6 else {
      let steps = truncated(value * 512 + 0.5, 7)
      return (steps, Float(steps) * 0x1p-9)
    }
    // The exponent counts from 2⁻⁷ here and from 2⁻¹²⁷ in single precision; rounding up may carry into it.
    let byte = min((value.bitPattern >> 20) + (value.bitPattern >> 19 & 1) - 120 << 3, 0x7e)
    return (UInt8(byte), Float(bitPattern: (byte + 120 << 3) << 20))
  }

  /// Writes the codes of `width` values, the second half of them in the high nibbles.
  private static func storeCodes(
    _ values: UnsafePointer<Float>, _ width: Int, halfScale: Float, _ out: UnsafeMutableRawPointer
  ) {
    for i in 0..<width / 2 {
      out.storeByte(code(values[i], halfScale) | code(values[i + width / 2], halfScale) << 4, at: i)
    }
  }

  /// The code of one value: how many midpoints its magnitude is beyond, and its sign unless it is zero.
  @inline(__always)
  private static func code(_ value: Float, _ half: Float) -> UInt8 {
    guard half > 0 else { return 0 }
    var code: UInt8 = 0
    // Twice the midpoints of the magnitudes; their products with half the scale are exact.
    for middle: Float in [0.5, 1.5, 2.5, 3.5, 5, 7, 10] { code &+= abs(value) > middle * half ? 1 : 0 }
    return code > 0 && value < 0 ? code | 8 : code
  }
}
