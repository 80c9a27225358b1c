/// Where the elements of an array lie among others: the elements between neighbours along each axis.
struct StridedLayout {
  /// Outermost dimension first.
  let shape: [Int]
  /// In elements, one an axis, none negative.
  let strides: [Int]

  /// The strides of an array that lies whole and row after row.
  static func rowMajor(_ shape: [Int]) -> [Int] {
    var strides = [Int](repeating: 1, count: shape.count)
    for axis in shape.indices.dropLast().reversed() { strides[axis] = strides[axis + 1] * max(shape[axis + 1], 1) }
    return strides
  }

  /// The number of elements, which must be known not to overflow.
  var count: Int { shape.reduce(1, *) }

  /// Whether the elements already lie row after row without gap.
  var isRowMajor: Bool {
    zip(shape, zip(strides, Self.rowMajor(shape))).allSatisfy { $0 <= 1 || $1.0 == $1.1 } || count == 0
  }

  /// How far the last element lies behind the first; nil when it is too far to address, or a stride is negative.
  var span: Int? {
    guard !shape.contains(0) else { return 0 }
    var span = 0
    for (size, stride) in zip(shape, strides) {
      let (distance, overflow) = stride.multipliedReportingOverflow(by: size - 1)
      let (sum, further) = span.addingReportingOverflow(distance)
      guard stride >= 0, !overflow, !further else { return nil }
      span = sum
    }
    return span
  }

  /// The elements of `bytes`, of `size` bytes each and the first at its start, row after row.
  func gathered(_ bytes: UnsafeRawBufferPointer, size: Int) -> [UInt8] {
    switch size {
    case 8: gathered(bytes, as: UInt64.self)
    case 4: gathered(bytes, as: UInt32.self)
    case 2: gathered(bytes, as: UInt16.self)
    default: gathered(bytes, as: UInt8.self)
    }
  }

  private func gathered<Unit: FixedWidthInteger & BitwiseCopyable>(
    _ bytes: UnsafeRawBufferPointer, as unit: Unit.Type
  ) -> [UInt8] {
    let count = count, size = MemoryLayout<Unit>.size
    guard count > 0 else { return [] }
    // A scalar is a row of one element.
    let inner = shape.last ?? 1, step = strides.last ?? 1, outer = shape.dropLast()
    var index = [Int](repeating: 0, count: outer.count)
    return [UInt8](unsafeUninitializedCapacity: count * size) { buffer, initialised in
      let target = UnsafeMutableRawBufferPointer(buffer)
      var start = 0, written = 0
      while written < count {
        for column in 0..<inner {
          let value = bytes.loadUnaligned(fromByteOffset: (start + column * step) * size, as: unit)
          target.storeBytes(of: value, toByteOffset: written * size, as: unit)
          written += 1
        }
        for axis in outer.indices.reversed() {
          index[axis] += 1
          start += strides[axis]
          guard index[axis] == shape[axis] else { break }
          start -= strides[axis] * index[axis]
          index[axis] = 0
        }
      }
      initialised = count * size
    }
  }
}
