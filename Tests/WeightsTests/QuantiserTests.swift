import Testing

@testable import Weights

/// Bytes of x_i over one block, from ggml's reference quantisers and, for NF4, a transcription of bitsandbytes.
@Test(arguments: [
  (Packing.q4_0, "402ee046acf258bd1379df358be046acf268"),
  (.q4_1, "ab2e40bad0369bf257bd1369ce258ae0469cf258"),
  (.q5_0, "402aa4a52d6dc07c38f3bf6b26e2ae5a15d18d49f4c0"),
  (.q5_1, "742a40baa4a52d6db07b37e3af6a26d29d5905c18c48f4b0"),
  (.q8_0, "4d1e81df3d9af856b41270cd2b89e745a2005ebb1977d53390ee4caa0866c3217fdc"),
  (.iq4_nl, "ab1ee035acf157ce1369df249be136adf258"),
  (.mxfp4, "7c6fdb257ec946fea267ec146fda357eb0"),
  (.nvfp4, "202020207fcb45fea956ee0266ed1267dc347fba45ffb956ee0167dd0267dc347fca56fe"),
  (.q2_0, "403a14491649924592659164912459244916"),
  (.q1_0, "4e36a4a52d6d69494b5b5ad2d29696b4b4a5"),
])
func `The small types have the reference's bytes`(_ packing: Packing, _ hex: String) throws {
  #expect(try packed(vectorInput(packing.blockSize), rows: 1, packing).hexadecimal == hex)
}

@Test(arguments: [
  (Packing.q4_K, "de162c22fefffffcfffdfefecfdcfffe", 0xa899_c58d as UInt32, 0.188489),
  (.q5_K, "8e125322fffdfdfdfffcfeffdfeffdcf", 0x732b_6d17, 0.0454396),
  (.q6_K, "d158bf37be25ad048b047bf37ad159d0", 0xeadc_661e, 0.0104514),
  (.q2_K, "dedecddffedeffcedebcdeeedcefbeef", 0xab3a_a106, 3.50223),
  (.q3_K, "86dc2bc6fd23d67923dc3986fc2bd6fd", 0xdfaa_309d, 0.949363),
  (.iq4_xs, "ab8a0ccfe021fff2e035acf157ce1369", 0x78be_6b62, 0.264242),
])
func `The 256-value types have the reference's bytes`(
  _ packing: Packing, _ start: String, _ checksum: UInt32, _ squaredError: Double
) throws {
  let values = vectorInput(256)
  let bytes = try packed(values, rows: 1, packing)
  #expect(Array(bytes.prefix(16)).hexadecimal == start)
  #expect(crc32(bytes) == checksum)
  #expect(abs(squares(unpacked(bytes, rows: 1, columns: 256, packing), values) / squaredError - 1) < 1e-5)
}

@Test func `NF4 has the reference's codes and magnitudes`() throws {
  let codes =
    "04c16e29f3b05d17e29f3c05d18e2af4c16e18e3b05d17e29f3b05d18e2af4c1"
    + "6d18e3b04c17e29f3b05d17e2af4c06d18e2a04c16e29f3b05d17e29f3c05d18"
  let bytes = try packed(vectorInput(128), rows: 1, .nf4(doubleQuantised: false))
  #expect(Array(bytes.prefix(64)).hexadecimal == codes)
  #expect(floats(bytes[64...]) == [0.78125, 0.78125])
  let values = unpacked(bytes, rows: 1, columns: 128, .nf4(doubleQuantised: false))
  #expect(values.prefix(4) == [-0.78125, -0.22221982, 0.34430456, -0.5439006])
  #expect(abs(squares(values, vectorInput(128)) - 0.2219498) < 1e-6)
}

/// 1024 values of four magnitudes, the first 32 zero, packed by gguf-py.
@Test(arguments: [Packing.float16, .bfloat16, .q4_0, .q4_1, .q5_0, .q5_1, .q8_0])
func `Random values get the bytes gguf-py gives them`(_ packing: Packing) throws {
  let fixture = try blockFixture("\(packing.name).values")
  #expect(try packed(floats(fixture[..<4096]), rows: 4, packing) == Array(fixture[4096...]))
}

/// The same, packed by llama.cpp's functions for files.
@Test(arguments: [
  Packing.q4_K, .q5_K, .q6_K, .q1_0, .q2_0, .q2_K, .q3_K, .iq4_nl, .iq4_xs, .mxfp4, .nvfp4,
])
func `Random values get the bytes llama.cpp gives them`(_ packing: Packing) throws {
  let fixture = try blockFixture("\(packing.name).values")
  #expect(try packed(floats(fixture[..<4096]), rows: 4, packing) == Array(fixture[4096...]))
}

/// For IQ4_NL ggml has a second, quicker quantiser, whose squared error over these 32 values is 0.0385676.
@Test func `IQ4_NL is packed as for files, which loses less than ggml's quick way`() throws {
  let values = vectorInput(32)
  let error = squares(unpacked(try packed(values, rows: 1, .iq4_nl), rows: 1, columns: 32, .iq4_nl), values)
  #expect(abs(error / 0.0338773 - 1) < 1e-5)
}

