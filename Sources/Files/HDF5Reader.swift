import CHDF5

/// An HDF5 file open for reading, trusted in nothing: every type, rank and size is checked before a number is read.
///
/// Only what lies in the file itself is read. Soft and external links, external and virtual storage, and filters other
/// than deflate, shuffle and Fletcher's checksum are refused.
public final class HDF5Reader: Sendable {
  /// The file, as the caller named it.
  public let path: String
  let file: Int64

  /// Opens `path`.
  ///
  /// - Parameter checksummed: whether to refuse files whose descriptions of the numbers have no checksums. In the older
  ///   form the library takes damaged descriptions at their word, which can end the process.
  /// - Throws: a ``FileError`` when it is not there, no HDF5 file, or shorter than it says.
  public init(_ path: String, checksummed: Bool = false) throws {
    self.path = path
    guard Folder.exists(path) else { throw FileError(path, "is not there") }
    if checksummed {
      let start = try MappedFile(path).withBytes { Array($0.prefix(9)) }
      // HDF5's signature, and the version of the block that describes the file: from 2 on there are checksums.
      if start.count == 9, start.prefix(8) == [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a], start[8] < 2 {
        throw FileError(
          path, "is in HDF5's older form, which has no checksums",
          remedy: "write it in that of HDF5 1.10 (in h5py, libver='v110')")
      }
      guard start.count == 9, start[0] == 0x89, start[8] <= 3 else {
        throw FileError(path, "cannot be opened: it is no HDF5 file, or a damaged or truncated one")
      }
    }
    file = try HDF5Library.enter {
      let id = H5Fopen(path, graft_H5F_ACC_RDONLY(), 0)
      guard id >= 0 else {
        throw FileError(path, "cannot be opened: it is no HDF5 file, or a damaged or truncated one")
      }
      return id
    }
  }

  deinit { HDF5Library.enter { _ = H5Fclose(file) } }

  /// Whether there is a dataset, or a group, of that name.
  public func has(_ name: String) -> Bool { HDF5Library.enter { (try? checkLinks(name)) != nil } }

  /// A dataset's numbers.
  ///
  /// - Parameter shape: what its sizes must be; any sizes of 1 to 4 axes unless given.
  /// - Throws: a ``FileError`` naming the dataset when it is missing, of another type or shape, or damaged.
  public func read<Element: HDF5Element>(
    _ name: String, as type: Element.Type = Element.self, shape expected: [Int]? = nil
  ) throws -> HDF5Array<Element> {
    try HDF5Library.enter {
      let place = "dataset \(quoted(name))"
      let dataset = try open(name, as: type, place), shape = try shape(of: dataset, place)
      if let expected, expected != shape {
        throw FileError(path, at: place, "has shape \(shape); expected \(expected)")
      }
      let count = try checkedCount(shape, MemoryLayout<Element>.size, dataset, place)
      var values = [Element](repeating: .zero, count: count)
      if count > 0, H5Dread(dataset.id, Element.hdf5Types.memory, 0, 0, 0, &values) < 0 {
        throw FileError(path, at: place, "cannot be read: its bytes are damaged")
      }
      return HDF5Array(shape: shape, values: values)
    }
  }

  /// Whether there is a dataset of that name and type.
  public func holds<Element: HDF5Element>(_ name: String, _ type: Element.Type) -> Bool {
    HDF5Library.enter { (try? open(name, as: type, "")) != nil }
  }

  /// Refuses a dataset that is missing, or not of that type and shape, without reading it.
  func check<Element: HDF5Element>(_ name: String, as type: Element.Type, shape wanted: [Int]) throws {
    try HDF5Library.enter {
      let place = "dataset \(quoted(name))"
      let dataset = try open(name, as: type, place), shape = try shape(of: dataset, place)
      guard shape == wanted else { throw FileError(path, at: place, "has shape \(shape); expected \(wanted)") }
      _ = try checkedCount(shape, MemoryLayout<Element>.size, dataset, place)
    }
  }

  /// The dataset, opened with a property list for access (0 for the library's own).
  func open<Element: HDF5Element>(
    _ name: String, as type: Element.Type, access: Int64 = 0, _ place: String
  ) throws -> HDF5Handle {
    try checkLinks(name)
    guard let dataset = HDF5Handle.dataset(H5Dopen2(file, name, access)) else {
      throw FileError(path, at: place, "is no dataset")
    }
    guard let stored = HDF5Handle.type(H5Dget_type(dataset.id)),
      Element.hdf5Types.stored.contains(where: { H5Tequal(stored.id, $0) > 0 })
    else { throw FileError(path, at: place, "does not hold \(Element.hdf5Name)") }
    return dataset
  }

  /// A text noted at the file's root.
  public func text(_ name: String) throws -> String {
    try HDF5Library.enter {
      let place = "attribute \(quoted(name))"
      guard let attribute = try attribute(name, place), let type = HDF5Handle.type(H5Aget_type(attribute.id)),
        H5Tget_class(type.id) == H5T_STRING, H5Tis_variable_str(type.id) == 0
      else { throw FileError(path, at: place, "is no text of fixed length") }
      let size = H5Tget_size(type.id)
      // The library itself keeps attributes below 64 KiB unless asked otherwise.
      guard (1...1 << 16).contains(size), let memory = HDF5Handle.type(H5Tcopy(type.id)) else {
        throw FileError(path, at: place, "has \(size) bytes; at most \(1 << 16) are read")
      }
      var bytes = [UInt8](repeating: 0, count: size)
      guard H5Aread(attribute.id, memory.id, &bytes) >= 0,
        let text = String(validating: bytes.prefix { $0 != 0 }, as: UTF8.self)
      else { throw FileError(path, at: place, "is not UTF-8 text") }
      return text
    }
  }

