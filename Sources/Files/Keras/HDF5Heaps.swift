import Glibc

/// Looks over the places in an HDF5 file where texts of any length are kept, before the library does.
///
/// The library walks the objects of such a global heap by the sizes they claim, and of a size of 0 never comes to an end
/// (seen in 1.10.8). So every heap in the file is walked here first; what no library wrote is refused.
///
/// Format: <https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html>, sections II and III.E.
enum HDF5Heaps {
  /// The smallest heap that the library writes, and reads.
  private static let smallest = 4096
  /// A heap's own header, and that of each object in it.
  private static let header = 16

  /// Checks the superblock's version and sizes, and every heap.
  ///
  /// - Throws: `FileError` when the file does not begin as HDF5 does, or a heap is damaged.
  static func check(_ path: String) throws {
    let file = try MappedFile(path)
    try file.withBytes { bytes in
      guard bytes.count > header, bytes.starts(with: [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a]) else {
        throw FileError(path, "is no HDF5 file")
      }
      // Keras writes the older form. On damaged headers of the newer one the library frees what it never allocated.
      guard bytes[8] < 2 else {
        throw FileError(
          path, "is laid out in HDF5's newer form, which is not read", remedy: "write it with h5py's libver='earliest'")
      }
      // The sizes of addresses and of lengths; all that is said of heaps here goes by them.
      guard bytes[13...14].elementsEqual([8, 8]) else {
        throw FileError(path, "has addresses of another size than 64 bits, which cannot be read")
      }
      var position = 0
      while let found = next(bytes, from: position) {
        try walk(bytes, found, path)
        position = found + 4
      }
    }
  }

  /// The place of the next heap's signature.
  private static func next(_ bytes: UnsafeRawBufferPointer, from position: Int) -> Int? {
    let signature: [UInt8] = [0x47, 0x43, 0x4f, 0x4c]
    guard let base = bytes.baseAddress else { return nil }
    var position = position
    // Looking for the first letter alone lets the system search many bytes at once.
    while position < bytes.count - signature.count,
      let found = memchr(base + position, Int32(signature[0]), bytes.count - position).map({
        UnsafeRawPointer($0) - base
      })
    {
      if found <= bytes.count - signature.count, bytes[found..<found + 4].elementsEqual(signature) { return found }
      position = found + 1
    }
    return nil
  }

  private static func walk(_ bytes: UnsafeRawBufferPointer, _ start: Int, _ path: String) throws {
    func length(_ place: Int) -> UInt64 {
      UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self))
    }
    guard bytes.count - start >= smallest, bytes[start + 4] == 1 else { return }
    let size = length(start + 8)
    // The library refuses these itself; the four letters may also be part of a number.
    guard size >= UInt64(smallest), size <= UInt64(bytes.count - start) else { return }
    let end = start + Int(size)
    var position = start + header
    while end - position >= header {
      let index = bytes.loadUnaligned(fromByteOffset: position, as: UInt16.self), claimed = length(position + 8)
      // Index 0 is free space, whose size counts its header; objects are padded to eight bytes.
      let isFree = index == 0, room = UInt64(end - position)
      guard claimed <= room, isFree ? claimed >= UInt64(header) : claimed <= room - UInt64(header) else {
        throw FileError(
          path, at: "byte \(position)", "a text is said to have \(claimed) bytes where \(room) are left",
          remedy: "the file is damaged; fetch it again")
      }
      position += isFree ? Int(claimed) : header + (Int(claimed) + 7) / 8 * 8
    }
  }
}
