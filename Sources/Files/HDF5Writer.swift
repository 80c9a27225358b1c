import CHDF5

/// Writes an HDF5 file whole or not at all: datasets in chunks of about a megabyte, each with a checksum.
///
///     try HDF5Writer.write("statistics.h5") { file in
///       try file.set("rows", 256)
///       try file.add("layers.0/mean", [0.5, 1, 2], shape: [3])
///     }
public struct HDF5Writer: ~Copyable {
  private let file: HDF5Handle
  private let path: String

  private init(_ file: consuming HDF5Handle, _ path: String) {
    self.file = file
    self.path = path
  }

  /// Writes what `body` adds to `path`, under a temporary name until it is on the disk.
  ///
  /// No other thread can read or write an HDF5 file meanwhile; `body` itself may read others.
  ///
  /// - Parameter checksummed: whether all that describes the numbers has checksums too, which HDF5 has from 1.10 on.
  /// - Throws: what `body` throws, or a ``FileError``; then an old file of that name is untouched.
  public static func write(
    _ path: String, checksummed: Bool = false, _ body: (borrowing HDF5Writer) throws -> Void
  ) throws {
    try AtomicFile.write(
      path,
      byName: { temporary in
        try HDF5Library.enter {
          guard let access = HDF5Handle.properties(H5Pcreate(graft_H5P_FILE_ACCESS())),
            let creation = HDF5Handle.properties(H5Pcreate(graft_H5P_FILE_CREATE())),
            // Without times, equal contents are equal files.
            H5Pset_obj_track_times(creation.id, false) >= 0,
            !checksummed || H5Pset_libver_bounds(access.id, H5F_LIBVER_V110, H5F_LIBVER_V110) >= 0,
            let made = HDF5Handle(H5Fcreate(temporary, graft_H5F_ACC_TRUNC(), creation.id, access.id), { H5Fclose($0) })
          else { throw FileError.unwritable(path, "cannot be created as an HDF5 file" + HDF5Library.reason) }
          let writer = HDF5Writer(made, path)
          try body(writer)
          guard H5Fflush(writer.file.id, H5F_SCOPE_GLOBAL) >= 0 else {
            throw FileError.unwritable(path, "cannot be written" + HDF5Library.reason)
          }
        }
      })
  }

  /// Adds a dataset; `name` may lead through groups, as in `train/images`.
  public func add<Element: HDF5Element>(_ name: String, _ values: [Element], shape: [Int]) throws {
    let place = "dataset \(quoted(name))"
    guard (1...HDF5Library.maxRank).contains(shape.count), shape.allSatisfy({ $0 >= 0 }) else {
      throw FileError(path, at: place, "has shape \(shape); expected 1 to \(HDF5Library.maxRank) sizes")
    }
    guard shape.reduce(1, *) == values.count else {
      throw FileError(path, at: place, "\(values.count) numbers do not fill shape \(shape)")
    }
    let extent = shape.map(UInt64.init), chunk = Self.chunk(shape, MemoryLayout<Element>.size).map(UInt64.init)
    guard let space = HDF5Handle.space(H5Screate_simple(Int32(extent.count), extent, nil)),
      let links = HDF5Handle.properties(H5Pcreate(graft_H5P_LINK_CREATE())),
      let properties = HDF5Handle.properties(H5Pcreate(graft_H5P_DATASET_CREATE())),
      H5Pset_create_intermediate_group(links.id, 1) >= 0,
      H5Pset_chunk(properties.id, Int32(chunk.count), chunk) >= 0, H5Pset_fletcher32(properties.id) >= 0,
      H5Pset_obj_track_times(properties.id, false) >= 0,
      let dataset = HDF5Handle.dataset(
        H5Dcreate2(file.id, name, Element.hdf5Types.stored[0], space.id, links.id, properties.id, 0))
    else { throw failure(place) }
    guard H5Dwrite(dataset.id, Element.hdf5Types.memory, 0, 0, 0, values) >= 0 || values.isEmpty else {
      throw failure(place)
    }
  }

