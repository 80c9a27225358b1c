import Autodiff

extension FrozenWeight {
  /// The same rows `times` over, one copy below another in memory of their own; for measuring what a large matrix costs.
  package func stacked(_ times: Int) throws -> FrozenWeight {
    let packed = PackedBytes(count: byteCount * times)
    withBytes { bytes in
      Parallel.forEach(times) { copy in
        guard let source = bytes.baseAddress else { return }
        (packed.start + copy * bytes.count).copyMemory(from: source, byteCount: bytes.count)
      }
    }
    return try packed.withStart { start in
      try FrozenWeight(
        bytes: UnsafeRawBufferPointer(start: start, count: packed.count), owner: packed, packing: packing,
        rows: rows * times, columns: columns, order: order, columnOrder: columnOrder, path: "memory",
        place: "stacked rows")
    }
  }
}
