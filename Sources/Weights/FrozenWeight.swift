import Autodiff
import CKernels
import Files
import Glibc
import Synchronization

/// A weight matrix that training reads and never changes, in the packing it came in.
///
/// `base` points into what `owner` keeps alive and nobody writes any more, so it may be read from any thread.
/// A value over bytes that something else owns: a mapped file, or memory of its own. Row r is `rowBytes` bytes that can
/// be unpacked without its neighbours. Copying shares the bytes.
public struct FrozenWeight: FrozenMatrix, @unchecked Sendable {
  /// How its numbers are packed.
  public let packing: Packing
  /// The number of outputs.
  public let rows: Int
  /// The number of inputs.
  public let columns: Int
  /// In what order the bytes hold the rows.
  public let order: RowOrder
  /// Which input each stored column reads, where columns are stored in an order of their own.
  public let columnOrder: [Int32]?
  private let rowBytes: Int
  /// Bytes before the rows, which these share.
  private let sharedBytes: Int
  private let base: UnsafeRawPointer
  private let owner: any AnyObject & Sendable

  /// The matrix whose packed rows are `bytes`, kept alive by `owner`.
  ///
  /// - Throws: a ``FileError`` at `place` of `path` when the sizes do not fit.
  public init(
    bytes: UnsafeRawBufferPointer, owner: any AnyObject & Sendable, packing: Packing, rows: Int, columns: Int,
    order: RowOrder = .natural, columnOrder: [Int32]? = nil, path: String, place: String
  ) throws {
    let rowBytes: Int, sharedBytes: Int
    do {
      rowBytes = try packing.bytesPerRow(columns: columns)
      sharedBytes = try packing.sharedBytes(rows: rows, columns: columns)
    } catch {
      throw FileError(path, at: place, "\(error)")
    }
    let (rowsTotal, overflow) = rowBytes.multipliedReportingOverflow(by: rows)
    let (total, overflows) = rowsTotal.addingReportingOverflow(sharedBytes)
    guard let start = bytes.baseAddress, rows > 0, columns > 0, !overflow, !overflows, total == bytes.count else {
      throw FileError(
        path, at: place, "[\(rows), \(columns)] packed as \(packing.name) is not what \(bytes.count) bytes hold")
    }
    if case .rotaryPairs(let headSize) = order, rows % headSize != 0 {
      throw FileError(path, at: place, "\(rows) rows are no whole number of heads of \(headSize)")
    }
    if let columnOrder {
      guard columnOrder.count == columns, Set(columnOrder) == Set(0..<Int32(columns)) else {
        throw FileError(path, at: place, "its order of columns does not name each of \(columns) once")
      }
    }
    // Float rows are read in place, so they must lie where a Float may.
    if packing == .float32, Int(bitPattern: start) % MemoryLayout<Float>.alignment != 0 {
      let copy = PackedBytes(count: bytes.count)
      copy.bytes.copyMemory(from: bytes)
      (base, self.owner) = (UnsafeRawPointer(copy.start), copy)
    } else {
      (base, self.owner) = (start, owner)
    }
    (self.packing, self.rows, self.columns, self.order) = (packing, rows, columns, order)
    (self.columnOrder, self.rowBytes, self.sharedBytes) = (columnOrder, rowBytes, sharedBytes)
  }

  /// `values` `[rows, columns]` as they are.
  public init(_ values: Tensor) {
    let whole = values.offset == 0 ? values.detached : Tensor(values.values, shape: values.shape)
    (packing, rows, columns, order) = (.float32, values.shape[0], values.shape[1], .natural)
    (columnOrder, rowBytes, sharedBytes) = (nil, columns * MemoryLayout<Float>.size, 0)
    (base, owner) = (UnsafeRawPointer(whole.storage.pointer), whole.storage)
  }

  /// `values` `[rows, columns]` rounded to `packing`.
  ///
  /// - Throws: when the packing's blocks do not divide the columns, or a value is not finite.
  public init(_ values: Tensor, packing: Packing, order: RowOrder = .natural) throws {
    let (rows, columns) = (values.shape[0], values.shape[1])
    if case .grouped(let layout) = packing {
      self = try GroupedCodes(rounding: values, to: layout).packed()
      return
    }
    let rowBytes = try packing.bytesPerRow(columns: columns)
    let packed = PackedBytes(count: rows * rowBytes)
    try values.withValues { source in
      guard let first = source.baseAddress else { return }
      try forEachRowInParallel(rows) { row in
        try PackedCodec.pack(
          rows: first + row * columns, rowCount: 1, columns: columns, packing: packing,
          into: packed.start + order.stored(row) * rowBytes, firstRow: row)
      }
    }
    (self.packing, self.rows, self.columns, self.order) = (packing, rows, columns, order)
    (columnOrder, self.rowBytes, sharedBytes) = (nil, rowBytes, 0)
    (base, owner) = (UnsafeRawPointer(packed.start), packed)
  }

