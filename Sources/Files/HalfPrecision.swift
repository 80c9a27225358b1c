/// IEEE half precision: 1 sign bit, 5 exponent bits, 10 fraction bits.
package enum Half {
  /// The value of a half, exactly.
  @inlinable
  package static func float(_ bits: UInt16) -> Float {
    let sign = UInt32(bits & 0x8000) << 16
    let magnitude = UInt32(bits & 0x7fff)
    let pattern: UInt32
    if magnitude >= 0x7c00 {
      pattern = magnitude << 13 | 0x7f80_0000
    } else if magnitude >= 0x0400 {
      // The exponent's bias goes from 15 to 127.
      pattern = magnitude << 13 &+ 112 << 23
    } else {
      pattern = (Float(magnitude) * 0x1p-24).bitPattern
    }
    return Float(bitPattern: pattern | sign)
  }

  /// The half nearest to a value, ties to even; NaN stays NaN and what is too large becomes infinite.
  @inlinable
  package static func bits(_ value: Float) -> UInt16 {
    let sign = UInt16(truncatingIfNeeded: value.bitPattern >> 16) & 0x8000
    let magnitude = value.bitPattern & 0x7fff_ffff
    let rounded: UInt32
    if magnitude > 0x7f80_0000 {
      rounded = 0x7e00 | (magnitude >> 13 & 0x3ff)
    } else if magnitude >= 0x477f_f000 {
      // 65520, halfway between the largest half and the next power of two, and all above.
      rounded = 0x7c00
    } else if magnitude >= 0x3880_0000 {
      rounded = (magnitude &+ 0xfff &+ (magnitude >> 13 & 1) &- 112 << 23) >> 13
    } else {
      // Below 2⁻¹⁴ halves are multiples of 2⁻²⁴; rounding up to 1024 of them gives the smallest normal half.
      rounded = UInt32((Float(bitPattern: magnitude) * 0x1p24).rounded(.toNearestOrEven))
    }
    return sign | UInt16(truncatingIfNeeded: rounded)
  }
}

/// The upper half of a `Float`: 1 sign bit, 8 exponent bits, 7 fraction bits.
package enum BFloat16 {
  /// The value of a bfloat16, exactly.
  @inlinable
  package static func float(_ bits: UInt16) -> Float {
    Float(bitPattern: UInt32(bits) << 16)
  }

  /// The bfloat16 nearest to a value, ties to even; NaN stays NaN.
  @inlinable
  package static func bits(_ value: Float) -> UInt16 {
    let pattern = value.bitPattern
    if value.isNaN { return UInt16(truncatingIfNeeded: pattern >> 16) | 0x40 }
    return UInt16(truncatingIfNeeded: (pattern &+ 0x7fff &+ (pattern >> 16 & 1)) >> 16)
  }
}
