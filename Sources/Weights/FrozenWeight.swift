import Autodiff
import CKernels
import Files

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
  private let rowBytes: Int
  private let base: UnsafeRawPointer
  private let owner: any AnyObject & Sendable

  /// The matrix whose packed rows are `bytes`, kept alive by `owner`.
  ///
  /// - Throws: a ``FileError`` at `place` of `path` when the sizes do not fit.
  public init(
    bytes: UnsafeRawBufferPointer, owner: any AnyObject & Sendable, packing: Packing, rows: Int, columns: Int,
    order: RowOrder = .natural, path: String, place: String
  ) throws {
    let rowBytes: Int
    do {
      rowBytes = try packing.bytesPerRow(columns: columns)
    } catch {
      throw FileError(path, at: place, "\(error)")
    }
    let (total, overflow) = rowBytes.multipliedReportingOverflow(by: rows)
    guard let start = bytes.baseAddress, rows > 0, columns > 0, !overflow, total == bytes.count else {
      throw FileError(
        path, at: place, "[\(rows), \(columns)] packed as \(packing.name) is not what \(bytes.count) bytes hold")
    }
    if case .rotaryPairs(let headSize) = order, rows % headSize != 0 {
      throw FileError(path, at: place, "\(rows) rows are no whole number of heads of \(headSize)")
    }
    // Float rows are read in place, so they must lie where a Float may.
    if packing == .float32, Int(bitPattern: start) % MemoryLayout<Float>.alignment != 0 {
      let copy = PackedBytes(count: bytes.count)
      copy.bytes.copyMemory(from: bytes)
      (base, self.owner) = (UnsafeRawPointer(copy.start), copy)
    } else {
      (base, self.owner) = (start, owner)
    }
    (self.packing, self.rows, self.columns, self.order, self.rowBytes) = (packing, rows, columns, order, rowBytes)
  }

  /// `values` `[rows, columns]` as they are.
  public init(_ values: Tensor) {
    let whole = values.offset == 0 ? values.detached : Tensor(values.values, shape: values.shape)
    (packing, rows, columns, order) = (.float32, values.shape[0], values.shape[1], .natural)
    rowBytes = columns * MemoryLayout<Float>.size
    (base, owner) = (UnsafeRawPointer(whole.storage.pointer), whole.storage)
  }

  /// `values` `[rows, columns]` rounded to `packing`.
  ///
  /// - Throws: when the packing's blocks do not divide the columns, or a value is not finite.
  public init(_ values: Tensor, packing: Packing, order: RowOrder = .natural) throws {
    let (rows, columns) = (values.shape[0], values.shape[1])
    let rowBytes = try packing.bytesPerRow(columns: columns)
    let packed = PackedBytes(count: rows * rowBytes)
    try values.withValues { source in
      guard let first = source.baseAddress else { return }
      for row in 0..<rows {
        try PackedCodec.pack(
          rows: first + row * columns, rowCount: 1, columns: columns, packing: packing,
          into: packed.start + order.stored(row) * rowBytes, firstRow: row)
      }
    }
    (self.packing, self.rows, self.columns, self.order, self.rowBytes) = (packing, rows, columns, order, rowBytes)
    (base, owner) = (UnsafeRawPointer(packed.start), packed)
  }

  /// The packed bytes, in stored order.
  public func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
    try withExtendedLifetime(owner) { try body(UnsafeRawBufferPointer(start: base, count: byteCount)) }
  }

  /// The number of packed bytes.
  public var byteCount: Int { rows * rowBytes }

  /// Writes the given rows as `Float`.
  public func unpack(rows: Range<Int>, into place: UnsafeMutablePointer<Float>) {
    forEachRun(rows) { packed, count, offset in graft_unpack(&packed, count, place + offset * columns) }
  }

  /// Writes the given rows' products with `vector`, without unpacking them.
  public func multiply(rows: Range<Int>, by vector: UnsafePointer<Float>, into place: UnsafeMutablePointer<Float>) {
    forEachRun(rows) { packed, count, offset in graft_gemv(&packed, count, vector, place + offset) }
  }

  /// Calls `body` for the given rows, as many at a time as lie one behind another.
  @inline(__always)
  private func forEachRun(_ rows: Range<Int>, _ body: (inout graft_rows, _ count: Int, _ offset: Int) -> Void) {
    withExtendedLifetime(owner) {
      var packed = graft_rows(
        packing: packing.kernel, group: packing.blockSize, columns: columns, row_bytes: rowBytes,
        first: base + rows.lowerBound * rowBytes)
      if order == .natural { return body(&packed, rows.count, 0) }
      for (offset, row) in rows.enumerated() {
        packed.first = base + order.stored(row) * rowBytes
        body(&packed, 1, offset)
      }
    }
  }

  /// Calls `body` with the rows as they lie in memory if they are `Float` in natural order, else with nil.
  public func withFloats<R>(_ body: (UnsafePointer<Float>?) throws -> R) rethrows -> R {
    guard packing == .float32, order == .natural else { return try body(nil) }
    return try withExtendedLifetime(owner) { try body(base.assumingMemoryBound(to: Float.self)) }
  }

  /// Other values in this packing and row order; blocks whose values did not change keep their bytes.
  ///
  /// - Throws: when a value is not finite.
  public func repacked(_ values: Tensor) throws -> FrozenWeight {
    require(values.shape == [rows, columns], "values of shape \(values.shape) for a matrix [\(rows), \(columns)]")
    let packed = PackedBytes(count: byteCount)
    try withExtendedLifetime(owner) {
      try values.withValues { source in
        guard let first = source.baseAddress else { return }
        for row in 0..<rows {
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

/// Packed bytes in memory of their own, 64-byte aligned.
final class PackedBytes: @unchecked Sendable {
  // Written while it is being made and read-only afterwards.
  let start: UnsafeMutableRawPointer
  let count: Int

  init(count: Int) {
    self.count = count
    start = .allocate(byteCount: max(1, count), alignment: 64)
  }

  deinit { start.deallocate() }

  var bytes: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(start: start, count: count) }
  func withStart<R>(_ body: (UnsafeRawPointer) throws -> R) rethrows -> R { try body(UnsafeRawPointer(start)) }
}
