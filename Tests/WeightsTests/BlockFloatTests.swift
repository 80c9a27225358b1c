import Autodiff
import Testing

@testable import Weights

/// Signed mantissas that share an exponent.
struct BlockFloatTests {
  private let values = Tensor(
    {
      var noise = Noise(seed: 11)
      return noise.normals(64 * 192, scale: 0.1)
    }(), shape: [64, 192])

  @Test func `Its name is short for integers around zero with a power of two`() throws {
    let layout = try #require(GroupLayout(name: "bfp4"))
    #expect(layout == GroupLayout(.integer(bits: 4), group: 32, scale: .power, zero: .symmetric))
    #expect(layout.name == "bfp4-g32" && GroupLayout(name: "int4-g32-e8-sym") == layout)
    #expect(GroupLayout(name: "bfp8-g64-out")?.name == "bfp8-g64-out")
    for wrong in ["bfp1", "bfp5-g32", "bfp4-g32-f16", "bfp4-g32-sym", "bfp"] {
      #expect(GroupLayout(name: wrong) == nil)
    }
  }

  /// The rule of the OCP's microscaling formats, worked out with NumPy: the exponent of the largest less the mantissa's
  /// bits before its point, ties to even.
  @Test(arguments: [
    (8, Float(0.0078125), [-100, -26, 48, -80, -6, 68, -60, 14, 88, -40, 34, -94, -20, 54, -74, 0]),
    (4, 0.125, [-6, -2, 3, -5, 0, 4, -4, 1, 6, -2, 2, -6, -1, 3, -5, 0]),
    (3, 0.25, [-3, -1, 2, -2, 0, 2, -2, 0, 3, -1, 1, -3, -1, 2, -2, 0]),
  ])
  func `Codes are those of the published rule`(_ bits: Int, _ scale: Float, _ wanted: [Int]) throws {
    let layout = try #require(GroupLayout(name: "bfp\(bits)"))
    let codes = try GroupedCodes(rounding: Tensor(vectorInput(32), shape: [1, 32]), to: layout)
    #expect(codes.grids[0].scale == scale)
    #expect(codes.codes.prefix(16).map { Int($0) - layout.centre } == wanted)
  }

  @Test(arguments: ["bfp2", "bfp3", "bfp4", "bfp8", "bfp4-g64-out", "bfp4-row"])
  func `Half a step is lost, a whole one where the largest saturates, and nothing the second time`(
    _ name: String
  ) throws {
    let layout = try #require(GroupLayout(name: name)), codes = try GroupedCodes(rounding: values, to: layout)
    let found = codes.unpacked(), wanted = values.values
    var strays = 0
    for (place, value) in found.values.enumerated() {
      let scale = codes.grids[codes.group(place / 192, place % 192)].scale
      let isLast = abs(value) == scale * Float(layout.centre - 1)
      if !(abs(value - wanted[place]) <= (isLast ? 1 : 0.5) * scale) || value * wanted[place] < 0 { strays += 1 }
    }
    #expect(strays == 0)
    #expect(try GroupedCodes(rounding: found, to: layout).unpacked().values == found.values)
  }

  @Test func `A searched exponent may be one more, where less is lost so`() throws {
    // 15.9 saturates at 14 in steps of 2 and lies 0.1 from a value in steps of 4.
    let row: [Float] = [15.9, -15.9, 15.9, -15.9] + [Float](repeating: 0, count: 28)
    let layout = try #require(GroupLayout(name: "bfp4")), matrix = Tensor(row, shape: [1, 32])
    let plain = try GroupedCodes(rounding: matrix, to: layout),
      searched = try GroupedCodes(
        rounding: matrix, to: layout, clip: .search(steps: 40))
    #expect(plain.grids[0].scale == 2 && plain.unpacked().values[0] == 14)
    #expect(searched.grids[0].scale == 4 && searched.unpacked().values[0] == 16)
  }

  @Test func `A zero code and a power of two reach over the whole range`() throws {
    let layout = try #require(GroupLayout(name: "int4-g32-e8-zero"))
    let codes = try GroupedCodes(rounding: values, to: layout), found = codes.unpacked().values
    let strays = zip(found, values.values).enumerated().count { place, pair in
      !(abs(pair.0 - pair.1) <= codes.grids[codes.group(place / 192, place % 192)].scale)
    }
    #expect(strays == 0)
  }
}