  /// A number noted at the file's root.
  public func integer(_ name: String) throws -> Int64 {
    try HDF5Library.enter {
      let place = "attribute \(quoted(name))"
      guard let attribute = try attribute(name, place), let type = HDF5Handle.type(H5Aget_type(attribute.id)),
        Int64.hdf5Types.stored.contains(where: { H5Tequal(type.id, $0) > 0 })
      else { throw FileError(path, at: place, "is no 64-bit integer") }
      var number: Int64 = 0
      guard H5Aread(attribute.id, Int64.hdf5Types.memory, &number) >= 0 else {
        throw FileError(path, at: place, "cannot be read")
      }
      return number
    }
  }

  /// The attribute, which holds one value.
  private func attribute(_ name: String, _ place: String) throws -> HDF5Handle? {
    guard H5Aexists(file, name) > 0, let attribute = HDF5Handle.attribute(H5Aopen(file, name, 0)) else {
      throw FileError(path, at: place, "is missing")
    }
    guard let space = HDF5Handle.space(H5Aget_space(attribute.id)), H5Sget_simple_extent_npoints(space.id) == 1 else {
      throw FileError(path, at: place, "does not hold one value")
    }
    return attribute
  }

  /// Refuses a name that is missing, or that leads out of the file or around in it.
  func checkLinks(_ name: String) throws {
    let place = "dataset \(quoted(name))"
    var partial = ""
    for part in name.split(separator: "/", omittingEmptySubsequences: false) {
      guard !part.isEmpty, part != "." else { throw FileError(path, at: place, "is no name of a dataset") }
      partial += partial.isEmpty ? String(part) : "/" + part
      let isHard = graft_H5L_is_hard(file, partial)
      guard isHard >= 0 else { throw FileError(path, at: place, "is missing") }
      guard isHard > 0 else {
        throw FileError(path, at: place, "is a link, which is not followed", remedy: "store the dataset itself")
      }
    }
  }

  /// The sizes of a dataset that has so many axes; none of a single number.
  func shape(
    of dataset: borrowing HDF5Handle, _ place: String, axes: ClosedRange<Int> = 1...HDF5Library.maxRank
  ) throws -> [Int] {
    guard let space = HDF5Handle.space(H5Dget_space(dataset.id)), case let kind = H5Sget_simple_extent_type(space.id),
      kind == H5S_SIMPLE || kind == H5S_SCALAR, case let rank = Int(H5Sget_simple_extent_ndims(space.id)),
      axes.contains(rank)
    else { throw FileError(path, at: place, "does not have \(axes.lowerBound) to \(axes.upperBound) axes") }
    guard rank > 0 else { return [] }
    var sizes = [UInt64](repeating: 0, count: rank)
    guard H5Sget_simple_extent_dims(space.id, &sizes, nil) == rank, sizes.allSatisfy({ $0 <= Int32.max }) else {
      throw FileError(path, at: place, "has a size above \(Int32.max)")
    }
    return sizes.map(Int.init)
  }

  /// The number of elements, once it is sure that they lie in this file, behind known filters, and are really there.
  func checkedCount(
    _ shape: [Int], _ size: Int, _ dataset: borrowing HDF5Handle, _ place: String
  ) throws -> Int {
    guard let properties = HDF5Handle.properties(H5Dget_create_plist(dataset.id)) else {
      throw FileError(path, at: place, "cannot be read")
    }
    let layout = H5Pget_layout(properties.id)
    guard H5Pget_external_count(properties.id) == 0,
      layout == H5D_COMPACT || layout == H5D_CONTIGUOUS || layout == H5D_CHUNKED
    else { throw FileError(path, at: place, "is kept outside the file, which is not followed") }
    var isDeflated = false
    for index in 0..<max(0, H5Pget_nfilters(properties.id)) {
      var flags: UInt32 = 0, count = 0, configuration: UInt32 = 0
      let filter = H5Pget_filter2(properties.id, UInt32(index), &flags, &count, nil, 0, nil, &configuration)
      guard (1...3).contains(filter), H5Zfilter_avail(filter) > 0 else {
        throw FileError(
          path, at: place, "is stored through filter \(filter)", remedy: "store it plain, shuffled or deflated")
      }
      if filter == 1 { isDeflated = true }
    }
    var bytes = size
    for axis in shape {
      let (product, overflow) = bytes.multipliedReportingOverflow(by: axis)
      guard !overflow else { throw FileError(path, at: place, "has shape \(shape), which cannot be addressed") }
      bytes = product
    }
    // Deflate shrinks at most 1032-fold; what claims more was never written, and would be made of zeros.
    let written = Int(clamping: H5Dget_storage_size(dataset.id))
    let (most, overflow) = written.multipliedReportingOverflow(by: isDeflated ? 1032 : 1)
    guard overflow || bytes <= most else {
      throw FileError(path, at: place, "has shape \(shape), but only \(written) bytes of it were written")
    }
    return bytes / size
  }
}
