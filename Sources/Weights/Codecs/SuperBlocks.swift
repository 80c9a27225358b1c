/// Quantisers of the 256-value super-blocks: scales fitted for each sub-block, then themselves quantised.
///
/// The reference procedures of GGUF's types, without an importance matrix. Codes are made again with the scales as
/// stored. Values are `d × scale × code − dmin × minimum`.
enum SuperBlocks {
  /// 4-bit scales and minima of sixteen sub-blocks (16 bytes), bit pairs (64), d (2), dmin (2).
  static func packQ2_K(_ values: UnsafePointer<Float>, _ out: UnsafeMutableRawPointer) {
    let fit = Fits.Affine(highest: 3, firstStep: -0.5, stride: 0.1, trials: 15, isByMagnitude: true)
    withUnsafeTemporaryAllocation(of: Float.self, capacity: 256 + 32 + 32) { space in
      guard let codes = space.baseAddress else { return }
      let fitted = codes + 256 + 32
      fitAffine(values, fit, blocks: 16, steps: 15, codes: codes, fitted: fitted, out, at: 80)
      for block in 0..<16 { out.storeByte(UInt8(fitted[block]) | UInt8(fitted[block + 16]) << 4, at: block) }
      packPairs(codes, out + 16)
    }
  }

  /// Third bits (32), lower bit pairs (64), 6-bit scales of sixteen sub-blocks (12), d (2).
  static func packQ3_K(_ values: UnsafePointer<Float>, _ out: UnsafeMutableRawPointer) {
    withUnsafeTemporaryAllocation(of: Float.self, capacity: 256 + 16) { space in
      guard let codes = space.baseAddress else { return }
      let scales = codes + 256
      for block in 0..<16 { scales[block] = Fits.fitThreeBits(values + 16 * block, codes: codes + 16 * block) }
      let extreme = mostExtreme(scales, 16)
      let inverse = extreme != 0 ? -32 / extreme : 0
      let d = out.storeHalf(extreme != 0 ? 1 / inverse : 0, at: 108)
      out.initializeMemory(as: UInt8.self, repeating: 0, count: 32)
      (out + 96).initializeMemory(as: UInt8.self, repeating: 0, count: 12)
      for block in 0..<16 {
        let integer = extreme != 0 ? nearest(inverse * scales[block], -32, 31) : -32
        storeThreeBitScale(UInt8(integer + 32), block, out + 96)
        let scale = d * Float(integer)
        guard scale != 0 else { continue }
        for i in 16 * block..<16 * block + 16 { codes[i] = Float(nearest(values[i] / scale, -4, 3) + 4) }
      }
      for i in 0..<256 where codes[i] > 3 { out.setBits(1 << UInt8(i / 32), at: i % 32) }
      packPairs(codes, out + 32)
    }
  }

  /// The low four bits of a scale lie in eight bytes, of the later eight scales in their high nibbles; the upper two in
  /// four more bytes, of scale `block` in byte `block % 4`.
  private static func storeThreeBitScale(_ scale: UInt8, _ block: Int, _ out: UnsafeMutableRawPointer) {
    out.setBits((scale & 15) << UInt8(block / 8 * 4), at: block % 8)
    out.setBits((scale >> 4) << UInt8(block / 4 * 2), at: 8 + block % 4)
  }

  /// The lowest two bits of 256 codes: in the 32 bytes of a half, each 32 codes take the next two bits.
  private static func packPairs(_ codes: UnsafePointer<Float>, _ out: UnsafeMutableRawPointer) {
    for half in 0..<2 {
      for i in 0..<32 {
        let quarter = codes + 128 * half + i
        let low = UInt8(quarter[0]) & 3 | (UInt8(quarter[32]) & 3) << 2
        let high = UInt8(quarter[64]) & 3 | (UInt8(quarter[96]) & 3) << 2
        out.storeByte(low | high << 4, at: 32 * half + i)
      }
    }
  }

  /// d (2 bytes), dmin (2), 6-bit scales and minima of eight sub-blocks (12), codes (128).
  static func packQ4_K(_ values: UnsafePointer<Float>, _ out: UnsafeMutableRawPointer) {
    let fit = Fits.Affine(highest: 15, firstStep: -1, stride: 0.1, trials: 20)
    withUnsafeTemporaryAllocation(of: Float.self, capacity: 256 + 64) { space in
      guard let codes = space.baseAddress else { return }
      packAffine(values, fit, codes: codes, out)
      for pair in 0..<4 {
        for i in 0..<32 {
          let low = UInt8(codes[64 * pair + i])
          let high = UInt8(codes[64 * pair + 32 + i])
          out.storeByte(low | high << 4, at: 16 + 32 * pair + i)
        }
      }
    }
  }

  /// As `packQ4_K`, with the fifth bits (32) before the low nibbles: bit `b` of byte `i` is sub-block `b`'s value `i`.
  static func packQ5_K(_ values: UnsafePointer<Float>, _ out: UnsafeMutableRawPointer) {
    let fit = Fits.Affine(highest: 31, firstStep: -0.5, stride: 0.1, trials: 15)
    withUnsafeTemporaryAllocation(of: Float.self, capacity: 256 + 64) { space in
      guard let codes = space.baseAddress else { return }
      packAffine(values, fit, codes: codes, out)
      for i in 0..<32 {
        var bits: UInt8 = 0
        for pair in 0..<4 {
          let low = UInt8(codes[64 * pair + i])
          let high = UInt8(codes[64 * pair + 32 + i])
          out.storeByte(low & 15 | (high & 15) << 4, at: 48 + 32 * pair + i)
          bits |= (low >> 4 | (high >> 4) << 1) << UInt8(2 * pair)
        }
        out.storeByte(bits, at: 16 + i)
      }
    }
  }

