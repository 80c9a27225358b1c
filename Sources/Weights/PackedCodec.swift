import CKernels

/// Packs, unpacks and multiplies rows at plain addresses.
///
/// Rows lie one after another, `bytesPerRow(columns:)` apart; the addresses need no alignment. Callers share work
/// among threads by ranges of rows: rows never depend on one another.
package enum PackedCodec {
  /// Packs `rowCount` rows of floats, `[rowCount, columns]`.
  ///
  /// - Parameter firstRow: the number errors give the first of these rows.
  /// - Throws: naming the row, when a value is not finite or too large for the packing's scales.
  package static func pack(
    rows: UnsafePointer<Float>, rowCount: Int, columns: Int, packing: Packing, into bytes: UnsafeMutableRawPointer,
    firstRow: Int = 0
  ) throws {
    _ = try packing.bytes(rows: rowCount, columns: columns)
    guard packing.layout?.axis != .output else {
      throw PackingError(packing.name, "groups along the output are not rows' own", remedy: "pack the whole matrix")
    }
    let rowBytes = packing.rowBytes(columns)
    for row in 0..<rowCount {
      let values = rows + row * columns
      try check(values, columns, packing, row: firstRow + row)
      packRow(values, columns, packing, into: bytes + row * rowBytes)
    }
  }

  /// Unpacks `rowCount` rows into `[rowCount, columns]` floats.
  ///
  /// - Precondition: `bytesPerRow(columns:)` accepts the columns.
  package static func unpack(
    _ bytes: UnsafeRawPointer, rowCount: Int, columns: Int, packing: Packing, into rows: UnsafeMutablePointer<Float>
  ) {
    var packed = packedRows(bytes, columns, packing)
    graft_unpack(&packed, rowCount, rows)
  }

  /// y = W x: `x` is `[columns]`, `y` is `[rowCount]`.
  ///
  /// Each element's bits depend on its row and `x` alone.
  ///
  /// - Precondition: `bytesPerRow(columns:)` accepts the columns.
  package static func multiply(
    _ bytes: UnsafeRawPointer, rowCount: Int, columns: Int, packing: Packing, by x: UnsafePointer<Float>,
    into y: UnsafeMutablePointer<Float>
  ) {
    var packed = packedRows(bytes, columns, packing)
    graft_gemv(&packed, rowCount, x, y)
  }

  /// Packs changed values over an original, block by block.
  ///
  /// A block whose values all equal what the original's block unpacks to keeps the original's bytes, also where quantising
  /// what was unpacked would give others. Any other is quantised afresh, or keeps its scales, whichever is nearer to what
  /// is asked: a change far below a step of the packing must not cost a block the noise of new scales. In a doubly
  /// quantised row, whose blocks share their offset, the block is the whole row.
  ///
  /// - Throws: as for `pack`.
  package static func repack(
    original: UnsafeRawPointer, values: UnsafePointer<Float>, rowCount: Int, columns: Int, packing: Packing,
    into bytes: UnsafeMutableRawPointer, firstRow: Int = 0
  ) throws {
    _ = try packing.bytes(rows: rowCount, columns: columns)
    guard columns > 0 else { return }
    let rowBytes = packing.rowBytes(columns)
    let isWhole = packing.blockSize == 1 || packing == .nf4(doubleQuantised: true) || packing.isPartlyBinary
    let width = isWhole ? columns : packing.blockSize
    try withUnsafeTemporaryAllocation(of: Float.self, capacity: columns) { row in
      try withUnsafeTemporaryAllocation(byteCount: rowBytes, alignment: 16) { scratch in
        guard let unpacked = row.baseAddress, let kept = scratch.baseAddress else { return }
        for row in 0..<rowCount {
          let old = original + row * rowBytes, new = values + row * columns, out = bytes + row * rowBytes
          try pack(rows: new, rowCount: 1, columns: columns, packing: packing, into: out, firstRow: firstRow + row)
          unpack(out, rowCount: 1, columns: columns, packing: packing, into: unpacked)
          let afresh = distances(unpacked, new, columns, width)
          kept.copyMemory(from: old, byteCount: rowBytes)
          unpack(old, rowCount: 1, columns: columns, packing: packing, into: unpacked)
          let isSame = (0..<columns / width).map { areEqual(unpacked + $0 * width, new + $0 * width, width) }
          if isSame.contains(false), packing.hasSteps {
            Steps.round(new, columns, packing, on: kept)
            unpack(kept, rowCount: 1, columns: columns, packing: packing, into: unpacked)
          }
          let onGrid = distances(unpacked, new, columns, width)
          for block in isSame.indices where isSame[block] || onGrid[block] <= afresh[block] {
            let source = isSame[block] ? old : UnsafeRawPointer(kept)
            if width == columns {
              out.copyMemory(from: source, byteCount: rowBytes)
            } else {
              keepBlock(block, of: source, columns, packing, in: out)
            }
          }
        }
      }
    }
  }

  /// The squared distance of each block.
  private static func distances(
    _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ columns: Int, _ width: Int
  ) -> [Float] {
    (0..<columns / width).map { block in
      var sum: Float = 0
      for i in block * width..<(block + 1) * width { sum += (a[i] - b[i]) * (a[i] - b[i]) }
      return sum
    }
  }

  private static func packedRows(_ bytes: UnsafeRawPointer, _ columns: Int, _ packing: Packing) -> graft_rows {
    graft_rows(packing, columns: columns, rowBytes: packing.rowBytes(columns), first: bytes)
  }

  private static func check(_ values: UnsafePointer<Float>, _ columns: Int, _ packing: Packing, row: Int) throws {
    let limit = packing.largestMagnitude.bitPattern
    var largest: UInt32 = 0
    for i in 0..<columns { largest = max(largest, values[i].bitPattern & 0x7fff_ffff) }
    guard largest > limit else { return }
    for i in 0..<columns where values[i].bitPattern & 0x7fff_ffff > limit {
      let remedy =
        values[i].isFinite
        ? "it holds magnitudes up to \(packing.largestMagnitude)" : "only finite values can be packed"
      throw PackingError(packing.name, row: row, "column \(i) is \(values[i])", remedy: remedy)
    }
  }

  private static func packRow(
    _ row: UnsafePointer<Float>, _ columns: Int, _ packing: Packing, into out: UnsafeMutableRawPointer
  ) {
    switch packing {
    case .float32: out.copyMemory(from: row, byteCount: 4 * columns)
    case .float16, .bfloat16: packHalves(row, columns, packing, into: out)
    case .q4_0: eachBlock(row, columns, 32, out, 18) { SimpleBlocks.packQ4_0($0, $1) }
    case .q4_1: eachBlock(row, columns, 32, out, 20) { SimpleBlocks.packQ4_1($0, $1) }
    case .q5_0: eachBlock(row, columns, 32, out, 22) { SimpleBlocks.packQ5_0($0, $1) }
    case .q5_1: eachBlock(row, columns, 32, out, 24) { SimpleBlocks.packQ5_1($0, $1) }
    case .q8_0: eachBlock(row, columns, 32, out, 34) { SimpleBlocks.packQ8_0($0, $1) }
    case .q4_K: eachBlock(row, columns, 256, out, 144) { SuperBlocks.packQ4_K($0, $1) }
    case .q5_K: eachBlock(row, columns, 256, out, 176) { SuperBlocks.packQ5_K($0, $1) }
    case .q6_K: eachBlock(row, columns, 256, out, 210) { SuperBlocks.packQ6_K($0, $1) }
    case .q1_0: eachBlock(row, columns, 128, out, 18) { FewBits.packQ1_0($0, $1) }
    case .q2_0: eachBlock(row, columns, 64, out, 18) { FewBits.packQ2_0($0, $1) }
    case .q2_K: eachBlock(row, columns, 256, out, 84) { SuperBlocks.packQ2_K($0, $1) }
    case .q3_K: eachBlock(row, columns, 256, out, 110) { SuperBlocks.packQ3_K($0, $1) }
    case .iq4_nl: eachBlock(row, columns, 32, out, 18) { LevelBlocks.packIQ4_NL($0, $1) }
    case .iq4_xs: eachBlock(row, columns, 256, out, 136) { LevelBlocks.packIQ4_XS($0, $1) }
    case .mxfp4: eachBlock(row, columns, 32, out, 17) { FourBitFloats.packMXFP4($0, $1) }
    case .nvfp4: eachBlock(row, columns, 64, out, 36) { FourBitFloats.packNVFP4($0, $1) }
    case .int2(let group): Groups.packInt2(row, columns, group, out)
    case .int4(let group): Groups.packInt4(row, columns, group, out)
    case .int8(let group): Groups.packInt8(row, columns, group, out)
    case .nf4(let doubleQuantised): NormalFloat.pack(row, columns, doubleQuantised: doubleQuantised, out)
    case .grouped(let layout): GroupedBytes.pack(row, columns, layout, out)
    case .partlyBinary(let salient): PartlyBinary.pack(row, columns, salient: salient, out)
    }
  }

  private static func packHalves(
    _ row: UnsafePointer<Float>, _ columns: Int, _ packing: Packing, into out: UnsafeMutableRawPointer
  ) {
    withUnsafeTemporaryAllocation(of: UInt16.self, capacity: max(columns, 1)) { halves in
      guard let base = halves.baseAddress else { return }
      if packing == .float16 {
        graft_f16_from_f32(row, base, columns)
      } else {
        graft_bf16_from_f32(row, base, columns)
      }
      out.copyMemory(from: base, byteCount: 2 * columns)
    }
  }

  @inline(__always)
  private static func eachBlock(
    _ row: UnsafePointer<Float>, _ columns: Int, _ width: Int, _ out: UnsafeMutableRawPointer, _ bytes: Int,
    _ pack: (UnsafePointer<Float>, UnsafeMutableRawPointer) -> Void
  ) {
    for block in 0..<columns / width { pack(row + block * width, out + block * bytes) }
  }

  private static func areEqual(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int) -> Bool {
    var same = true
    for i in 0..<count { same = same && a[i] == b[i] }
    return same
  }

  private static func keepBlock(
    _ block: Int, of old: UnsafeRawPointer, _ columns: Int, _ packing: Packing, in out: UnsafeMutableRawPointer
  ) {
    let bytes = packing.bytesPerBlock
    switch packing {
    case .int2, .int4, .int8, .nf4:
      // Codes of all blocks come first, then four bytes of scale a block.
      let codes = bytes - 4
      let scale = columns / packing.blockSize * codes + 4 * block
      (out + block * codes).copyMemory(from: old + block * codes, byteCount: codes)
      (out + scale).copyMemory(from: old + scale, byteCount: 4)
    default:
      (out + block * bytes).copyMemory(from: old + block * bytes, byteCount: bytes)
    }
  }
}

