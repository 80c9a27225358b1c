import CKernels

/// Round-to-nearest quantisers with a scale for each group of columns.
///
/// Scales are stored with few enough bits that the extremes of the unpacked values give them back exactly: packing
/// what was unpacked returns the same bytes. Codes are made with the scale as stored.
enum Groups {
  /// Codes 0…15 from an offset: the group's minimum, or 0 if that is lower, so that 0 is always within reach.
  ///
  ///     scale = (max − offset) / 15,   code = round((x − offset) / scale)
  static func packInt4(_ row: UnsafePointer<Float>, _ columns: Int, _ width: Int, _ out: UnsafeMutableRawPointer) {
    for group in 0..<columns / width {
      let values = row + group * width
      let (offset, divisor) = storeRange(values, width, steps: 15, out, at: columns / 2 + 4 * group)
      let codes = out + group * width / 2
      for run in 0..<width / 32 {
        for i in 0..<16 {
          let first = nearest((values[32 * run + i] - offset) / divisor, 0, 15)
          let second = nearest((values[32 * run + i + 16] - offset) / divisor, 0, 15)
          codes.storeByte(UInt8(truncatingIfNeeded: first | second << 4), at: 16 * run + i)
        }
      }
    }
  }

  /// Codes 0…3, otherwise as four bits.
  static func packInt2(_ row: UnsafePointer<Float>, _ columns: Int, _ width: Int, _ out: UnsafeMutableRawPointer) {
    for group in 0..<columns / width {
      let values = row + group * width
      let (offset, divisor) = storeRange(values, width, steps: 3, out, at: columns / 4 + 4 * group)
      let codes = out + group * width / 4
      for run in 0..<width / 32 {
        for i in 0..<8 {
          let byte = (0..<4).reduce(Int32(0)) { byte, part in
            byte | nearest((values[32 * run + 8 * part + i] - offset) / divisor, 0, 3) << Int32(2 * part)
          }
          codes.storeByte(UInt8(truncatingIfNeeded: byte), at: 8 * run + i)
        }
      }
    }
  }

  /// Writes a group's scale and offset, and returns the offset and what codes are made by dividing by, as stored.
  private static func storeRange(
    _ values: UnsafePointer<Float>, _ width: Int, steps: Float, _ out: UnsafeMutableRawPointer, at place: Int
  ) -> (offset: Float, divisor: Float) {
    var (low, high): (Float, Float) = (0, 0)
    for i in 0..<width {
      low = values[i] < low ? values[i] : low
      high = values[i] > high ? values[i] : high
    }
    var offset = out.storeBrain(low, at: place + 2)
    var scale = out.storeBrain((high - offset) / steps, at: place)
    if scale < smallestScale {
      offset = out.storeBrain(0, at: place + 2)
      scale = out.storeBrain(0, at: place)
    }
    return (offset, scale > 0 ? scale : .infinity)
  }

  /// Codes -127…127 around zero.
  ///
  ///     scale = max|x| / 127,   code = round(x / scale)
  static func packInt8(_ row: UnsafePointer<Float>, _ columns: Int, _ width: Int, _ out: UnsafeMutableRawPointer) {
    for group in 0..<columns / width {
      let values = row + group * width
      var magnitude: Float = 0
      for i in 0..<width { magnitude = abs(values[i]) > magnitude ? abs(values[i]) : magnitude }
      let scale = sixteenBits(magnitude / 127)
      out.storeSingle(scale, at: columns + 4 * group)
      let divisor = scale > 0 ? scale : .infinity
      for i in 0..<width {
        let code = nearest(values[i] / divisor, -127, 127)
        out.storeByte(UInt8(truncatingIfNeeded: code), at: group * width + i)
      }
    }
  }

  /// A scale rounded to sixteen significant bits, so that its product with 127 is exact.
  private static func sixteenBits(_ scale: Float) -> Float {
    guard scale >= smallestScale else { return 0 }
    let bits = scale.bitPattern
    return Float(bitPattern: (bits + 0x7f + (bits >> 8 & 1)) & ~0xff)
  }
}