  /// Low nibbles (128), upper bit pairs (64), signed scales of sixteen sub-blocks (16), d (2).
  static func packQ6_K(_ values: UnsafePointer<Float>, _ out: UnsafeMutableRawPointer) {
    withUnsafeTemporaryAllocation(of: Int32.self, capacity: 256) { space in
      guard let codes = space.baseAddress else { return }
      withUnsafeTemporaryAllocation(of: Float.self, capacity: 16) { scales in
        var extreme: Float = 0
        for block in 0..<16 {
          scales[block] = Fits.fitSixBits(values + 16 * block, codes: codes + 16 * block)
          if abs(scales[block]) > abs(extreme) { extreme = scales[block] }
        }
        guard abs(extreme) >= Fits.negligible else {
          out.initializeMemory(as: UInt8.self, repeating: 0, count: 210)
          return
        }
        let inverse = -128 / extreme
        let stored = out.storeHalf(1 / inverse, at: 208)
        for block in 0..<16 {
          let integer = nearest(inverse * scales[block], -128, 127)
          out.storeByte(UInt8(bitPattern: Int8(integer)), at: 192 + block)
          let scale = stored * Float(integer)
          guard scale != 0 else { continue }
          for i in 16 * block..<16 * block + 16 { codes[i] = nearest(values[i] / scale, -32, 31) + 32 }
        }
      }
      packSixBits(codes, out)
    }
  }

  private static func packSixBits(_ codes: UnsafePointer<Int32>, _ out: UnsafeMutableRawPointer) {
    for half in 0..<2 {
      for i in 0..<32 {
        let quarter = codes + 128 * half + i
        let low = (quarter[0] & 15) | (quarter[64] & 15) << 4
        let next = (quarter[32] & 15) | (quarter[96] & 15) << 4
        let upper =
          (quarter[0] >> 4) | (quarter[32] >> 4) << 2 | (quarter[64] >> 4) << 4 | (quarter[96] >> 4) << 6
        out.storeByte(UInt8(truncatingIfNeeded: low), at: 64 * half + i)
        out.storeByte(UInt8(truncatingIfNeeded: next), at: 64 * half + 32 + i)
        out.storeByte(UInt8(truncatingIfNeeded: upper), at: 128 + 32 * half + i)
      }
    }
  }

  /// Writes d, dmin and the twelve bytes of scales and minima, and leaves the 256 codes in `codes`.
  ///
  /// `codes` has room for 64 more numbers after them.
  private static func packAffine(
    _ values: UnsafePointer<Float>, _ fit: Fits.Affine, codes: UnsafeMutablePointer<Float>,
    _ out: UnsafeMutableRawPointer
  ) {
    withUnsafeTemporaryAllocation(of: Float.self, capacity: 16) { space in
      guard let fitted = space.baseAddress else { return }
      fitAffine(values, fit, blocks: 8, steps: 63, codes: codes, fitted: fitted, out, at: 0)
      for block in 0..<4 {
        let (scale, minimum) = (UInt8(fitted[block]), UInt8(fitted[block + 8]))
        let (later, laterMinimum) = (UInt8(fitted[block + 4]), UInt8(fitted[block + 12]))
        out.storeByte(scale | (later >> 4) << 6, at: 4 + block)
        out.storeByte(minimum | (laterMinimum >> 4) << 6, at: 8 + block)
        out.storeByte(later & 15 | (laterMinimum & 15) << 4, at: 12 + block)
      }
    }
  }

  /// Writes d and dmin at `place`, and leaves the 256 codes in `codes` and the integers of the `blocks` scales, then of
  /// the minima, in `fitted`.
  ///
  /// `codes` has room for two more numbers after them for each value of a block.
  @inline(__always)
  private static func fitAffine(
    _ values: UnsafePointer<Float>, _ fit: Fits.Affine, blocks: Int, steps: Float,
    codes: UnsafeMutablePointer<Float>, fitted: UnsafeMutablePointer<Float>, _ out: UnsafeMutableRawPointer,
    at place: Int
  ) {
    let width = 256 / blocks
    var (largestScale, largestMinimum): (Float, Float) = (0, 0)
    for block in 0..<blocks {
      let (scale, minimum) = Fits.fit(
        values + width * block, width, fit, codes: codes + width * block, scratch: codes + 256)
      fitted[block] = scale
      fitted[block + blocks] = minimum
      largestScale = scale > largestScale ? scale : largestScale
      largestMinimum = minimum > largestMinimum ? minimum : largestMinimum
    }
    let inverseScale = largestScale > 0 ? steps / largestScale : 0
    let inverseMinimum = largestMinimum > 0 ? steps / largestMinimum : 0
    let d = out.storeHalf(largestScale / steps, at: place)
    let dmin = out.storeHalf(largestMinimum / steps, at: place + 2)
    for block in 0..<blocks {
      fitted[block] = Float(nearest(inverseScale * fitted[block], 0, steps))
      fitted[block + blocks] = Float(nearest(inverseMinimum * fitted[block + blocks], 0, steps))
      let scale = d * fitted[block]
      let minimum = dmin * fitted[block + blocks]
      guard scale != 0 else { continue }
      for i in width * block..<width * (block + 1) {
        codes[i] = Float(nearest((values[i] + minimum) / scale, 0, fit.highest))
      }
    }
  }
}
