import Files
import Testing

struct HalfPrecisionTests {
  // 1 5 10 bits: 1.0 has exponent 15; 2⁻¹⁴ is the smallest normal, 2⁻²⁴ the smallest of all; 65504 the largest.
  @Test(
    arguments: [
      (0x0000, 0), (0x8000, -0.0), (0x3c00, 1), (0xc000, -2), (0x3555, 0x1.554p-2), (0x7bff, 65504), (0x0400, 0x1p-14),
      (0x0001, 0x1p-24), (0x83ff, -0x3ffp-24), (0x7c00, .infinity), (0xfc00, -.infinity),
    ] as [(UInt16, Float)])
  func `A half has its value`(_ bits: UInt16, _ value: Float) {
    #expect(Half.float(bits).bitPattern == value.bitPattern)
    #expect(Half.bits(value) == bits)
  }

  // Halfway cases go to the even neighbour: 1 + 2⁻¹¹ lies between 0x3c00 and 0x3c01.
  @Test(
    arguments: [
      (0x1.002p0, 0x3c00), (0x1.006p0, 0x3c02), (0x1.0021p0, 0x3c01), (65519.9, 0x7bff), (65520, 0x7c00),
      (1e10, 0x7c00),
      (0x1p-25, 0x0000), (0x1.00001p-25, 0x0001), (0x1.8p-24, 0x0002), (0x1.fffp-15, 0x0400), (0x1p-133, 0x0000),
    ] as [(Float, UInt16)])
  func `Rounding to half goes to the nearest, ties to even`(_ value: Float, _ bits: UInt16) {
    #expect(Half.bits(value) == bits)
    #expect(Half.bits(-value) == bits | 0x8000)
  }

  @Test(
    arguments: [
      (0x1.01p0, 0x3f80), (0x1.03p0, 0x3f82), (0x1.0101p0, 0x3f81), (Float.greatestFiniteMagnitude, 0x7f80),
      (-.infinity, 0xff80), (-0.0, 0x8000),
    ] as [(Float, UInt16)])
  func `Rounding to bfloat16 goes to the nearest, ties to even`(_ value: Float, _ bits: UInt16) {
    #expect(BFloat16.bits(value) == bits)
  }

  @Test func `Every bit pattern survives the way to Float and back`() {
    for bits in UInt16.min...UInt16.max {
      let half = Half.float(bits)
      let brain = BFloat16.float(bits)
      // A signalling NaN comes back quiet.
      #expect(half.isNaN ? Half.float(Half.bits(half)).isNaN : Half.bits(half) == bits)
      #expect(brain.isNaN ? BFloat16.float(BFloat16.bits(brain)).isNaN : BFloat16.bits(brain) == bits)
    }
  }
}
