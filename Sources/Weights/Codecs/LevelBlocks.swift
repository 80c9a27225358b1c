import CKernels

/// Quantisers of the blocks whose codes choose one of sixteen levels that are denser near zero (IQ4).
///
///     value = scale × level[code],   levels -127 … 113
///
/// llama.cpp's procedure for files, without an importance matrix. Of sixteen scales that put the value of largest
/// magnitude at a level of -127 or thereabouts, or at 113 or beyond, and are then refitted by least squares, weighted by
/// the values' squares, the best is taken; what is nearest to two levels takes the upper.
enum LevelBlocks {
  /// Scale (2 bytes), codes (16), made with the single-precision scale: `scale × level[code]`.
  static func packIQ4_NL(_ values: UnsafePointer<Float>, _ out: UnsafeMutableRawPointer) {
    let scale = fit(values)
    out.storeHalf(scale, at: 0)
    storeCodes(values, scale, out + 2)
  }

  /// d (2), upper bit pairs of the scales (2), their low nibbles (4), codes (128): `d × (scale − 32) × level[code]`.
  static func packIQ4_XS(_ values: UnsafePointer<Float>, _ out: UnsafeMutableRawPointer) {
    withUnsafeTemporaryAllocation(of: Float.self, capacity: 8) { space in
      guard let scales = space.baseAddress else { return }
      for block in 0..<8 { scales[block] = fit(values + 32 * block) }
      let d = mostExtreme(scales, 8) / -32
      let inverse = d != 0 ? 1 / d : 0
      out.storeHalf(d, at: 0)
      (out + 2).initializeMemory(as: UInt8.self, repeating: 0, count: 6)
      for block in 0..<8 {
        let integer = nearest(inverse * scales[block], -32, 31)
        storeCodes(values + 32 * block, d * Float(integer), out + 8 + 16 * block)
        let scale = UInt8(integer + 32)
        out.setBits((scale >> 4) << UInt8(block % 4 * 2), at: 2 + block / 4)
        out.setBits((scale & 15) << UInt8(block % 2 * 4), at: 4 + block / 2)
      }
    }
  }

  /// The scale of 32 values.
  private static func fit(_ values: UnsafePointer<Float>) -> Float {
    let extreme = mostExtreme(values, 32)
    guard abs(extreme) >= Fits.negligible else { return 0 }
    return withUnsafeTemporaryAllocation(of: Float.self, capacity: 32) { space in
      guard let chosen = space.baseAddress else { return 0 }
      /// Sums over the levels nearest to `inverse × x`.
      func sums(_ inverse: Float) -> (xq: Float, qq: Float) {
        var (xq, qq): (Float, Float) = (0, 0)
        rungs.withUnsafeBufferPointer { rungs in
          for i in stride(from: 0, to: 32, by: 8) { chooseLevels(values + i, inverse, rungs, into: chosen + i) }
        }
        for i in 0..<32 {
          let weight = values[i] * values[i]
          xq += weight * chosen[i] * values[i]
          qq += weight * chosen[i] * chosen[i]
        }
        return (xq, qq)
      }
      var (xq, qq) = sums(1 / (extreme / 127))
      var scale = qq > 0 ? xq / qq : 0
      var best = scale * xq
      for step in -7...7 {
        (xq, qq) = sums(Float(step - 127) / extreme)
        if qq > 0, xq * xq > best * qq {
          scale = xq / qq
          best = scale * xq
        }
      }
      return scale
    }
  }

  private static let levels = (0..<16).map { Float(graft_iq4_levels()[$0]) }
  /// From each level to the next: twice the midpoint, a whole number, and the step.
  private static let rungs = zip(levels, levels.dropFirst()).map { (middle: $0 + $1, step: $1 - $0) }

  /// Writes the levels nearest to `inverse × x` for eight values, climbing from the lowest past every midpoint reached.
  @inline(__always)
  private static func chooseLevels(
    _ values: UnsafePointer<Float>, _ inverse: Float, _ rungs: UnsafeBufferPointer<(middle: Float, step: Float)>,
    into chosen: UnsafeMutablePointer<Float>
  ) {
    let scaled = UnsafeRawPointer(values).loadUnaligned(as: SIMD8<Float>.self) * inverse
    let doubled = scaled + scaled
    var result = SIMD8<Float>(repeating: -127)
    for rung in rungs { result += SIMD8<Float>.zero.replacing(with: rung.step, where: doubled .>= rung.middle) }
    UnsafeMutableRawPointer(chosen).storeBytes(of: result, as: SIMD8<Float>.self)
  }

  /// Writes the sixteen bytes of codes of 32 values.
  private static func storeCodes(_ values: UnsafePointer<Float>, _ scale: Float, _ out: UnsafeMutableRawPointer) {
    let inverse = scale != 0 ? 1 / scale : 0
    rungs.withUnsafeBufferPointer { rungs in
      func code(_ value: Float) -> UInt8 {
        let scaled = inverse * value
        var code: UInt8 = 0
        for rung in rungs { code &+= scaled + scaled >= rung.middle ? 1 : 0 }
        return code
      }
      for i in 0..<16 { out.storeByte(code(values[i]) | code(values[i + 16]) << 4, at: i) }
    }
  }
}
