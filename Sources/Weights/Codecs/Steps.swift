import CKernels

/// Rounding to the steps that a packed row has already: other codes, the same scales.
enum Steps {
  /// Gives the packed row at `bytes` the codes nearest to `values`; blocks of scale 0 stay as they are.
  static func round(
    _ values: UnsafePointer<Float>, _ columns: Int, _ packing: Packing, on bytes: UnsafeMutableRawPointer
  ) {
    switch packing {
    case .q4_0: nibbles(values, columns, bytes, 18, codesAt: 2) { block in (block.half(at: 0), -8 * block.half(at: 0)) }
    case .q4_1: nibbles(values, columns, bytes, 20, codesAt: 4) { block in (block.half(at: 0), block.half(at: 2)) }
    case .q8_0:
      for block in 0..<columns / 32 {
        let place = bytes + 34 * block, scale = place.half(at: 0)
        guard scale != 0 else { continue }
        for i in 0..<32 {
          place.storeByte(UInt8(truncatingIfNeeded: nearest(values[32 * block + i] / scale, -127, 127)), at: 2 + i)
        }
      }
    case .int4(let group):
      for number in 0..<columns / group {
        let (scale, offset) = range(bytes, columns / 2 + 4 * number)
        guard scale != 0 else { continue }
        for run in 0..<group / 32 {
          pairs(values + number * group + 32 * run, scale, offset, bytes + (number * group + 32 * run) / 2)
        }
      }
    case .int2(let group):
      for number in 0..<columns / group {
        let (scale, offset) = range(bytes, columns / 4 + 4 * number)
        guard scale != 0 else { continue }
        for start in stride(from: number * group, to: (number + 1) * group, by: 32) {
          for i in 0..<8 {
            let byte = (0..<4).reduce(Int32(0)) { byte, part in
              byte | nearest((values[start + 8 * part + i] - offset) / scale, 0, 3) << Int32(2 * part)
            }
            bytes.storeByte(UInt8(truncatingIfNeeded: byte), at: start / 4 + i)
          }
        }
      }
    case .int8(let group):
      for number in 0..<columns / group {
        let scale = UnsafeRawPointer(bytes + columns + 4 * number).loadUnaligned(as: Float.self)
        guard scale != 0 else { continue }
        for i in number * group..<(number + 1) * group {
          bytes.storeByte(UInt8(truncatingIfNeeded: nearest(values[i] / scale, -127, 127)), at: i)
        }
      }
    case .nf4(doubleQuantised: false): NormalFloat.round(values, columns, on: bytes)
    default: return
    }
  }

  private static func nibbles(
    _ values: UnsafePointer<Float>, _ columns: Int, _ bytes: UnsafeMutableRawPointer, _ size: Int, codesAt: Int,
    _ grid: (UnsafeRawPointer) -> (scale: Float, offset: Float)
  ) {
    for block in 0..<columns / 32 {
      let place = bytes + size * block, (scale, offset) = grid(place)
      if scale != 0 { pairs(values + 32 * block, scale, offset, place + codesAt) }
    }
  }

  /// 32 codes of four bits, the first sixteen in low nibbles.
  private static func pairs(
    _ values: UnsafePointer<Float>, _ scale: Float, _ offset: Float, _ out: UnsafeMutableRawPointer
  ) {
    for i in 0..<16 {
      let low = nearest((values[i] - offset) / scale, 0, 15), high = nearest((values[i + 16] - offset) / scale, 0, 15)
      out.storeByte(UInt8(truncatingIfNeeded: low | high << 4), at: i)
    }
  }

  private static func range(_ bytes: UnsafeMutableRawPointer, _ place: Int) -> (scale: Float, offset: Float) {
    func brain(_ place: Int) -> Float {
      graft_bf16_value(UInt16(littleEndian: UnsafeRawPointer(bytes + place).loadUnaligned(as: UInt16.self)))
    }
    return (brain(place), brain(place + 2))
  }
}

extension UnsafeRawPointer {
  fileprivate func half(at place: Int) -> Float {
    graft_f16_value(UInt16(littleEndian: (self + place).loadUnaligned(as: UInt16.self)))
  }
}

extension UnsafeMutableRawPointer {
  fileprivate func half(at place: Int) -> Float { UnsafeRawPointer(self).half(at: place) }
}

extension Packing {
  /// Whether ``Steps`` knows its codes.
  var hasSteps: Bool {
    switch self {
    case .q4_0, .q4_1, .q8_0, .int2, .int4, .int8, .nf4(doubleQuantised: false): true
    default: false
    }
  }
}