  /// `values` `[rows, columns]` with so many of a hundred numbers of a row in eight bits and the others a sign, chosen by
  /// ``GPTQ``: salient are the numbers whose loss would cost most, w² / Uᵢᵢ².
  ///
  /// - Throws: as for any packing, and a `DecompositionError` when the moment is not finite or not positive definite.
  public init(partlyBinary values: Tensor, salient: Int, moment: Tensor, by method: GPTQ) throws {
    let packing = Packing.partlyBinary(salient: salient), (rows, columns) = (values.shape[0], values.shape[1])
    try packing.check(rows: rows, columns: columns)
    let factor = try inverseFactor(of: moment, damping: method.damping)
    let importance = factor.withValues { factor in
      (0..<columns).map { 1 / (factor[$0 * columns + $0] * factor[$0 * columns + $0]) }
    }
    let made: [PartlyBinary.Row] = values.withValues { values in
      guard let base = values.baseAddress else { return [] }
      return (0..<rows).map { PartlyBinary.Row(base + $0 * columns, columns, salient: salient, importance: importance) }
    }
    let chosen = try method.values(values, moment: moment) { row, column, value in made[row].rounded(value, column) }
    let packed = PackedBytes(count: rows * packing.rowBytes(columns))
    chosen.withValues { values in
      guard let base = values.baseAddress else { return }
      for row in 0..<rows { made[row].store(base + row * columns, at: packed.start + row * packing.rowBytes(columns)) }
    }
    self = try packed.withStart { start in
      try FrozenWeight(
        bytes: UnsafeRawBufferPointer(start: start, count: packed.count), owner: packed, packing: packing, rows: rows,
        columns: columns, path: "memory", place: "a packed matrix")
    }
  }

  /// The packed bytes, in stored order.
  public func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
    try withExtendedLifetime(owner) { try body(UnsafeRawBufferPointer(start: base, count: byteCount)) }
  }

  /// Lets go of the memory its bytes take where they are a file's, from which they load again when they are touched.
  package func forgetPages() { withBytes { (owner as? MappedFile)?.forget($0) } }

  /// Whether these are the bytes of `other`, not only equal ones.
  package func isSame(as other: FrozenWeight) -> Bool { base == other.base && owner === other.owner }

  /// The number of packed bytes.
  public var byteCount: Int { sharedBytes + rows * rowBytes }

  /// Writes the given rows as `Float`.
  public func unpack(rows: Range<Int>, into place: UnsafeMutablePointer<Float>) {
    guard let columnOrder else {
      return forEachRun(rows) { packed, count, offset in graft_unpack(&packed, count, place + offset * columns) }
    }
    withUnsafeTemporaryAllocation(of: Float.self, capacity: columns) { row in
      guard let scratch = row.baseAddress else { return }
      for (offset, number) in rows.enumerated() {
        forEachRun(number..<number + 1) { packed, count, _ in graft_unpack(&packed, count, scratch) }
        let target = place + offset * columns
        for (stored, column) in columnOrder.enumerated() { target[Int(column)] = scratch[stored] }
      }
    }
  }

  /// Writes the given rows' products with `vector`, without unpacking them.
  public func multiply(rows: Range<Int>, by vector: UnsafePointer<Float>, into place: UnsafeMutablePointer<Float>) {
    guard let columnOrder else {
      return forEachRun(rows) { packed, count, offset in graft_gemv(&packed, count, vector, place + offset) }
    }
    withUnsafeTemporaryAllocation(of: Float.self, capacity: columns) { gathered in
      guard let scratch = gathered.baseAddress else { return }
      for (stored, column) in columnOrder.enumerated() { scratch[stored] = vector[Int(column)] }
      forEachRun(rows) { packed, count, offset in graft_gemv(&packed, count, scratch, place + offset) }
    }
  }

  /// Calls `body` for the given rows, as many at a time as lie one behind another.
  @inline(__always)
  private func forEachRun(_ rows: Range<Int>, _ body: (inout graft_rows, _ count: Int, _ offset: Int) -> Void) {
    withExtendedLifetime(owner) {
      let firstRow = base + sharedBytes
      var packed = graft_rows(
        packing, columns: columns, rowBytes: rowBytes, first: firstRow + rows.lowerBound * rowBytes, shared: base,
        firstRow: rows.lowerBound)
      if order == .natural { return body(&packed, rows.count, 0) }
      for (offset, row) in rows.enumerated() {
        let stored = order.stored(row)
        (packed.first, packed.first_row) = (firstRow + stored * rowBytes, stored)
        body(&packed, 1, offset)
      }
    }
  }

  /// Calls `body` with the rows as they lie in memory if they are `Float` in natural order, else with nil.
  public func withFloats<R>(_ body: (UnsafePointer<Float>?) throws -> R) rethrows -> R {
    guard packing == .float32, order == .natural, columnOrder == nil else { return try body(nil) }
    return try withExtendedLifetime(owner) { try body(base.assumingMemoryBound(to: Float.self)) }
  }

  /// Other values in this packing and row order; blocks whose values did not change keep their bytes.
  ///
  /// - Throws: when a value is not finite.
  public func repacked(_ values: Tensor) throws -> FrozenWeight {
    require(values.shape == [rows, columns], "values of shape \(values.shape) for a matrix [\(rows), \(columns)]")
    if let layout = packing.layout, packing.kernel == GRAFT_GROUPED || columnOrder != nil {
      return try regrouped(values, layout)
    }
    let packed = PackedBytes(count: byteCount)
    try withExtendedLifetime(owner) {
      try values.withValues { source in
        guard let first = source.baseAddress else { return }
        try forEachRowInParallel(rows) { row in
          let offset = order.stored(row) * rowBytes
          try PackedCodec.repack(
            original: base + offset, values: first + row * columns, rowCount: 1, columns: columns, packing: packing,
            into: packed.start + offset, firstRow: row)
        }
      }
    }
    return try packed.withStart { start in
      try FrozenWeight(
        bytes: UnsafeRawBufferPointer(start: start, count: byteCount), owner: packed, packing: packing, rows: rows,
        columns: columns, order: order, path: "memory", place: "a repacked matrix")
    }
  }
}

