import Autodiff
import CKernels
import Testing

@testable import Weights

/// Layouts of every element, axis, number and zero.
private let layouts: [GroupLayout] = {
  var found: [GroupLayout] = []
  for element in [1, 2, 3, 4, 8].map({ GroupLayout.Element.integer(bits: $0) }) {
    for zero in GroupLayout.Zero.allCases {
      for scale in [GroupLayout.Number.single, .half, .brain] {
        found.append(GroupLayout(element, group: 64, scale: scale, zero: zero))
        found.append(GroupLayout(element, group: 32, axis: .output, scale: scale, zero: zero))
      }
    }
    found.append(GroupLayout(element, group: 0, scale: .power, zero: .symmetric))
  }
  for element in GroupLayout.Levels.allCases.map({ GroupLayout.Element.levels($0) }) {
    found.append(GroupLayout(element, group: 32, scale: .power))
    found.append(GroupLayout(element, group: 64))
    found.append(GroupLayout(element, group: 64, axis: .output, scale: .half))
    found.append(GroupLayout(element, group: 0))
  }
  return found
}()

struct GroupLayoutTests {
  private let values = Tensor(
    {
      var noise = Noise(seed: 5)
      return noise.normals(64 * 192, scale: 0.1)
    }(), shape: [64, 192])

  @Test(arguments: layouts)
  func `A layout's name means that layout`(_ layout: GroupLayout) throws {
    #expect(GroupLayout(name: layout.name) == layout)
    #expect(try Packing(parsing: layout.name) == layout.packing)
    #expect(layout.packing.name == layout.name && layout.packing.layout == layout)
  }

  @Test(arguments: layouts)
  func `The kernels unpack to what the codes and their grids say, bit for bit`(_ layout: GroupLayout) throws {
    let codes = try GroupedCodes(rounding: values, to: layout)
    let weight = try codes.packed()
    #expect(bitPatterns(weight.unpacked().values) == bitPatterns(codes.unpacked().values))
    #expect(weight.byteCount == layout.sharedBytes(rows: 64, columns: 192) + 64 * layout.rowBytes(192))
    let again = try GroupedCodes(weight, layout)
    #expect(again.codes == codes.codes && bitPatterns(again.unpacked().values) == bitPatterns(codes.unpacked().values))
    var portable = [Float](repeating: 0, count: 64 * 192)
    weight.withBytes { bytes in
      let shared = layout.sharedBytes(rows: 64, columns: 192)
      guard let base = bytes.baseAddress, weight.packing.kernel == GRAFT_GROUPED else {
        portable = codes.unpacked().values
        return
      }
      var rows = graft_rows(
        weight.packing, columns: 192, rowBytes: layout.rowBytes(192), first: base + shared, shared: base)
      graft_portable_unpack(&rows, 64, &portable)
    }
    #expect(bitPatterns(portable) == bitPatterns(codes.unpacked().values))
  }

  @Test(arguments: layouts)
  func `A product with packed codes is the product with what they stand for`(_ layout: GroupLayout) throws {
    let weight = try FrozenWeight(values, packing: layout.packing)
    var noise = Noise(seed: 9)
    let x = noise.normals(192)
    var y = [Float](repeating: 0, count: 64)
    weight.multiply(rows: 3..<61, by: x, into: &y)
    let whole = weight.unpacked().values
    for row in 3..<61 {
      var sum = 0.0, size = 0.0
      for column in 0..<192 {
        let term = Double(whole[row * 192 + column]) * Double(x[column])
        sum += term
        size += abs(term)
      }
      #expect(abs(Double(y[row - 3]) - sum) <= 3e-6 * size)
    }
  }

  @Test(arguments: layouts)
  func `Every value lies within its grid's reach of what it is rounded to`(_ layout: GroupLayout) throws {
    let codes = try GroupedCodes(rounding: values, to: layout)
    let found = codes.unpacked().values, wanted = values.values
    var strays = 0
    for row in 0..<64 {
      for column in 0..<192 {
        let grid = codes.grids[codes.group(row, column)], value = wanted[row * 192 + column]
        var nearest = Float.infinity
        for code in (layout.isBlockFloat ? 1 : 0)...layout.largestCode {
          nearest = min(nearest, abs(grid.value(UInt8(code)) - value))
        }
        if !(abs(found[row * 192 + column] - value) <= nearest * 1.0001 + 1e-9) { strays += 1 }
      }
    }
    #expect(strays == 0)
  }

  @Test(arguments: layouts)
  func `Values that did not change keep their bytes, and a change touches its own group`(_ layout: GroupLayout) throws {
    let weight = try FrozenWeight(values, packing: layout.packing)
    let before = weight.unpacked()
    #expect(try weight.repacked(before).withBytes { Array($0) } == weight.withBytes { Array($0) })
    let old = before.values
    var changed = old, strays = 0
    // So far that new scales are nearer than the old ones.
    changed[5 * 192 + 70] -= 8
    let after = try weight.repacked(Tensor(changed, shape: before.shape)).unpacked().values
    for row in 0..<64 {
      for column in 0..<192 where layout.group(row, column, of: 192) != layout.group(5, 70, of: 192) {
        if after[row * 192 + column] != old[row * 192 + column] { strays += 1 }
      }
    }
    #expect(strays == 0 && after != old)
  }

  @Test(arguments: layouts)
  func `A matrix of zeros stays zero`(_ layout: GroupLayout) throws {
    let weight = try FrozenWeight(.zeros([64, 64]), packing: layout.packing)
    #expect(weight.unpacked().values.allSatisfy { $0 == 0 })
  }

