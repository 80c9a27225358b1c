import Testing

@testable import Weights

/// Largest error allowed a value, as a part of the largest magnitude of its block.
///
/// Codes of n bits over a span of at most twice the magnitude are half a step of 2 / (2ⁿ − 1) away, a little more where
/// scales are rounded, and up to a whole step where the codes reach farther below zero than above.
private let tolerances: [(Packing, Float)] = [
  (.float32, 0), (.float16, 0x1p-11), (.bfloat16, 0x1p-8), (.q4_0, 0.126), (.q4_1, 0.068), (.q5_0, 0.064),
  (.q5_1, 0.033), (.q8_0, 0.0045), (.q4_K, 0.13), (.q5_K, 0.065), (.q6_K, 0.04), (.int4(group: 32), 0.07),
  (.int2(group: 32), 0.34), (.int2(group: 64), 0.34), (.int2(group: 128), 0.34), (.int4(group: 64), 0.07),
  (.int4(group: 256), 0.07), (.int8(group: 32), 0.0040), (.int8(group: 128), 0.0040),
  // A sign is up to the block's mean from zero, and the largest value all but the mean away.
  (.q1_0, 0.85), (.q2_0, 0.501), (.q2_K, 0.36), (.q3_K, 0.22),
  // Half the widest gap between levels is 11.5 of 127, and the levels reach 113 of 127 on one side.
  (.iq4_nl, 0.12), (.iq4_xs, 0.12),
  // Between 4 and 6 of a largest value of up to 8, which is taken for 6; or of 6, with a scale of few bits.
  (.mxfp4, 0.25), (.nvfp4, 0.19),
  // The widest gap between levels, 0.304, is at the negative end.
  (.nf4(doubleQuantised: false), 0.153), (.nf4(doubleQuantised: true), 0.16),
]