extension FrozenWeight {
  /// Other values in this layout.
  private func regrouped(_ values: Tensor, _ layout: GroupLayout) throws -> FrozenWeight {
    if let stray = values.firstNotFinite {
      throw PackingError(
        layout.name, row: stray.index / columns, "column \(stray.index % columns) is \(stray.value)",
        remedy: "only finite values can be packed")
    }
    var codes = try GroupedCodes(self, layout)
    codes.round(columnOrder.map { values.transposed.gathered($0).transposed } ?? values)
    return try codes.packed(columnOrder: columnOrder)
  }
}

/// Calls `body` for each row, several at a time; what is thrown is the error of the first row that has one.
private func forEachRowInParallel(_ rows: Int, _ body: (Int) throws -> Void) throws {
  let failure = Mutex<(row: Int, error: any Error)?>(nil)
  nonisolated(unsafe) let body = body
  Parallel.forRanges(rows, grain: 16) { range in
    for row in range {
      do { try body(row) } catch {
        failure.withLock { if row < $0?.row ?? .max { $0 = (row, error) } }
        return
      }
    }
  }
  if let failure = failure.withLock({ $0 }) { throw failure.error }
}

extension Packing {
  /// - Throws: a ``PackingError`` when a matrix `[rows, columns]` cannot be packed so.
  package func check(rows: Int, columns: Int) throws {
    _ = try bytesPerRow(columns: columns)
    _ = try sharedBytes(rows: rows, columns: columns)
  }

  /// Bytes before all rows of a matrix.
  func sharedBytes(rows: Int, columns: Int) throws -> Int {
    guard case .grouped(let layout) = self else { return 0 }
    try layout.check(rows: rows, columns: columns)
    return layout.sharedBytes(rows: rows, columns: columns)
  }
}

/// In what order a file holds a matrix's rows.
public enum RowOrder: Sendable, Hashable {
  /// As the model names them.
  case natural
  /// As llama.cpp wants q and k of a Llama: within a head, channel i beside channel i + size/2, not size/2 behind it.
  case rotaryPairs(headSize: Int)

  /// Where row `row` of the model stands in the file.
  @inline(__always) package func stored(_ row: Int) -> Int {
    switch self {
    case .natural: return row
    case .rotaryPairs(let size):
      let within = row % size, half = size / 2
      return row - within + (within < half ? 2 * within : 2 * (within - half) + 1)
    }
  }
}

/// Packed bytes in memory of their own, 64-byte aligned; from eight megabytes on in pages of two, where the system has
/// them.
final class PackedBytes: @unchecked Sendable {
  // Written while it is being made and read-only afterwards.
  let start: UnsafeMutableRawPointer
  let count: Int

  init(count: Int) {
    self.count = count
    let isLarge = count >= 8 << 20
    start = .allocate(byteCount: max(1, count), alignment: isLarge ? 2 << 20 : 64)
    if isLarge { madvise(start, count, MADV_HUGEPAGE) }
  }

  deinit { start.deallocate() }

  var bytes: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(start: start, count: count) }
  func withStart<R>(_ body: (UnsafeRawPointer) throws -> R) rethrows -> R { try body(UnsafeRawPointer(start)) }
}