  /// Adds a dataset of rows that `next` gives some at a time until it gives none, deflated in chunks of `chunk` rows;
  /// returns how many there were.
  ///
  /// The dataset's shape is `[rows] + row`. No more than one chunk is held in memory beside what `next` gives.
  ///
  /// - Throws: what `next` throws, or a ``FileError``.
  public func add<Element: HDF5Element>(
    _ name: String, row: [Int], chunk: Int, next: () throws -> [Element]?
  ) throws -> Int {
    let place = "dataset \(quoted(name))", size = row.reduce(1, *)
    guard (0..<HDF5Library.maxRank).contains(row.count), row.allSatisfy({ $0 > 0 }), chunk > 0 else {
      throw FileError(path, at: place, "cannot have rows of shape \(row) in chunks of \(chunk)")
    }
    let rank = Int32(row.count + 1), rest = row.map(UInt64.init)
    guard let space = HDF5Handle.space(H5Screate_simple(rank, [0] + rest, [.max] + rest)),
      let properties = HDF5Handle.properties(H5Pcreate(graft_H5P_DATASET_CREATE())),
      H5Pset_chunk(properties.id, rank, [UInt64(chunk)] + rest) >= 0, H5Pset_deflate(properties.id, 7) >= 0,
      H5Pset_fletcher32(properties.id) >= 0, H5Pset_obj_track_times(properties.id, false) >= 0,
      let dataset = HDF5Handle.dataset(
        H5Dcreate2(file.id, name, Element.hdf5Types.stored[0], space.id, 0, properties.id, 0))
    else { throw failure(place) }
    var count = 0
    while let values = try next() {
      let rows = values.count / size
      guard rows * size == values.count, rows > 0 else {
        throw FileError(path, at: place, "\(values.count) numbers are no rows of shape \(row)")
      }
      guard H5Dset_extent(dataset.id, [UInt64(count + rows)] + rest) >= 0,
        let whole = HDF5Handle.space(H5Dget_space(dataset.id)),
        let memory = HDF5Handle.space(H5Screate_simple(rank, [UInt64(rows)] + rest, nil)),
        H5Sselect_hyperslab(
          whole.id, H5S_SELECT_SET, [UInt64(count)] + row.map { _ in 0 }, nil, [UInt64(rows)] + rest, nil) >= 0,
        H5Dwrite(dataset.id, Element.hdf5Types.memory, memory.id, whole.id, 0, values) >= 0
      else { throw failure(place) }
      count += rows
    }
    return count
  }

  /// What to say when the call before could not write: the system's reason, or else that a name may be taken.
  private func failure(_ place: String) -> FileError {
    let reason = HDF5Library.reason, remedy = reason.isEmpty ? "check that the name is free" : nil
    return .unwritable(path, at: place, "cannot be written" + reason, remedy: remedy)
  }

  /// Notes a text at the file's root.
  public func set(_ name: String, _ text: String) throws {
    var bytes = Array(text.utf8)
    // A type of no bytes does not exist; a text of none is written as a zero, which the padding swallows.
    if bytes.isEmpty { bytes = [0] }
    guard let type = HDF5Handle.type(H5Tcopy(graft_H5T_C_S1())), H5Tset_size(type.id, bytes.count) >= 0,
      H5Tset_cset(type.id, H5T_CSET_UTF8) >= 0, H5Tset_strpad(type.id, H5T_STR_NULLPAD) >= 0
    else { throw failure("attribute \(quoted(name))") }
    try set(name, type.id, type.id, bytes)
  }

  /// Notes a number at the file's root.
  public func set(_ name: String, _ number: Int64) throws {
    let types = Int64.hdf5Types
    try set(name, types.stored[0], types.memory, [number])
  }

  private func set<T: BitwiseCopyable>(_ name: String, _ stored: Int64, _ memory: Int64, _ value: [T]) throws {
    guard let space = HDF5Handle.space(H5Screate(H5S_SCALAR)),
      let attribute = HDF5Handle.attribute(H5Acreate2(file.id, name, stored, space.id, 0, 0)),
      H5Awrite(attribute.id, memory, value) >= 0
    else { throw failure("attribute \(quoted(name))") }
  }

  /// Sizes of about a megabyte, the first axes cut first.
  private static func chunk(_ shape: [Int], _ size: Int) -> [Int] {
    var chunk = shape.map { max(1, $0) }
    for axis in chunk.indices {
      let rest = chunk.dropFirst(axis + 1).reduce(size, *)
      chunk[axis] = max(1, min(chunk[axis], (1 << 20) / rest))
      if chunk[axis] > 1 { break }
    }
    return chunk
  }
}