/// ((k i mod 101) − 50) / 64 as llama.cpp packs it, where the first, the lowest and the highest trial fit best.
@Test(arguments: [
  (21, "629ebf7d3a15e2bf6d3904d1af5c28f4d19e"), (2, "fb1d40405050616161717282829293a3a3b4"),
  (26, "a21e2053b8ed2164b9fd2174cafe3175cafe"),
])
func `Every scale tried for IQ4_NL can be the one taken`(_ factor: Int, _ hex: String) throws {
  let values = (0..<32).map { Float($0 * factor % 101 - 50) / 64 }
  #expect(try packed(values, rows: 1, .iq4_nl).hexadecimal == hex)
}

/// The largest magnitude is 4 ≤ m < 8 times the scale; from 4 the next is 6, and half way, 5, goes down.
@Test(
  arguments: [
    (1, 0.25, 1), (1.2499, 0.25, 1), (1.25, 0.25, 1), (1.2501, 0.25, 1.5), (1.9999999, 0.25, 1.5), (2, 0.5, 2),
    (3.0e38, 0x1p125, 0x1.8p127), (-0x1p-149, 0x1p-127, 0), (-0x1p-127, 0x1p-127, -0x1p-127),
  ] as [(Float, Float, Float)])
func `The largest of an MXFP4 block sets its power of two`(_ value: Float, _ scale: Float, _ result: Float) throws {
  var values = [Float](repeating: 0, count: 32)
  values[19] = value
  let bytes = try packed(values, rows: 1, .mxfp4)
  #expect(Float(sign: .plus, exponent: Int(bytes[0]) - 127, significand: 1) == scale)
  #expect(unpacked(bytes, rows: 1, columns: 32, .mxfp4)[19] == result)
}

/// Scales are m/8 × 2^e from 2⁻⁶ to 448, and below that multiples of 2⁻⁹. From 256 on llama.cpp writes 448 (0x7e).
@Test(
  arguments: [
    (6 * 448, 0x7e), (6 * 440, 0x7e), (6 * 400, 0x7d), (6 * 256, 0x78), (6 * 240, 0x77), (6, 0x38), (6 * 1.0625, 0x39),
    (6 * 1.06, 0x38), (6 * 0x1p-6, 8), (6 * 0x1.ep-7, 7), (6 * 0x1p-9, 1), (3 * 0x1p-9, 1), (2.9 * 0x1p-9, 0), (0, 0),
  ] as [(Float, UInt8)])
func `An NVFP4 scale is near a sixth of the largest magnitude`(_ value: Float, _ byte: UInt8) throws {
  var values = [Float](repeating: 0, count: 64)
  values[40] = -value
  let bytes = try packed(values, rows: 1, .nvfp4)
  #expect(Array(bytes[..<4]) == [0, 0, byte, 0])
}

/// Columns 0…3 are worked by hand: the group spans -1…2, so the scale is 3/15 = 0.2, near 0.2001953 in bfloat16.
@Test func `Int4 codes count steps from the offset`() throws {
  var values = [Float](repeating: 0, count: 32)
  values.replaceSubrange(0..<4, with: [-1, 2, 0.4, -0.7])
  let bytes = try packed(values, rows: 1, .int4(group: 32))
  #expect(Array(bytes.prefix(5)) == [0x50, 0x5f, 0x57, 0x51, 0x55])
  #expect(Array(bytes.suffix(4)).hexadecimal == "4d3e80bf")
}

/// The group spans -1…2, so the scale is 1, and the codes are 0, 3, round(1.4) = 1, round(0.3) = 0, and 1 for zeros. Byte
/// i holds columns i, 8 + i, 16 + i and 24 + i from its lowest bits up: 0b01010100, 0b01010111, 0b01010101, 0b01010100.
@Test func `Int2 codes count steps from the offset, eight columns apart in a byte`() throws {
  var values = [Float](repeating: 0, count: 32)
  values.replaceSubrange(0..<4, with: [-1, 2, 0.4, -0.7])
  values[31] = 1.9
  let bytes = try packed(values, rows: 1, .int2(group: 32))
  #expect(bytes.prefix(8) == [0x54, 0x57, 0x55, 0x54, 0x55, 0x55, 0x55, 0xd5])
  // 1 and -1 as bfloat16, low byte first.
  #expect(Array(bytes.suffix(4)).hexadecimal == "803f80bf")
}

/// The largest magnitude, 2, has code 127; a scale of 2/127 is 0.015748031.
@Test func `Int8 codes are multiples of a scale`() throws {
  var values = [Float](repeating: 0, count: 32)
  values.replaceSubrange(0..<4, with: [-2, 1, 0.5, -0.01])
  let bytes = try packed(values, rows: 1, .int8(group: 32))
  // 1 / 0.015748 = 63.5 and a little, since the scale is rounded down; 31.75 and -0.635 round to 32 and -1.
  #expect(bytes.prefix(5).map { Int8(bitPattern: $0) } == [-127, 64, 32, -1, 0])
  #expect(abs(floats(bytes[32...])[0] - 2 / 127) < 2 / 127 * 0x1p-16)
}

extension [UInt8] {
  var hexadecimal: String { map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() }
}

func squares(_ a: [Float], _ b: [Float]) -> Double {
  zip(a, b).reduce(0) { $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1) }
}

/// The CRC-32 of zlib, bit by bit.
func crc32(_ bytes: [UInt8]) -> UInt32 {
  ~bytes.reduce(~0 as UInt32) { sum, byte in
    (0..<8).reduce(sum ^ UInt32(byte)) { sum, _ in sum & 1 == 1 ? sum >> 1 ^ 0xedb8_8320 : sum >> 1 }
  }
}
