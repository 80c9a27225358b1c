import CKernels
import Testing

@testable import Weights

/// Random blocks whose half-precision scales span nine decades, and whose smaller ones take every kind of value,
/// unpacked by gguf-py; by llama.cpp those of Q1_0 and Q2_0, which gguf-py cannot unpack.
@Test(arguments: [.float16, .bfloat16] + blockPackings)
func `Blocks unpack to the bits gguf-py and llama.cpp give`(_ packing: Packing) throws {
  let fixture = try blockFixture("\(packing.name).blocks")
  let size = try packing.bytesPerRow(columns: 1024)
  let values = unpacked(Array(fixture[..<size]), rows: 1, columns: 1024, packing)
  #expect(bitPatterns(values) == bitPatterns(floats(fixture[size...])))
}

@Test(arguments: everyPacking)
func `The portable kernels unpack to the same bits`(_ packing: Packing) throws {
  for columns in [packing.blockSize, 256, 1024, packing.blockSize == 1 ? 77 : 768] {
    let bytes = try arbitraryBytes(packing, rows: 3, columns: columns, seed: 11)
    let portable = withRows(bytes, columns, packing) { rows in
      [Float](unsafeUninitializedCapacity: 3 * columns) {
        graft_portable_unpack(&rows, 3, $0.baseAddress!)
        $1 = 3 * columns
      }
    }
    #expect(bitPatterns(portable) == bitPatterns(unpacked(bytes, rows: 3, columns: columns, packing)))
  }
}

/// Float sums of n products, at most n/8 of them one after another in a lane and a few more in the codes' own sums;
/// each sum is within about (n/8 + 16) × 2⁻²⁴ of the sum of magnitudes, doubled for codes whose bias is taken off after.
@Test(arguments: everyPacking)
func `A product with a row is the sum over its unpacked values`(_ packing: Packing) throws {
  var noise = Noise(seed: 12)
  for columns in [packing.blockSize, 256, 1024, packing.blockSize == 1 ? 77 : 768] {
    let bytes = try arbitraryBytes(packing, rows: 7, columns: columns, seed: 13)
    let x = noise.normals(columns)
    let values = unpacked(bytes, rows: 7, columns: columns, packing)
    var portable = [Float](repeating: .nan, count: 7)
    withRows(bytes, columns, packing) { graft_portable_gemv(&$0, 7, x, &portable) }
    var narrow = [Float](repeating: .nan, count: 7)
    withRows(bytes, columns, packing) { graft_gemv_at(GRAFT_AVX2, &$0, 7, x, &narrow) }
    let products = product(bytes, rows: 7, x, packing)
    for row in 0..<7 {
      let terms = (0..<columns).map { Double(values[row * columns + $0]) * Double(x[$0]) }
      // Codes with a bias, or a minimum, sum larger numbers than the values themselves.
      let magnitude = zip(values[row * columns..<(row + 1) * columns], x).reduce(0) { $0 + Double(abs($1.0 * $1.1)) }
      let largest = Double(values[row * columns..<(row + 1) * columns].map(abs).max()!)
      let whole = magnitude + largest * x.reduce(0) { $0 + Double(abs($1)) }
      let tolerance = (Double(columns) / 8 + 16) * 0x1p-24 * 2 * whole
      #expect(abs(Double(products[row]) - terms.reduce(0, +)) <= tolerance)
      #expect(abs(Double(portable[row]) - terms.reduce(0, +)) <= tolerance)
      #expect(abs(Double(narrow[row]) - terms.reduce(0, +)) <= tolerance)
    }
  }
}

@Test(arguments: everyPacking)
func `A row's product has the same bits alone and in any company`(_ packing: Packing) throws {
  var noise = Noise(seed: 14)
  let x = noise.normals(768)
  let bytes = try arbitraryBytes(packing, rows: 19, columns: 768, seed: 15)
  let size = bytes.count / 19
  let together = product(bytes, rows: 19, x, packing)
  for row in 0..<19 {
    let alone = Array(bytes[row * size..<(row + 1) * size])
    #expect(withRows(alone, 768, packing) { graft_dot(&$0, x) }.bitPattern == together[row].bitPattern)
  }
  let last = product(Array(bytes[(3 * size)...]), rows: 16, x, packing)
  #expect(bitPatterns(last) == bitPatterns(Array(together[3...])))
}

@Test func `Every half becomes a float and comes back`() {
  for bits in UInt16.min...UInt16.max {
    let value = graft_f16_value(bits)
    #expect(graft_f16_bits(value) == (value.isNaN ? bits | 0x200 : bits))
    let wide = Float(bitPattern: UInt32(bits) << 16)
    #expect(graft_bf16_value(bits).bitPattern == wide.bitPattern)
    #expect(graft_bf16_bits(wide) == (wide.isNaN ? bits | 0x40 : bits))
  }
}

/// Between neighbours a float goes to the nearer, and to the even one from half way.
@Test func `Halves are rounded to nearest, ties to even`() {
  var values: [Float] = [0, -0.0, 65504, 65519.99, 65520, 1e30, .infinity, -.infinity, 0x1p-25, 0x1.000002p-25, 1e-30]
  var expected: [UInt16] = [0, 0x8000, 0x7bff, 0x7bff, 0x7c00, 0x7c00, 0x7c00, 0xfc00, 0, 1, 0]
  for bits: UInt16 in stride(from: 0, to: 0x7bff, by: 7) {
    let (low, high) = (graft_f16_value(bits), graft_f16_value(bits + 1))
    let middle = (low + high) / 2
    values += [middle, middle.nextDown, middle.nextUp, -middle]
    let even = bits & 1 == 0 ? bits : bits + 1
    expected += [even, bits, bits + 1, even | 0x8000]
  }
  var halves = [UInt16](repeating: 0, count: values.count)
  graft_f16_from_f32(values, &halves, values.count)
  #expect(halves == expected)
  graft_portable_f16_from_f32(values, &halves, values.count)
  #expect(halves == expected)
}

/// Levels as bitsandbytes prints them, and the sum of all, 1.
@Test func `The dynamic map has its published levels`() {
  let levels = (0..<256).map { graft_dynamic_levels()[$0] }
  #expect(Array(levels[0..<4]) == [-0.99296874, -0.9789063, -0.96484375, -0.9507812])
  #expect(Array(levels[124..<132]) == [-7.75e-6, -3.25e-6, -5.5e-7, 0, 5.5e-7, 3.25e-6, 7.75e-6, 2.125e-5])
  #expect(levels[255] == 1)
  #expect(levels == levels.sorted())
  #expect(levels.reduce(0.0) { $0 + Double($1) } == 1)
}

@Test func `The machine's limits are positive numbers`() {
  #expect(graft_fma_peak(0.001) > 0)
  let buffer = [UInt8](repeating: 1, count: 1 << 16)
  #expect(graft_read_bandwidth(buffer, buffer.count, 0.001) > 0)
}

private func withRows<R>(_ bytes: [UInt8], _ columns: Int, _ packing: Packing, _ body: (inout graft_rows) -> R) -> R {
  bytes.withUnsafeBytes {
    var rows = graft_rows(packing, columns: columns, rowBytes: packing.rowBytes(columns), first: $0.baseAddress!)
    return body(&rows)
  }
}

private func product(_ bytes: [UInt8], rows: Int, _ x: [Float], _ packing: Packing) -> [Float] {
  var y = [Float](repeating: .nan, count: rows)
  bytes.withUnsafeBytes {
    PackedCodec.multiply(
      $0.baseAddress!, rowCount: rows, columns: x.count, packing: packing, by: x, into: &y)
  }
  return y
}
