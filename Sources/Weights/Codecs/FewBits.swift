/// Quantisers of the blocks of one and two bits a value, as llama.cpp packs them.
///
/// They are for models trained to such weights; rounding others to them leaves little of them.
enum FewBits {
  /// Scale (2 bytes), signs (16): `scale` where the bit is set, else `−scale`; the scale is the mean magnitude.
  static func packQ1_0(_ values: UnsafePointer<Float>, _ out: UnsafeMutableRawPointer) {
    var sum: Float = 0
    for i in 0..<128 { sum += abs(values[i]) }
    out.storeHalf(sum / 128, at: 0)
    for byte in 0..<16 {
      let bits = (0..<8).reduce(UInt8(0)) { $0 | (values[8 * byte + $1] >= 0 ? 1 << UInt8($1) : 0) }
      out.storeByte(bits, at: 2 + byte)
    }
  }

  /// Scale (2), bit pairs (16): `scale × (code − 1)`; the scale is the largest magnitude.
  ///
  /// So 0 is taken for magnitudes below half of the largest, and code 3, for twice the scale, never occurs.
  static func packQ2_0(_ values: UnsafePointer<Float>, _ out: UnsafeMutableRawPointer) {
    let scale = abs(mostExtreme(values, 64))
    let inverse = scale > 0 ? 1 / scale : 0
    out.storeHalf(scale, at: 0)
    for byte in 0..<16 {
      let codes = (0..<4).reduce(UInt8(0)) { codes, place in
        let scaled = values[4 * byte + place] * inverse
        let code: UInt8 = abs(scaled) < 0.5 ? 1 : scaled < 0 ? 0 : 2
        return codes | code << UInt8(2 * place)
      }
      out.storeByte(codes, at: 2 + byte)
    }
  }
}
