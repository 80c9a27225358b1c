import CImageFiles
import Files

/// The bytes of a file, or of a part of it, from the first on, unpacked on the way where they are packed.
final class ByteStream {
  /// How the bytes are packed.
  enum Packing {
    case none, gzip
    /// As in a zip archive, which also says how many there are and their CRC-32.
    case deflate(size: Int, crc: UInt32)
    case stored(crc: UInt32)
  }

  /// The file, and the member of it where it is an archive.
  let path: String
  /// What keeps the bytes where they are.
  private let owner: AnyObject
  private let packing: Packing
  private var input: UnsafeRawBufferPointer
  private let inflater: OpaquePointer?
  private var isEnded = false
  private var count = 0
  private var crc: UInt32 = 0

  /// All of the file at `path`, unpacked when it begins as gzip files do.
  convenience init(_ path: String) throws {
    let file = try MappedFile(path)
    self.init(file, file.bytes, file.bytes.starts(with: [0x1f, 0x8b]) ? .gzip : .none, path)
  }

  /// A member of an archive.
  ///
  /// - Throws: a ``FileError`` when there is no such member, or it is packed in a way that is not read.
  convenience init(_ archive: ZipArchive, _ name: String) throws {
    guard let member = archive.members[name] else {
      throw FileError(archive.file.path, "has no member \(quoted(name))")
    }
    let path = "\(archive.file.path): member \(quoted(name))"
    let part = UnsafeRawBufferPointer(rebasing: archive.file.bytes[member.bytes])
    switch member.method {
    case 0: self.init(archive.file, part, .stored(crc: member.crc), path)
    case 8:
      guard let size = Int(exactly: member.size) else { throw FileError(path, "has an impossible size") }
      self.init(archive.file, part, .deflate(size: size, crc: member.crc), path)
    default: throw FileError(path, "is packed by method \(member.method); stored and deflated members are read")
    }
  }

  /// A part of a file; `path` is for messages.
  init(_ file: AnyObject, _ part: UnsafeRawBufferPointer, _ packing: Packing, _ path: String) {
    (self.owner, self.input, self.packing, self.path) = (file, part, packing, path)
    inflater =
      switch packing {
      case .none, .stored: nil
      case .gzip: graft_inflater_new(1)
      case .deflate: graft_inflater_new(0)
      }
  }

  /// Numbers in memory, least significant byte first; `path` is for messages.
  convenience init(_ numbers: [Int32], _ path: String) {
    let copy = Copy(numbers)
    self.init(copy, UnsafeRawBufferPointer(copy.bytes), .none, path)
  }

  private final class Copy {
    let bytes: UnsafeMutableRawBufferPointer

    init(_ numbers: [Int32]) {
      bytes = .allocate(byteCount: 4 * numbers.count, alignment: 4)
      for (index, number) in numbers.enumerated() {
        bytes.storeBytes(of: number.littleEndian, toByteOffset: 4 * index, as: Int32.self)
      }
    }

    deinit { bytes.deallocate() }
  }

  deinit { graft_inflater_free(inflater) }

  /// Fills as much of `buffer` as there are bytes left; less than all of it only at the end.
  ///
  /// - Throws: a ``FileError`` when packed bytes are damaged or end early.
  func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    var filled = 0
    while filled < buffer.count && !isEnded {
      let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[filled...])
      let written = inflater == nil ? copy(into: rest) : try inflate(into: rest)
      if case .none = packing {} else { check(rest, written) }
      filled += written
      count += written
      if isEnded { try checkEnd() }
    }
    return filled
  }

  /// The next `count` bytes, which `what` names.
  ///
  /// - Throws: a ``FileError`` when there are fewer.
  func read(_ count: Int, _ what: String) throws -> [UInt8] {
    try [UInt8](unsafeUninitializedCapacity: count) { place, used in
      used = try read(into: UnsafeMutableRawBufferPointer(place))
      guard used == count else { throw FileError(path, "ends within \(what)") }
    }
  }

  /// Passes over the next `count` bytes, which `what` names.
  func skip(_ count: Int, _ what: String) throws {
    var left = count
    while left > 0 {
      let part = min(left, 1 << 16)
      _ = try read(part, what)
      left -= part
    }
  }

  /// Everything that is left, which may be at most `limit` bytes.
  func readAll(limit: Int) throws -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count <= limit {
      let more = try [UInt8](unsafeUninitializedCapacity: 1 << 16) { place, used in
        used = try read(into: UnsafeMutableRawBufferPointer(place))
      }
      if more.isEmpty { return bytes }
      bytes += more
    }
    throw FileError(path, "has more than the \(limit) bytes that are read of such a file")
  }

  /// Refuses bytes that are left.
  func expectEnd() throws {
    var byte: UInt8 = 0
    let extra = try withUnsafeMutableBytes(of: &byte) { try read(into: $0) }
    guard extra == 0 else { throw FileError(path, "has bytes after its last number") }
  }

  private func copy(into buffer: UnsafeMutableRawBufferPointer) -> Int {
    let part = min(buffer.count, input.count)
    buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: input[..<part]))
    input = UnsafeRawBufferPointer(rebasing: input[part...])
    isEnded = input.isEmpty
    return part
  }

  private func inflate(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    var source = input.bindMemory(to: UInt8.self).baseAddress, available = input.count, written = 0
    let status = graft_inflate(
      inflater, &source, &available, buffer.bindMemory(to: UInt8.self).baseAddress, buffer.count, &written)
    let used = input.count - available
    guard status >= 0 else { throw FileError(path, "cannot be unpacked: its bytes are damaged") }
    guard status > 0 || written > 0 || used > 0 else { throw FileError(path, "cannot be unpacked: it ends too early") }
    input = UnsafeRawBufferPointer(rebasing: input[used...])
    guard status > 0 else { return written }
    // One gzip file may follow another; zeros may fill the last block of a tape.
    if case .gzip = packing, input.starts(with: [0x1f, 0x8b]) {
      graft_inflater_reset(inflater)
    } else {
      guard input.allSatisfy({ $0 == 0 }) else { throw FileError(path, "has other bytes after the packed ones") }
      isEnded = true
    }
    return written
  }

  private func check(_ buffer: UnsafeMutableRawBufferPointer, _ written: Int) {
    switch packing {
    case .none, .gzip: return
    case .deflate, .stored: crc = graft_crc32(crc, buffer.bindMemory(to: UInt8.self).baseAddress, written)
    }
  }

  private func checkEnd() throws {
    switch packing {
    case .none, .gzip: return
    case .deflate(let size, let expected):
      guard count == size, crc == expected else { throw FileError(path, "cannot be unpacked: its checksum is wrong") }
    case .stored(let expected):
      guard crc == expected else { throw FileError(path, "cannot be unpacked: its checksum is wrong") }
    }
  }
}