  @Test func `A search for the range never makes the error larger`() throws {
    for layout in layouts {
      func error(_ clip: GroupClip) throws -> Double {
        let found = try GroupedCodes(rounding: values, to: layout, clip: clip).unpacked().values
        var sum = 0.0
        for (a, b) in zip(found, values.values) { sum += Double(a - b) * Double(a - b) }
        return sum
      }
      #expect(try error(.search(steps: 40)) <= error(.none) * 1.000001, "\(layout.name)")
    }
  }

  /// The published vectors: round to nearest with zero forced into the range, 32 values.
  @Test(arguments: [
    (
      4, Float(0.10416666), Float(8),
      [0, 6, 12, 2, 8, 13, 4, 9, 15, 5, 11, 1, 6, 12, 2, 8, 14, 4, 10, 15, 5, 11, 1, 7, 12, 3, 8, 14, 4, 10, 15, 6]
    ),
    (
      3, 0.22321428, 4,
      [0, 3, 6, 1, 4, 6, 2, 4, 7, 3, 5, 1, 3, 6, 1, 4, 7, 2, 5, 7, 3, 5, 1, 4, 6, 2, 4, 7, 2, 5, 7, 3]
    ),
    (
      2, 0.5208333, 2, [0, 2, 3, 1, 2, 3, 1, 2, 3, 1, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 2]
    ),
  ])
  func `Rounding to nearest gives the published codes`(
    _ bits: Int, _ scale: Float, _ zero: Float, _ wanted: [UInt8]
  ) throws {
    let layout = GroupLayout(.integer(bits: bits), group: 32, scale: .single, zero: .code)
    let codes = try GroupedCodes(rounding: Tensor(vectorInput(32), shape: [1, 32]), to: layout)
    #expect(codes.codes == wanted)
    #expect(abs(codes.grids[0].scale - scale) < 1e-7 && codes.grids[0].zero == zero)
  }

  /// OCP's MXFP4: exponent 0x7C, and codes as published, two a byte, the even one low.
  @Test func `A power-of-two scale and a 4-bit float are MXFP4`() throws {
    let layout = GroupLayout(.levels(.e2m1), group: 32, scale: .power)
    let codes = try GroupedCodes(rounding: Tensor(vectorInput(32), shape: [1, 32]), to: layout)
    let pairs: [UInt8] = (0..<16).map { codes.codes[2 * $0] | codes.codes[2 * $0 + 1] << 4 }
    let bytes = pairs.map { (pair: UInt8) in String(pair >> 4, radix: 16) + String(pair & 15, radix: 16) }.joined()
    #expect(bytes == "bfe5692ec7f45a0ed6724cafe6613dc7")
    #expect(codes.grids[0].scale == 0.125)
  }

  @Test(arguments: [
    ("int4-g48", "a group is a multiple of 32, such as 64"),
    ("int4-row-out", "a row is no group along the output"),
    ("nf4-g64-zero", "levels lie around zero"), ("int4-g64-e8", "an offset is no power of two"),
    ("int5-g64", "unknown packing"), ("int4-g0", "unknown packing"), ("int4-g-64", "unknown packing"),
    ("int4-g99999999999999999999", "unknown packing"), ("int4-64", "unknown packing"),
    ("int4-g64-xx", "unknown packing"),
  ])
  func `A layout no kernel takes is refused with a reason`(_ name: String, _ reason: String) {
    let error = #expect(throws: PackingError.self) { try Packing(parsing: name) }
    #expect(error?.description.contains(reason) == true, "\(error?.description ?? "")")
  }

  @Test(arguments: [
    (GroupLayout(.integer(bits: 4), group: 128), "a row has 192 columns, and 128 share a scale"),
    (GroupLayout(.integer(bits: 4), group: 96, axis: .output), "the matrix has 64 rows, and 96 share a scale"),
  ])
  func `Groups that do not divide are refused`(_ layout: GroupLayout, _ reason: String) {
    let error = #expect(throws: PackingError.self) { try FrozenWeight(values, packing: layout.packing) }
    #expect(error?.description.contains(reason) == true, "\(error?.description ?? "")")
  }

  @Test func `What is not a number is refused with its place`() {
    var numbers = values.values
    numbers[2 * 192 + 7] = .nan
    for layout in [layouts[0], layouts[1]] {
      let error = #expect(throws: PackingError.self) {
        try FrozenWeight(Tensor(numbers, shape: [64, 192]), packing: .grouped(layout))
      }
      #expect(error?.description.contains("row 2: column 7 is nan") == true)
    }
  }

  @Test func `Columns stored in another order read the inputs they belong to`() throws {
    let order = (0..<192).map { Int32($0 * 5 % 192) }
    let layout = GroupLayout(.integer(bits: 4), group: 64)
    let stored = try GroupedCodes(rounding: values.transposed.gathered(order).transposed, to: layout)
    let weight = try stored.packed(columnOrder: order)
    let whole = weight.unpacked(), plain = stored.unpacked()
    var strays = 0
    for (place, column) in order.enumerated() {
      for row in 0..<64 where whole.values[row * 192 + Int(column)] != plain.values[row * 192 + place] { strays += 1 }
    }
    #expect(strays == 0)
    var noise = Noise(seed: 3)
    let x = noise.normals(192)
    var y = [Float](repeating: 0, count: 64)
    weight.multiply(rows: 0..<64, by: x, into: &y)
    let wanted = matmul(Tensor(x, shape: [1, 192]), whole, transposingB: true).values
    #expect(zip(y, wanted).allSatisfy { abs($0 - $1) < 1e-5 })
    #expect(try weight.repacked(whole).withBytes { Array($0) } == weight.withBytes { Array($0) })
  }
}

extension GroupLayout: CustomTestStringConvertible {
  /// The name by which a failed test tells its layout.
  public var testDescription: String { name }
}
