/// The members of a zip archive, found but neither unpacked nor compared with their checksums.
///
/// Format: PKWARE's APPNOTE, sections 4.3 and 4.5.3 (zip64).
public struct ZipArchive: Sendable {
  /// One member.
  public struct Member: Sendable, Equatable {
    /// Where its bytes, packed as they are, lie in the file.
    public let bytes: Range<Int>
    /// How they are packed: 0 for not at all, 8 for deflate.
    public let method: Int
    /// How many bytes there are once unpacked, and their CRC-32, as the directory says.
    public let size: UInt64, crc: UInt32

    /// Whether the bytes are the member as it is.
    public var isStored: Bool { method == 0 && size == UInt64(bytes.count) }
  }

  /// By name.
  public private(set) var members: [String: Member] = [:]

  /// The most members an archive may have.
  static let mostMembers = 1 << 20

  /// The archive.
  public let file: MappedFile

  /// Reads the archive's directory.
  ///
  /// - Throws: `FileError` when it is damaged, or a member is encrypted, given twice or leads out of the file.
  public init(_ file: MappedFile) throws {
    self.file = file
    let end = try endOfDirectory()
    var position = end.start
    for _ in 0..<end.count { try readMember(at: &position, before: end.start + end.size) }
  }

  private func broken(_ problem: String) -> FileError {
    FileError(file.path, "is a zip archive that \(problem)", remedy: "the file may be truncated; fetch it again")
  }

  /// The integer at a position that must lie in the file.
  private func load<Value: FixedWidthInteger & BitwiseCopyable>(_ position: Int, as type: Value.Type) throws -> Value {
    guard position >= 0, position <= file.bytes.count - MemoryLayout<Value>.size else {
      throw broken("refers to bytes beyond its end")
    }
    return Value(littleEndian: file.bytes.loadUnaligned(fromByteOffset: position, as: type))
  }

  private func short(_ position: Int) throws -> Int { Int(try load(position, as: UInt16.self)) }

  /// A 64-bit number that must be one of a byte in the file.
  private func offset(_ position: Int) throws -> Int {
    let value = try load(position, as: UInt64.self)
    guard value <= UInt64(file.bytes.count) else { throw broken("refers to bytes beyond its end") }
    return Int(value)
  }

  /// Finds the record at the archive's end, behind which only a comment may follow.
  private func endOfDirectory() throws -> (start: Int, size: Int, count: Int) {
    let last = file.bytes.count - 22
    var found: Int?
    var position = last
    while position >= max(0, last - 0xffff), found == nil {
      let comment = try short(position + 20)
      if try load(position, as: UInt32.self) == 0x0605_4b50, position + 22 + comment == file.bytes.count {
        found = position
      }
      position -= 1
    }
    guard let end = found else { throw broken("has no directory at its end") }
    var count = try short(end + 10)
    var size = Int(try load(end + 12, as: UInt32.self)), start = Int(try load(end + 16, as: UInt32.self))
    if count == 0xffff || size == 0xffff_ffff || start == 0xffff_ffff {
      guard try load(end - 20, as: UInt32.self) == 0x0706_4b50 else { throw broken("has no 64-bit directory") }
      let wide = try offset(end - 12)
      guard try load(wide, as: UInt32.self) == 0x0606_4b50 else { throw broken("has no 64-bit directory") }
      (count, size, start) = (try offset(wide + 32), try offset(wide + 40), try offset(wide + 48))
    }
    guard start <= end, size <= end - start, count <= size / 46, count <= Self.mostMembers else {
      throw broken("has a directory of \(count) members that does not lie before its end")
    }
    return (start, size, count)
  }

  /// Reads one entry of the directory, and the header before the member's bytes.
  private mutating func readMember(at position: inout Int, before end: Int) throws {
    guard position <= end - 46, try load(position, as: UInt32.self) == 0x0201_4b50 else {
      throw broken("has a damaged directory")
    }
    let flags = try short(position + 8), method = try short(position + 10)
    var packed = UInt64(try load(position + 20, as: UInt32.self))
    var size = UInt64(try load(position + 24, as: UInt32.self))
    var header = UInt64(try load(position + 42, as: UInt32.self))
    let nameLength = try short(position + 28)
    let extraLength = try short(position + 30)
    let commentLength = try short(position + 32)
    let extra = position + 46 + nameLength, next = extra + extraLength + commentLength
    guard next <= end else { throw broken("has a damaged directory") }
    let bytes = UnsafeRawBufferPointer(rebasing: file.bytes[position + 46..<extra])
    guard let name = String(validating: bytes, as: UTF8.self), !name.isEmpty else {
      throw broken("has a member whose name is not UTF-8")
    }
    try widen(&size, &packed, &header, from: extra..<extra + extraLength)
    let place = "member \(quoted(name))"
    guard flags & 1 == 0 else { throw FileError(file.path, at: place, "is encrypted") }
    guard header <= UInt64(file.bytes.count), try load(Int(header), as: UInt32.self) == 0x0403_4b50 else {
      throw FileError(file.path, at: place, "does not begin where the directory says")
    }
    let inner = try short(Int(header) + 26)
    let padding = try short(Int(header) + 28)
    let start = Int(header) + 30 + inner + padding
    guard start <= file.bytes.count, packed <= UInt64(file.bytes.count - start) else {
      throw FileError(
        file.path, at: place, "ends beyond the file", remedy: "the file may be truncated; fetch it again")
    }
    // Two names for the same bytes would let two readers see two files.
    guard inner == nameLength, file.bytes[Int(header) + 30..<Int(header) + 30 + inner].elementsEqual(bytes) else {
      throw FileError(file.path, at: place, "has another name where its bytes begin")
    }
    let member = Member(
      bytes: start..<start + Int(packed), method: method, size: size, crc: try load(position + 16, as: UInt32.self))
    guard members.updateValue(member, forKey: name) == nil else {
      throw FileError(file.path, at: place, "is there twice")
    }
    position = next
  }

  /// Takes the numbers that do not fit 32 bits from the zip64 field among the extra ones.
  private func widen(
    _ size: inout UInt64, _ packed: inout UInt64, _ header: inout UInt64, from extra: Range<Int>
  ) throws {
    let most: UInt64 = 0xffff_ffff
    guard size == most || packed == most || header == most else { return }
    var position = extra.lowerBound
    while position <= extra.upperBound - 4 {
      let kind = try short(position), length = try short(position + 2)
      var value = position + 4
      let end = value + length
      guard end <= extra.upperBound else { break }
      if kind == 1 {
        func next(_ number: inout UInt64) throws {
          guard number == most else { return }
          guard value + 8 <= end else { throw broken("has a damaged directory") }
          number = try load(value, as: UInt64.self)
          value += 8
        }
        try next(&size)
        try next(&packed)
        try next(&header)
        return
      }
      position = end
    }
    throw broken("has a damaged directory")
  }
}
