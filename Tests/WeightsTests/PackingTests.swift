import Testing

@testable import Weights

@Test(arguments: everyPacking)
func `A packing's name means that packing`(_ packing: Packing) throws {
  #expect(try Packing(parsing: packing.name) == packing)
  #expect(try Packing(parsing: packing.name.uppercased()) == packing)
  #expect(try Packing(parsing: packing.name.lowercased()) == packing)
}

@Test func `A group left out is 64 columns`() throws {
  #expect(try Packing(parsing: "int4") == .int4(group: 64))
  #expect(try Packing(parsing: "int2") == .int2(group: 64))
  #expect(try Packing(parsing: "INT8") == .int8(group: 64))
}

@Test(arguments: [
  (
    "q4",
    "'q4': unknown packing; expected one of F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, "
      + "Q1_0, Q2_0, Q2_K, Q3_K, IQ4_NL, IQ4_XS, MXFP4, NVFP4, nf4, nf4-double, or int1, int2, int3, int4, int8, "
      + "bfp2, bfp3, bfp4, bfp8, nf4, fp4, "
      + "fp4e1, fp4e3, bnbfp4 with -g<columns> or -row, such as int3-g64, or pb<salient of a hundred>"
  ),
  ("int8-g48", "int8-g48: groups of 48 columns; a group is a multiple of 32, such as 64"),
])
func `A name that means no packing is refused with a reason`(_ text: String, _ message: String) {
  let error = #expect(throws: PackingError.self) { try Packing(parsing: text) }
  #expect(error?.description == message)
}

@Test(arguments: [
  (Packing.float32, 1024), (.float16, 512), (.bfloat16, 512), (.q4_0, 144), (.q4_1, 160), (.q5_0, 176), (.q5_1, 192),
  (.q8_0, 272), (.q4_K, 144), (.q5_K, 176), (.q6_K, 210), (.q1_0, 36), (.q2_0, 72), (.q2_K, 84), (.q3_K, 110),
  (.iq4_nl, 144), (.iq4_xs, 136), (.mxfp4, 136), (.nvfp4, 144), (.int2(group: 64), 80), (.int4(group: 64), 144),
  (.int8(group: 64), 272),
  (.nf4(doubleQuantised: false), 144),
  // 128 bytes of codes, four magnitudes of one byte, a scale and an offset.
  (.nf4(doubleQuantised: true), 140),
])
func `256 columns take the bytes their format says`(_ packing: Packing, _ bytes: Int) throws {
  #expect(try packing.bytesPerRow(columns: 256) == bytes)
  #expect(try packing.bytes(rows: 3, columns: 256) == 3 * bytes)
  #expect(try packing.bytesPerRow(columns: 0) == 0)
}

@Test(arguments: everyPacking.filter { $0.blockSize > 1 })
func `Columns that no block divides are refused`(_ packing: Packing) {
  for columns in [1, packing.blockSize - 1, packing.blockSize + 1, 2 * packing.blockSize + 16, -packing.blockSize] {
    #expect(throws: PackingError.self) { try packing.bytesPerRow(columns: columns) }
  }
}

@Test(arguments: everyPacking)
func `Sizes that cannot be counted are refused`(_ packing: Packing) {
  let most = Int.max / packing.blockSize * packing.blockSize
  #expect(throws: PackingError.self) { try packing.bytesPerRow(columns: most) }
  #expect(throws: PackingError.self) { try packing.bytesPerRow(columns: -1) }
  #expect(throws: PackingError.self) { try packing.bytes(rows: Int.max / 2, columns: 256) }
  #expect(throws: PackingError.self) { try packing.bytes(rows: -1, columns: 256) }
}

@Test func `A group no kernel takes is refused before it is divided by`() {
  for group in [0, -32, 16, 1 << 30] {
    #expect(throws: PackingError.self) { try Packing.int2(group: group).bytesPerRow(columns: 256) }
    #expect(throws: PackingError.self) { try Packing.int4(group: group).bytesPerRow(columns: 256) }
    #expect(throws: PackingError.self) { try Packing.int8(group: group).bytesPerRow(columns: 256) }
  }
}
