import CHDF5

/// A dataset read some rows at a time, a row being what one index of the first axis selects: more than memory would hold.
public final class HDF5Slices<Element: HDF5Element>: Sendable {
  /// The sizes, outermost first.
  public let shape: [Int]
  /// How many rows are packed together, and therefore unpacked together; where nothing is packed, as 64 KiB hold.
  public let chunk: Int
  /// The numbers in a row.
  public let width: Int

  private let reader: HDF5Reader
  private let name: String
  private let dataset: Int64

  /// Takes over an open dataset of `reader`'s file, checked before.
  fileprivate init(_ reader: HDF5Reader, _ name: String, _ dataset: Int64, _ shape: [Int], chunk: Int) {
    (self.reader, self.name, self.dataset, self.shape, self.chunk) = (reader, name, dataset, shape, chunk)
    width = shape.dropFirst().reduce(1, *)
  }

  deinit { HDF5Library.enter { _ = H5Dclose(dataset) } }

  /// The numbers of some rows, one row after another.
  ///
  /// - Throws: a ``FileError`` when there are no such rows, or their bytes are damaged.
  public func read(_ rows: Range<Int>) throws -> [Element] {
    let place = "dataset \(quoted(name))"
    guard rows.lowerBound >= 0, rows.upperBound <= shape[0] else {
      throw FileError(reader.path, at: place, "has rows 0 to \(shape[0] - 1), not \(rows)")
    }
    var values = [Element](repeating: .zero, count: rows.count * width)
    guard !values.isEmpty else { return values }
    let rest = shape.dropFirst().map(UInt64.init)
    let start = [UInt64(rows.lowerBound)] + rest.map { _ in 0 }, size = [UInt64(rows.count)] + rest
    try HDF5Library.enter {
      guard let space = HDF5Handle.space(H5Dget_space(dataset)),
        H5Sselect_hyperslab(space.id, H5S_SELECT_SET, start, nil, size, nil) >= 0,
        let memory = HDF5Handle.space(H5Screate_simple(Int32(size.count), size, nil)),
        H5Dread(dataset, Element.hdf5Types.memory, memory.id, space.id, 0, &values) >= 0
      else { throw FileError(reader.path, at: "\(place), rows \(rows)", "cannot be read: its bytes are damaged") }
    }
    return values
  }
}

extension HDF5Reader {
  /// A dataset to be read some rows at a time.
  ///
  /// - Parameter cache: how many bytes of chunks, once unpacked, are kept for the next reads.
  /// - Throws: a ``FileError`` naming the dataset when it is missing or of another type, or when one of its chunks
  ///   unpacks to more than 16 MB.
  public func slices<Element: HDF5Element>(
    _ name: String, as type: Element.Type = Element.self, cache: Int = 32 << 20
  ) throws -> HDF5Slices<Element> {
    try HDF5Library.enter {
      let place = "dataset \(quoted(name))"
      // The library wants a prime number of slots, many times as many as there are chunks that fit.
      guard let access = HDF5Handle.properties(H5Pcreate(graft_H5P_DATASET_ACCESS())),
        H5Pset_chunk_cache(access.id, 10_007, cache, 0.75) >= 0
      else { throw FileError(path, at: place, "cannot be read") }
      let checked = try open(name, as: type, access: access.id, place), shape = try shape(of: checked, place)
      _ = try checkedCount(shape, MemoryLayout<Element>.size, checked, place)
      let chunk = try chunkedRows(of: checked, shape, MemoryLayout<Element>.size, place)
      let dataset = H5Dopen2(file, name, access.id)
      guard dataset >= 0 else { throw FileError(path, at: place, "cannot be opened") }
      return HDF5Slices(self, name, dataset, shape, chunk: chunk)
    }
  }

  /// The rows in a chunk, whose size is what the library takes of memory to unpack it.
  private func chunkedRows(
    of dataset: borrowing HDF5Handle, _ shape: [Int], _ size: Int, _ place: String
  ) throws -> Int {
    guard let properties = HDF5Handle.properties(H5Dget_create_plist(dataset.id)) else {
      throw FileError(path, at: place, "cannot be read")
    }
    guard H5Pget_layout(properties.id) == H5D_CHUNKED else {
      return max(1, (1 << 16) / max(1, shape.dropFirst().reduce(size, *)))
    }
    var sizes = [UInt64](repeating: 0, count: shape.count)
    guard H5Pget_chunk(properties.id, Int32(sizes.count), &sizes) == sizes.count, sizes.allSatisfy({ $0 > 0 }) else {
      throw FileError(path, at: place, "is kept in chunks of an unknown size")
    }
    let bytes = sizes.reduce(UInt64(size)) { bytes, axis in
      let (product, overflow) = bytes.multipliedReportingOverflow(by: axis)
      return overflow ? .max : product
    }
    guard bytes <= 16 << 20 else {
      throw FileError(
        path, at: place, "is kept in chunks of \(sizes), more than the 16 MB that are unpacked at once",
        remedy: "store it in smaller chunks")
    }
    return Int(sizes[0])
  }
}