@Test(arguments: tolerances)
func `Unpacking gives back what was packed, to the packing's precision`(_ packing: Packing, _ part: Float) throws {
  var noise = Noise(seed: 1)
  let values = noise.normals(5 * 512, scale: 0.02)
  let result = unpacked(try packed(values, rows: 5, packing), rows: 5, columns: 512, packing)
  let width = max(packing.blockSize, 32)
  for start in stride(from: 0, to: values.count, by: width) {
    let largest = values[start..<start + width].map(abs).max()!
    for i in start..<start + width { #expect(abs(result[i] - values[i]) <= part * largest) }
  }
}

/// GGUF's simple types, and this library's packings whose scales the unpacked extremes give back.
@Test(
  arguments: [.float32, .float16, .bfloat16, .q4_0, .q4_1, .q5_0, .q5_1, .q8_0, .q1_0, .q2_0, .mxfp4, .nvfp4]
    + ownPackings.dropLast())
func `Packing what was unpacked gives the same bytes`(_ packing: Packing) throws {
  var noise = Noise(seed: 2)
  // Six times the scale is the most that the noise reaches.
  for scale: Float in [1, 0.02, 1000, 1e-3] where 6 * scale <= packing.largestMagnitude {
    let first = try packed(noise.normals(8 * 512, scale: scale), rows: 8, packing)
    #expect(try packed(unpacked(first, rows: 8, columns: 512, packing), rows: 8, packing) == first)
  }
}

@Test(arguments: ownPackings)
func `Codes stay when groups are lopsided, constant, tiny or vast`(_ packing: Packing) throws {
  var noise = Noise(seed: 3)
  let codeBytes = try packing.bytesPerRow(columns: 512) - scaleBytes(packing, columns: 512)
  for scale: Float in [1e-38, 1e-30, 1e-5, 1, 1e30] {
    for shift: Float in [-3, 0, 3, 1000] {
      let values = noise.normals(512).map { max(-99e6, min(99e6, $0 + shift)) * scale }
      for row in [values, values.map { $0 > 0 ? $0 : 0 }, values.map { _ in shift * scale }] {
        let first = try packed(row, rows: 1, packing)
        let again = try packed(unpacked(first, rows: 1, columns: 512, packing), rows: 1, packing)
        #expect(first.prefix(codeBytes) == again.prefix(codeBytes), "scale \(scale), shift \(shift)")
      }
    }
  }
}

private func scaleBytes(_ packing: Packing, columns: Int) -> Int {
  switch packing {
  case .int8(let group): columns / group * 4
  case .int2(let group), .int4(let group): columns / group * 4
  case .nf4(let doubleQuantised): doubleQuantised ? columns / 64 + 8 : columns / 64 * 4
  default: 0
  }
}

@Test(arguments: everyPacking)
func `Values that did not change keep their bytes`(_ packing: Packing) throws {
  var noise = Noise(seed: 4)
  let bytes = try packed(noise.normals(6 * 768), rows: 6, packing)
  let values = unpacked(bytes, rows: 6, columns: 768, packing)
  #expect(try repacked(values, over: bytes, rows: 6, packing) == bytes)
  #expect(try repacked(values.map { $0 + 0 }, over: bytes, rows: 6, packing) == bytes)
}

/// Blocks no quantiser would make: any bytes, so that packing afresh could not give them back.
@Test(arguments: everyPacking)
func `Foreign blocks that did not change keep their bytes`(_ packing: Packing) throws {
  let bytes = try arbitraryBytes(packing, rows: 4, columns: 512, seed: 5)
  let values = unpacked(bytes, rows: 4, columns: 512, packing)
  #expect(try repacked(values, over: bytes, rows: 4, packing) == bytes)
}

@Test(
  arguments: everyPacking.filter {
    $0.blockSize > 1 && ![.nf4(doubleQuantised: true), .partlyBinary(salient: 10)].contains($0)
  })
func `A changed block leaves its neighbours' values alone`(_ packing: Packing) throws {
  let bytes = try arbitraryBytes(packing, rows: 2, columns: 1024, seed: 6)
  let old = unpacked(bytes, rows: 2, columns: 1024, packing)
  var changed = old
  let block = 1024 + packing.blockSize..<1024 + 2 * packing.blockSize
  for i in block { changed[i] = 0.25 * Float(i % 7) }
  let result = unpacked(
    try repacked(changed, over: bytes, rows: 2, packing), rows: 2, columns: 1024, packing)
  for i in old.indices where !block.contains(i) { #expect(result[i].bitPattern == old[i].bitPattern) }
  let alone = unpacked(try packed(changed, rows: 2, packing), rows: 2, columns: 1024, packing)
  // Quantised afresh, or nearer by the scales the block had.
  func distance(_ found: [Float]) -> Float {
    block.reduce(0) { $0 + (found[$1] - changed[$1]) * (found[$1] - changed[$1]) }
  }
  #expect(result[block] == alone[block] || distance(result) <= distance(alone))
}

@Test(arguments: everyPacking)
func `Zeros stay zero`(_ packing: Packing) throws {
  let bytes = try packed([Float](repeating: 0, count: 512), rows: 1, packing)
  #expect(unpacked(bytes, rows: 1, columns: 512, packing).allSatisfy { $0 == 0 })
}

@Test(arguments: everyPacking)
func `Rows are packed without regard to their neighbours`(_ packing: Packing) throws {
  var noise = Noise(seed: 7)
  let values = noise.normals(3 * 512)
  let together = try packed(values, rows: 3, packing)
  let apart = try (0..<3).flatMap { try packed(Array(values[512 * $0..<512 * ($0 + 1)]), rows: 1, packing) }
  #expect(together == apart)
}

@Test(arguments: everyPacking)
func `What is not finite is refused, by row and column`(_ packing: Packing) {
  for bad: Float in [.nan, .infinity, -.infinity] {
    var values = [Float](repeating: 1, count: 3 * 512)
    values[2 * 512 + 300] = bad
    let error = #expect(throws: PackingError.self) { try packed(values, rows: 3, packing) }
    #expect(
      error?.description == "\(packing.name): row 2: column 300 is \(bad); only finite values can be packed")
  }
}

@Test(arguments: everyPacking)
func `Values of any finite size are unpacked as finite, or refused`(_ packing: Packing) throws {
  var noise = Noise(seed: 8)
  for exponent in -149...127 {
    let values = noise.normals(512).map { $0 / 8 * Float(sign: .plus, exponent: exponent, significand: 1) }
    do {
      let result = unpacked(try packed(values, rows: 1, packing), rows: 1, columns: 512, packing)
      #expect(result.allSatisfy { $0.isFinite }, "2^\(exponent)")
    } catch let error as PackingError {
      #expect(values.contains { abs($0) > packing.largestMagnitude })
      #expect(error.remedy == "it holds magnitudes up to \(packing.largestMagnitude)")
    }
  }
}

/// A row of one value alone is within reach of every packing's codes, but for the rounding of scales.
@Test(arguments: everyPacking)
func `The largest magnitude is held, and the next is refused`(_ packing: Packing) throws {
  let largest = packing.largestMagnitude
  for value in [largest, -largest] {
    let result = unpacked(
      try packed(.init(repeating: value, count: 512), rows: 1, packing), rows: 1, columns: 512, packing)
    #expect(result.allSatisfy { abs($0 / value - 1) < 0.26 })
    guard largest < .greatestFiniteMagnitude else { continue }
    let beyond = value > 0 ? value.nextUp : value.nextDown
    #expect(throws: PackingError.self) { try packed(.init(repeating: beyond, count: 512), rows: 1, packing) }
  }
}

@Test(arguments: everyPacking)
func `A matrix of no rows or no columns is packed into nothing`(_ packing: Packing) throws {
  #expect(try packed([Float](repeating: 0, count: 0), rows: 1, packing).isEmpty)
  #expect(try repacked([], over: [], rows: 1, packing).isEmpty)
}

/// Random bytes whose scales are of ordinary size.
func arbitraryBytes(_ packing: Packing, rows: Int, columns: Int, seed: UInt64) throws -> [UInt8] {
  var noise = Noise(seed: seed)
  var bytes = try packed(noise.normals(rows * columns), rows: rows, packing)
  let rowBytes = bytes.count / rows
  for row in 0..<rows {
    for i in codePlaces(packing, columns: columns) {
      bytes[row * rowBytes + i] = UInt8(truncatingIfNeeded: noise.bits())
    }
  }
  return bytes
}

/// The bytes of a row that may hold anything.
private func codePlaces(_ packing: Packing, columns: Int) -> [Int] {
  let places: (start: Int, end: Int)
  switch packing {
  case .float32, .float16, .bfloat16: return []
  case .int2: return Array(0..<columns / 4)
  case .int4, .nf4: return Array(0..<columns / 2)
  case .int8: return Array(0..<columns)
  case .partlyBinary: return Array(columns / 8..<columns / 4)
  case .q4_0, .q8_0, .q5_0, .q1_0, .q2_0, .iq4_nl, .iq4_xs: places = (2, packing.bytesPerBlock)
  case .mxfp4: places = (1, 17)
  case .q2_K: places = (0, 80)
  case .q3_K: places = (0, 108)
  case .q6_K: places = (0, 208)
  default: places = (4, packing.bytesPerBlock)
  }
  return (0..<columns / packing.blockSize).flatMap { block in
    (places.start..<places.end).map { block * packing.bytesPerBlock + $0 }
  }
}