extension Packing {
  /// Whether the whole row shares its numbers.
  fileprivate var isPartlyBinary: Bool { if case .partlyBinary = self { true } else { false } }

  /// The same packing to the kernels.
  var kernel: graft_packing {
    switch self {
    case .float32: GRAFT_F32
    case .float16: GRAFT_F16
    case .bfloat16: GRAFT_BF16
    case .q4_0: GRAFT_Q4_0
    case .q4_1: GRAFT_Q4_1
    case .q5_0: GRAFT_Q5_0
    case .q5_1: GRAFT_Q5_1
    case .q8_0: GRAFT_Q8_0
    case .q4_K: GRAFT_Q4_K
    case .q5_K: GRAFT_Q5_K
    case .q6_K: GRAFT_Q6_K
    case .q1_0: GRAFT_Q1_0
    case .q2_0: GRAFT_Q2_0
    case .q2_K: GRAFT_Q2_K
    case .q3_K: GRAFT_Q3_K
    case .iq4_nl: GRAFT_IQ4_NL
    case .iq4_xs: GRAFT_IQ4_XS
    case .mxfp4: GRAFT_MXFP4
    case .nvfp4: GRAFT_NVFP4
    case .int2: GRAFT_INT2
    case .int4: GRAFT_INT4
    case .int8: GRAFT_INT8
    case .nf4(let doubleQuantised): doubleQuantised ? GRAFT_NF4_DOUBLE : GRAFT_NF4
    case .grouped: GRAFT_GROUPED
    case .partlyBinary: GRAFT_PARTLY_BINARY
    }
  }
}

extension graft_rows {
  /// Rows of `packing` from `first` on, which is row `firstRow`; `shared` is what lies before all rows.
  init(
    _ packing: Packing, columns: Int, rowBytes: Int, first: UnsafeRawPointer, shared: UnsafeRawPointer? = nil,
    firstRow: Int = 0
  ) {
    let layout = packing.layout.flatMap { packing.kernel == GRAFT_GROUPED ? $0 : nil }
    self.init(
      packing: packing.kernel, group: layout?.groupLength(columns) ?? packing.blockSize, columns: columns,
      row_bytes: rowBytes, first: first, layout: layout?.kernel ?? graft_layout(), shared: shared, first_row: firstRow)
  }
}
