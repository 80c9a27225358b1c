import CKernels

/// The quantiser of the 4-bit normal float in blocks of 64.
///
/// A code is the number of midpoints between levels strictly below `x / max|x|`; a tie takes the lower level.
/// Papers: <https://arxiv.org/abs/2305.14314>; level by level as the authors' code, but blocks end with the row.
enum NormalFloat {
  private static let midpoints = between(graft_nf4_levels(), 16)
  private static let dynamicMidpoints = between(graft_dynamic_levels(), 256)
  private static let width = 64
  private static let zero: UInt8 = 7

  /// Packs one row; `doubleQuantised` stores the blocks' magnitudes in eight bits too.
  static func pack(
    _ row: UnsafePointer<Float>, _ columns: Int, doubleQuantised: Bool, _ out: UnsafeMutableRawPointer
  ) {
    let blocks = columns / width
    guard blocks > 0 else { return }
    var magnitudes = (0..<blocks).map { magnitude(row + $0 * width) }
    for block in 0..<blocks where magnitudes[block] < smallestScale { magnitudes[block] = 0 }
    let stored =
      doubleQuantised
      ? packMagnitudes(magnitudes, out + columns / 2) : packPlain(magnitudes, out + columns / 2)
    midpoints.withUnsafeBufferPointer { midpoints in
      for block in 0..<blocks {
        let inverse = stored[block] < smallestScale || magnitudes[block] == 0 ? 0 : 1 / magnitudes[block]
        let values = row + block * width
        for pair in 0..<width / 2 {
          let first = code(values[2 * pair] * inverse, midpoints)
          let second = code(values[2 * pair + 1] * inverse, midpoints)
          out.storeByte(first << 4 | second, at: (block * width) / 2 + pair)
        }
      }
    }
  }

  /// Gives the plainly packed row at `bytes` the codes nearest to `values` by the magnitudes it has.
  static func round(_ values: UnsafePointer<Float>, _ columns: Int, on bytes: UnsafeMutableRawPointer) {
    midpoints.withUnsafeBufferPointer { midpoints in
      for block in 0..<columns / width {
        let magnitude = UnsafeRawPointer(bytes + columns / 2 + 4 * block).loadUnaligned(as: Float.self)
        guard magnitude >= smallestScale else { continue }
        for pair in block * width / 2..<(block + 1) * width / 2 {
          let first = code(values[2 * pair] / magnitude, midpoints)
          let second = code(values[2 * pair + 1] / magnitude, midpoints)
          bytes.storeByte(first << 4 | second, at: pair)
        }
      }
    }
  }

  @inline(__always)
  private static func code(_ value: Float, _ midpoints: UnsafeBufferPointer<Float>) -> UInt8 {
    var code: UInt8 = 0
    for midpoint in midpoints { code &+= value > midpoint ? 1 : 0 }
    return code
  }

  private static func magnitude(_ values: UnsafePointer<Float>) -> Float {
    var magnitude: Float = 0
    for i in 0..<width { magnitude = abs(values[i]) > magnitude ? abs(values[i]) : magnitude }
    return magnitude
  }

  private static func packPlain(_ magnitudes: [Float], _ out: UnsafeMutableRawPointer) -> [Float] {
    for (block, magnitude) in magnitudes.enumerated() { out.storeSingle(magnitude, at: 4 * block) }
    return magnitudes
  }

  /// Stores magnitudes as bytes of the dynamic map around their mean, and returns what the bytes stand for.
  ///
  /// The authors' code may round a small magnitude below zero, which would turn its block's signs; this takes the
  /// least level that does not.
  private static func packMagnitudes(_ magnitudes: [Float], _ out: UnsafeMutableRawPointer) -> [Float] {
    let levels = graft_dynamic_levels()
    let blocks = magnitudes.count
    let offset = mean(magnitudes)
    var stored = [Float](repeating: 0, count: blocks)
    var place = blocks
    for start in stride(from: 0, to: blocks, by: 256) {
      let end = min(start + 256, blocks)
      let scale = magnitudes[start..<end].reduce(0) { max($0, abs($1 - offset)) }
      out.storeSingle(scale, at: place)
      place += 4
      for block in start..<end {
        var code = dynamicCode(scale > 0 ? (magnitudes[block] - offset) / scale : 0)
        while levels[code] * scale + offset < 0, code < 255 { code += 1 }
        stored[block] = levels[code] * scale + offset
        out.storeByte(UInt8(truncatingIfNeeded: code), at: block)
      }
    }
    out.storeSingle(offset, at: place)
    return stored
  }

  /// How many midpoints of the dynamic map lie strictly below a value, by halving.
  private static func dynamicCode(_ value: Float) -> Int {
    var (low, high) = (0, dynamicMidpoints.count)
    while low < high {
      let middle = (low + high) / 2
      if dynamicMidpoints[middle] < value { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// Summed in double precision, so that large magnitudes do not overflow.
  private static func mean(_ values: [Float]) -> Float {
    Float(values.reduce(0.0) { $0 + Double($1) } / Double(values.count))
  }

  private static func between(_ levels: UnsafePointer<Float>, _ count: Int) -> [Float] {
    (0..<count - 1).map { (levels[$0] + levels[$0 + 1]) / 2 }
  }
}
