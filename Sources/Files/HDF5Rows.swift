import CHDF5
import Glibc
import Synchronization

/// Rows of floats in an HDF5 file, written once in any order and read back some at a time: more than memory would hold.
///
/// The file has a dataset `rows` `[count, width]`, in chunks of about a megabyte, each with a checksum, and may have one
/// `shape` `[axes]`: the sizes of what a row is, whose product is the width. While it is being written it has a temporary
/// name; ``finish()`` gives it its own. What is not finished goes.
public final class HDF5Rows: Sendable {
  /// The file.
  public let path: String
  /// How many rows there are, and how many numbers each has.
  public let count: Int, width: Int
  private let file: Int64, dataset: Int64
  /// Whether the file still has its temporary name.
  private let isUnfinished: Atomic<Bool>

  private static let name = "rows", shapeName = "shape"

  /// A new file of `count` rows, under a temporary name until it is finished; `shape` is noted if it is given.
  public init(creating path: String, count: Int, width: Int, shape: [Int]? = nil) throws {
    (self.path, self.count, self.width) = (path, count, width)
    isUnfinished = Atomic(true)
    (file, dataset) = try HDF5Library.enter {
      let problem = "cannot be created as an HDF5 file of \(count) rows of \(width)"
      let extent = [UInt64(count), UInt64(width)]
      let chunk = [UInt64(max(1, min(count, (1 << 18) / max(1, width)))), UInt64(width)]
      let file = H5Fcreate(path + ".part", graft_H5F_ACC_TRUNC(), 0, 0)
      guard file >= 0 else { throw FileError.unwritable(path, problem + HDF5Library.reason) }
      guard let space = HDF5Handle.space(H5Screate_simple(2, extent, nil)),
        let properties = HDF5Handle.properties(H5Pcreate(graft_H5P_DATASET_CREATE())),
        H5Pset_chunk(properties.id, 2, chunk) >= 0, H5Pset_fletcher32(properties.id) >= 0,
        case let dataset = H5Dcreate2(file, Self.name, graft_H5T_IEEE_F32LE(), space.id, 0, properties.id, 0),
        dataset >= 0
      else {
        let failure = FileError.unwritable(path, problem + HDF5Library.reason)
        H5Fclose(file)
        unlink(path + ".part")
        throw failure
      }
      if let shape, !Self.note(shape, in: file) {
        let failure = FileError.unwritable(path, problem + HDF5Library.reason)
        H5Dclose(dataset)
        H5Fclose(file)
        unlink(path + ".part")
        throw failure
      }
      return (file, dataset)
    }
  }

  private static func note(_ shape: [Int], in file: Int64) -> Bool {
    let extent = [UInt64(shape.count)]
    guard let space = HDF5Handle.space(H5Screate_simple(1, extent, nil)),
      let properties = HDF5Handle.properties(H5Pcreate(graft_H5P_DATASET_CREATE())),
      H5Pset_chunk(properties.id, 1, extent) >= 0, H5Pset_fletcher32(properties.id) >= 0,
      let dataset = HDF5Handle.dataset(
        H5Dcreate2(file, shapeName, graft_H5T_STD_I64LE(), space.id, 0, properties.id, 0))
    else { return false }
    return H5Dwrite(dataset.id, Int64.hdf5Types.memory, 0, 0, 0, shape.map(Int64.init)) >= 0
  }

  /// The sizes of what a row is, as the finished file at `path` notes them; nil where it notes none.
  ///
  /// - Throws: a ``FileError`` when it is damaged, or these can be no sizes of a row.
  public static func shape(notedIn path: String) throws -> [Int]? {
    let reader = try HDF5Reader(path)
    guard reader.has(shapeName) else { return nil }
    let shape = try reader.read(shapeName, as: Int64.self).values
    var product: Int64? = 1
    for size in shape {
      product = product.flatMap { known in
        let (value, isOver) = known.multipliedReportingOverflow(by: size)
        return size >= 1 && !isOver ? value : nil
      }
    }
    guard (1..<HDF5Library.maxRank).contains(shape.count), product != nil else {
      throw FileError(path, at: "dataset '\(shapeName)'", "holds \(shape), which are no sizes of a row")
    }
    return shape.map(Int.init)
  }

  /// A finished file, whose rows must be `count` of `width` numbers.
  public init(reading path: String, count: Int, width: Int) throws {
    // Types, sizes and where the numbers lie are checked before any of them is read.
    let reader = try HDF5Reader(path)
    try reader.check(Self.name, as: Float.self, shape: [count, width])
    (self.path, self.count, self.width) = (path, count, width)
    isUnfinished = Atomic(false)
    (file, dataset) = try HDF5Library.enter {
      let file = H5Fopen(path, graft_H5F_ACC_RDONLY(), 0)
      guard file >= 0 else { throw FileError(path, "cannot be opened") }
      let dataset = H5Dopen2(file, Self.name, 0)
      guard dataset >= 0 else {
        H5Fclose(file)
        throw FileError(path, at: "dataset '\(Self.name)'", "cannot be opened")
      }
      return (file, dataset)
    }
  }

  deinit {
    HDF5Library.enter {
      H5Dclose(dataset)
      H5Fclose(file)
    }
    if isUnfinished.load(ordering: .relaxed) { unlink(path + ".part") }
  }

  /// Writes rows, `[range.count, width]`.
  public func write(_ values: UnsafePointer<Float>, to range: Range<Int>) throws {
    try transfer(range, { .unwritable($0, at: $1, "cannot be written" + HDF5Library.reason) }) { memory, space in
      H5Dwrite(dataset, graft_H5T_NATIVE_FLOAT(), memory, space, 0, values)
    }
  }

  /// Reads rows.
  public func read(_ range: Range<Int>, into values: UnsafeMutablePointer<Float>) throws {
    try transfer(range, { FileError($0, at: $1, "cannot be read: its bytes are damaged") }) { memory, space in
      H5Dread(dataset, graft_H5T_NATIVE_FLOAT(), memory, space, 0, values)
    }
  }

  /// Brings everything to the disk and gives the file its name.
  public func finish() throws {
    try HDF5Library.enter {
      guard H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0 else {
        throw FileError.unwritable(path, "cannot be written" + HDF5Library.reason)
      }
    }
    try AtomicFile.move(path + ".part", to: path)
    isUnfinished.store(false, ordering: .relaxed)
  }

  private func transfer(
    _ range: Range<Int>, _ failure: (_ path: String, _ place: String) -> FileError, _ body: (Int64, Int64) -> Int32
  ) throws {
    try HDF5Library.enter {
      let start = [UInt64(range.lowerBound), 0], size = [UInt64(range.count), UInt64(width)]
      guard range.lowerBound >= 0, range.upperBound <= count,
        let space = HDF5Handle.space(H5Dget_space(dataset)),
        H5Sselect_hyperslab(space.id, H5S_SELECT_SET, start, nil, size, nil) >= 0,
        let memory = HDF5Handle.space(H5Screate_simple(2, size, nil)), body(memory.id, space.id) >= 0
      else { throw failure(path, "rows \(range)") }
    }
  }
}
