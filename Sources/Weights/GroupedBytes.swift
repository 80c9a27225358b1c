import Autodiff
import CKernels

/// The bytes of grouped codes: ``GroupLayout`` says how they lie.
enum GroupedBytes {
  /// Writes the 32 codes at `codes` to the `4 × bits` bytes at `out`.
  static func store(_ codes: UnsafePointer<UInt8>, _ layout: GroupLayout, at out: UnsafeMutableRawPointer) {
    switch layout.bits {
    case 1: storePlane(codes, bit: 0, at: out)
    case 2: storePairs(codes, at: out)
    case 3:
      storePairs(codes, at: out)
      storePlane(codes, bit: 2, at: out + 8)
    case 4: for i in 0..<16 { out.storeByte(codes[i] | codes[i + 16] << 4, at: i) }
    default: for i in 0..<32 { out.storeByte(codes[i] ^ layout.flippedBit, at: i) }
    }
  }

  /// Reads them back.
  static func load(_ bytes: UnsafeRawPointer, _ layout: GroupLayout, into codes: UnsafeMutablePointer<UInt8>) {
    func byte(_ i: Int) -> UInt8 { bytes.load(fromByteOffset: i, as: UInt8.self) }
    for i in 0..<32 {
      switch layout.bits {
      case 1: codes[i] = byte(i / 8) >> UInt8(i % 8) & 1
      case 2: codes[i] = byte(i % 8) >> UInt8(2 * (i / 8)) & 3
      case 3: codes[i] = byte(i % 8) >> UInt8(2 * (i / 8)) & 3 | (byte(8 + i / 8) >> UInt8(i % 8) & 1) << 2
      case 4: codes[i] = i < 16 ? byte(i) & 15 : byte(i - 16) >> 4
      default: codes[i] = byte(i) ^ layout.flippedBit
      }
    }
  }

  private static func storePairs(_ codes: UnsafePointer<UInt8>, at out: UnsafeMutableRawPointer) {
    for i in 0..<8 {
      out.storeByte((0..<4).reduce(UInt8(0)) { $0 | (codes[8 * $1 + i] & 3) << UInt8(2 * $1) }, at: i)
    }
  }

  private static func storePlane(_ codes: UnsafePointer<UInt8>, bit: UInt8, at out: UnsafeMutableRawPointer) {
    for part in 0..<4 {
      out.storeByte((0..<8).reduce(UInt8(0)) { $0 | (codes[8 * part + $1] >> bit & 1) << UInt8($1) }, at: part)
    }
  }

  /// Packs one row whose groups lie along it.
  static func pack(
    _ row: UnsafePointer<Float>, _ columns: Int, _ layout: GroupLayout, _ out: UnsafeMutableRawPointer
  ) {
    let length = layout.groupLength(columns)
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: columns) { codes in
      guard let base = codes.baseAddress else { return }
      for group in 0..<columns / length {
        let grid = GroupGrid(fitting: row + group * length, count: length, clip: .none, layout)
        for i in group * length..<(group + 1) * length { base[i] = grid.code(row[i]) }
        let (scale, zero) = places(group, layout, columns: columns, rowBytes: 0)
        store(grid, layout, scaleAt: out + scale, zeroAt: out + zero)
      }
      for run in 0..<columns / 32 { store(base + 32 * run, layout, at: out + 4 * layout.bits * run) }
    }
  }

  /// Writes a group's scale and what stands for its zero.
  static func store(
    _ grid: GroupGrid, _ layout: GroupLayout, scaleAt scale: UnsafeMutableRawPointer,
    zeroAt zero: UnsafeMutableRawPointer
  ) {
    layout.scale.store(grid.scale, at: scale)
    switch layout.zero {
    case .symmetric: break
    case .code: zero.storeByte(UInt8(grid.zero), at: 0)
    case .offset: layout.scale.store(grid.zero, at: zero)
    }
  }

  /// Reads it back.
  static func loadGrid(
    _ layout: GroupLayout, scaleAt scale: UnsafeRawPointer, zeroAt zero: UnsafeRawPointer
  )
    -> GroupGrid
  {
    let stored: Float =
      switch layout.zero {
      case .symmetric: 0
      case .code: Float(zero.load(as: UInt8.self))
      case .offset: layout.scale.load(zero)
      }
    return GroupGrid(scale: layout.scale.load(scale), zero: stored, layout)
  }

  /// Where a group's scale and zero lie among the bytes of a matrix.
  static func places(
    _ group: Int, _ layout: GroupLayout, columns: Int, rowBytes: Int
  ) -> (scale: Int, zero: Int) {
    if layout.axis == .output {
      let start = group / columns * columns * layout.recordBytes, column = group % columns
      let zeros = start + columns * layout.scale.bytes
      return (start + column * layout.scale.bytes, zeros + column * (layout.recordBytes - layout.scale.bytes))
    }
    let perRow = columns / layout.groupLength(columns)
    let scale =
      group / perRow * rowBytes + columns / 8 * layout.bits + group % perRow * layout.recordBytes
    return (scale, scale + layout.scale.bytes)
  }
}

