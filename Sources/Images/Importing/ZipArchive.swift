import Files

/// The members of a zip archive, as its directory lists them: stored or deflated, also beyond 4 GB.
struct ZipArchive {
  private struct Member {
    let offset, packedSize, size: Int
    let method: Int
    let crc: UInt32
  }

  private let file: MappedFile
  private var members: [String: Member] = [:]

  /// Reads the directory, which lies at the end.
  ///
  /// - Throws: a ``FileError`` when there is none, or it leads out of the file.
  init(_ path: String) throws {
    file = try MappedFile(path)
    let bytes = file.bytes
    let damaged = FileError(path, "is no zip archive, or a damaged one")
    // The last record has 22 bytes and a comment of up to 65,535 more.
    let candidates = stride(from: bytes.count - 22, through: max(0, bytes.count - 22 - 65_535), by: -1)
    guard bytes.count >= 22, let end = candidates.first(where: { number(at: $0, 4) == 0x0605_4b50 }) else {
      throw damaged
    }
    guard var entries = number(at: end + 10, 2), var place = number(at: end + 16, 4) else { throw damaged }
    if place == 0xffff_ffff || entries == 0xffff {
      guard number(at: end - 20, 4) == 0x0706_4b50, let wide = number(at: end - 12, 8),
        number(at: wide, 4) == 0x0606_4b50, let count = number(at: wide + 32, 8), let start = number(at: wide + 48, 8)
      else { throw damaged }
      (entries, place) = (count, start)
    }
    for _ in 0..<min(entries, bytes.count / 46) {
      guard number(at: place, 4) == 0x0201_4b50, let flags = number(at: place + 8, 2),
        let method = number(at: place + 10, 2), let crc = number(at: place + 16, 4),
        var packed = number(at: place + 20, 4), var size = number(at: place + 24, 4),
        let nameLength = number(at: place + 28, 2), let extraLength = number(at: place + 30, 2),
        let commentLength = number(at: place + 32, 2), var offset = number(at: place + 42, 4),
        place + 46 + nameLength + extraLength + commentLength <= bytes.count,
        let name = String(validating: bytes[place + 46..<place + 46 + nameLength], as: UTF8.self)
      else { throw damaged }
      var extra = place + 46 + nameLength
      let extraEnd = extra + extraLength
      while let kind = number(at: extra, 2), let length = number(at: extra + 2, 2), extra + 4 + length <= extraEnd {
        if kind == 1 {
          // Sizes too large for 32 bits, in this order, and only those that are.
          var field = extra + 4
          func take(_ value: inout Int) throws {
            guard value == 0xffff_ffff else { return }
            guard field + 8 <= extra + 4 + length, let wide = number(at: field, 8) else { throw damaged }
            (value, field) = (wide, field + 8)
          }
          try take(&size)
          try take(&packed)
          try take(&offset)
        }
        extra += 4 + length
      }
      guard flags & 1 == 0 else { throw FileError(path, at: "member \(quoted(name))", "is encrypted") }
      members[name] = Member(
        offset: offset, packedSize: packed, size: size, method: method, crc: UInt32(truncatingIfNeeded: crc))
      place += 46 + nameLength + extraLength + commentLength
    }
  }

  /// The names of the members, sorted.
  var names: [String] { members.keys.sorted() }

  /// The bytes of a member.
  ///
  /// - Throws: a ``FileError`` when there is no such member, or it leads out of the file.
  func stream(_ name: String) throws -> ByteStream {
    guard let member = members[name] else { throw FileError(file.path, "has no member \(quoted(name))") }
    let damaged = FileError(file.path, at: "member \(quoted(name))", "leads out of the file")
    guard number(at: member.offset, 4) == 0x0403_4b50, let nameLength = number(at: member.offset + 26, 2),
      let extraLength = number(at: member.offset + 28, 2)
    else { throw damaged }
    let start = member.offset + 30 + nameLength + extraLength
    guard start <= file.bytes.count, member.packedSize <= file.bytes.count - start else { throw damaged }
    let part = UnsafeRawBufferPointer(rebasing: file.bytes[start..<start + member.packedSize])
    let path = "\(file.path): member \(quoted(name))"
    switch member.method {
    case 0: return ByteStream(file, part, .stored(crc: member.crc), path)
    case 8: return ByteStream(file, part, .deflate(size: member.size, crc: member.crc), path)
    default:
      throw FileError(path, "is packed by method \(member.method); stored and deflated members are read")
    }
  }

  /// A number of `size` bytes, least significant first; nothing outside the file or above what is addressable.
  private func number(at place: Int, _ size: Int) -> Int? {
    guard place >= 0, place <= file.bytes.count - size else { return nil }
    let value = (0..<size).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64(file.bytes[place + $1]) }
    // Far below the largest number, so that sums of several cannot overflow.
    return value < 1 << 60 ? Int(value) : nil
  }
}
