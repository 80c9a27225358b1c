import Foundation
import Testing

@testable import Weights

/// Every packing, with groups of more than one size.
let everyPacking: [Packing] = [.float32, .float16, .bfloat16, .partlyBinary(salient: 10)] + blockPackings + ownPackings

/// The packings in blocks that GGUF files hold.
let blockPackings: [Packing] = [
  .q4_0, .q4_1, .q5_0, .q5_1, .q8_0, .q4_K, .q5_K, .q6_K, .q1_0, .q2_0, .q2_K, .q3_K, .iq4_nl, .iq4_xs, .mxfp4, .nvfp4,
]

/// The packings laid out by this library.
let ownPackings: [Packing] = [
  .int2(group: 32), .int2(group: 64), .int2(group: 128), .int4(group: 32), .int4(group: 64), .int4(group: 256),
  .int8(group: 32), .int8(group: 128),
  .nf4(doubleQuantised: false), .nf4(doubleQuantised: true),
]

extension Packing: CustomTestStringConvertible {
  /// The name by which a failed test tells its packing.
  public var testDescription: String { name }
}

/// Numbers from a small linear congruential generator, so that tests read the same everywhere.
struct Noise {
  private var state: UInt64

  init(seed: UInt64) { state = seed &* 2_862_933_555_777_941_757 &+ 3_037_000_493 }

  mutating func bits() -> UInt32 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return UInt32(truncatingIfNeeded: state >> 32)
  }

  /// About normal: twelve uniform numbers less six.
  mutating func normal() -> Float {
    (0..<12).reduce(Float(-6)) { sum, _ in sum + Float(bits() >> 8) * 0x1p-24 }
  }

  mutating func normals(_ count: Int, scale: Float = 1) -> [Float] {
    (0..<count).map { _ in scale * normal() }
  }
}

/// x_i = (((37 i) mod 101) − 50) / 64: the values the published byte vectors were made of.
func vectorInput(_ count: Int) -> [Float] { (0..<count).map { Float($0 * 37 % 101 - 50) / 64 } }

func packed(_ values: [Float], rows: Int, _ packing: Packing) throws -> [UInt8] {
  let columns = values.count / rows
  var bytes = [UInt8](repeating: 0xA5, count: try packing.bytes(rows: rows, columns: columns))
  try bytes.withUnsafeMutableBytes {
    try PackedCodec.pack(
      rows: values, rowCount: rows, columns: columns, packing: packing, into: $0.baseAddress!)
  }
  return bytes
}

func unpacked(_ bytes: [UInt8], rows: Int, columns: Int, _ packing: Packing) -> [Float] {
  [Float](unsafeUninitializedCapacity: rows * columns) { place, count in
    bytes.withUnsafeBytes {
      PackedCodec.unpack(
        $0.baseAddress!, rowCount: rows, columns: columns, packing: packing, into: place.baseAddress!)
    }
    count = rows * columns
  }
}

func repacked(_ values: [Float], over bytes: [UInt8], rows: Int, _ packing: Packing) throws -> [UInt8] {
  var result = [UInt8](repeating: 0x5A, count: bytes.count)
  try result.withUnsafeMutableBytes { result in
    try bytes.withUnsafeBytes {
      try PackedCodec.repack(
        original: $0.baseAddress!, values: values, rowCount: rows, columns: values.count / rows, packing: packing,
        into: result.baseAddress!)
    }
  }
  return result
}

/// A fixture in `Tests/Fixtures/blocks`, made by the `make.py` beside it.
func blockFixture(_ name: String) throws -> [UInt8] {
  let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  return [UInt8](try Data(contentsOf: folder.appendingPathComponent("Fixtures/blocks/\(name)")))
}

func floats(_ bytes: ArraySlice<UInt8>) -> [Float] {
  Array(bytes).withUnsafeBytes { raw in
    (0..<raw.count / 4).map { raw.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
  }
}

func bitPatterns(_ values: [Float]) -> [UInt32] { values.map(\.bitPattern) }