extension GroupLayout {
  /// Symmetric codes of eight bits are stored as signed bytes.
  fileprivate var flippedBit: UInt8 { isSignedByte ? 0x80 : 0 }

  var isSignedByte: Bool { element == .integer(bits: 8) && zero == .symmetric }

  /// Bytes before all rows.
  func sharedBytes(rows: Int, columns: Int) -> Int {
    axis == .output ? rows / group * columns * recordBytes : 0
  }

  /// Bytes of one row.
  func rowBytes(_ columns: Int) -> Int {
    columns / 8 * bits + (axis == .output ? 0 : columns / groupLength(columns) * recordBytes)
  }
}

extension GroupedCodes {
  /// Laid out as bytes, each row in natural order. `columnOrder`, where there is one, says which input each column reads.
  public func packed(columnOrder: [Int32]? = nil) throws -> FrozenWeight {
    let rowBytes = layout.rowBytes(columns), shared = layout.sharedBytes(rows: rows, columns: columns)
    let packed = PackedBytes(count: shared + rows * rowBytes)
    packed.bytes.initializeMemory(as: UInt8.self, repeating: 0)
    codes.withUnsafeBufferPointer { codes in
      guard let base = codes.baseAddress else { return }
      for row in 0..<rows {
        for run in 0..<columns / 32 {
          GroupedBytes.store(
            base + row * columns + 32 * run, layout,
            at: packed.start + shared + row * rowBytes + 4 * layout.bits * run)
        }
      }
    }
    for (group, grid) in grids.enumerated() {
      let (scale, zero) = GroupedBytes.places(group, layout, columns: columns, rowBytes: rowBytes)
      GroupedBytes.store(grid, layout, scaleAt: packed.start + scale, zeroAt: packed.start + zero)
    }
    return try packed.withStart { start in
      try FrozenWeight(
        bytes: UnsafeRawBufferPointer(start: start, count: packed.count), owner: packed, packing: layout.packing,
        rows: rows, columns: columns, columnOrder: columnOrder, path: "memory", place: "a packed matrix")
    }
  }

  /// The codes of a matrix packed so.
  package init(_ weight: FrozenWeight, _ layout: GroupLayout) throws {
    try self.init(layout, rows: weight.rows, columns: weight.columns)
    let (rows, columns) = (rows, columns), rowBytes = layout.rowBytes(columns)
    let shared = layout.sharedBytes(rows: rows, columns: columns)
    weight.withBytes { bytes in
      guard let base = bytes.baseAddress else { return }
      codes.withUnsafeMutableBufferPointer { codes in
        guard let place = codes.baseAddress else { return }
        for row in 0..<rows {
          for run in 0..<columns / 32 {
            GroupedBytes.load(
              base + shared + row * rowBytes + 4 * layout.bits * run, layout,
              into: place + row * columns + 32 * run)
          }
        }
      }
      for group in grids.indices {
        let (scale, zero) = GroupedBytes.places(group, layout, columns: columns, rowBytes: rowBytes)
        grids[group] = GroupedBytes.loadGrid(layout, scaleAt: base + scale, zeroAt: base + zero)
      }
    }
  }

  /// Other values `[rows, columns]` in the same layout.
  ///
  /// Groups whose values did not change keep codes and scale. Any other takes what loses least of: its grid with other
  /// codes, a fresh grid, and, where all values moved by one number, its codes with another offset.
  mutating func round(_ values: Tensor) {
    let layout = layout
    values.withValues { values in
      forEachGroup { group, first, stride, count, codes, grids in
        guard let base = values.baseAddress else { return }
        let old = grids[group]
        guard (0..<count).contains(where: { old.value(codes[first + $0 * stride]) != base[first + $0 * stride] }) else {
          return
        }
        func loss(_ value: (Int) -> Float) -> Float {
          var sum: Float = 0
          for i in 0..<count {
            let distance = value(i) - base[first + i * stride]
            sum += distance * distance
          }
          return sum
        }
        let fitted = GroupGrid(fitting: base + first, count: count, stride: stride, clip: .none, layout)
        let afresh = loss { fitted.rounded(base[first + $0 * stride]) }
        let onGrid = loss { old.rounded(base[first + $0 * stride]) }
        if layout.zero == .offset {
          var moved = 0.0
          for i in 0..<count { moved += Double(base[first + i * stride] - old.value(codes[first + i * stride])) }
          let shifted = GroupGrid(scale: old.scale, zero: old.zero + Float(moved / Double(count)), layout)
          if loss({ shifted.value(codes[first + $0 * stride]) }) <= min(afresh, onGrid) {
            grids[group] = shifted
            return
          }
        }
        if afresh < onGrid { grids[group] = fitted }
        for i in 0..<count { codes[first + i * stride] = grids[group].code(base[first + i * stride]) }
      }
    }
  }
}
