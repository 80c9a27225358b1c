import Files
import Testing

struct GGUFHostileTests {
  private static let truncated = "; the file may be truncated; fetch it again"
  private static let alignment =
    "key 'general.alignment': must be a 32-bit unsigned power of two of at most 1048576"

  private static func key(_ kind: UInt32, _ value: [UInt8], name: String = "k") -> GGUFBytes {
    GGUFBytes(keys: [GGUFBytes.Key(name: name, kind: kind, value: value)])
  }

  private static func tensor(
    _ dimensions: [UInt64], type: UInt32 = 0, offset: UInt64 = 0, rank: UInt32? = nil, name: String = "t"
  ) -> GGUFBytes {
    GGUFBytes(tensors: [
      GGUFBytes.Tensor(name: name, rank: rank, dimensions: dimensions, type: type, offset: offset)
    ])
  }

  static let cases: [(String, GGUFBytes, String)] = [
    ("bad magic", GGUFBytes(magic: Array("GGML".utf8)), "does not begin with 'GGUF'; is it a GGUF file?"),
    ("version 0", GGUFBytes(version: 0), "has version 0; 2 and 3 can be read"),
    ("version 1", GGUFBytes(version: 1), "has version 1; 2 and 3 can be read"),
    ("version 4", GGUFBytes(version: 4), "has version 4; 2 and 3 can be read"),
    ("big-endian", GGUFBytes(version: 0x0300_0000), "is big-endian, which cannot be read"),
    (
      "tensor count", GGUFBytes(tensorCount: .max),
      "claims a number of tensors of 18446744073709551615 where 104 bytes remain" + truncated
    ),
    (
      "key count", GGUFBytes(keyCount: 1 << 63),
      "claims a number of keys of 9223372036854775808 where 96 bytes remain" + truncated
    ),
    ("empty key", key(4, littleEndian(UInt32(7)), name: ""), "key 0: is 0 bytes long; 1 to 65535 are allowed"),
    (
      "long key", key(4, littleEndian(UInt32(7)), name: String(repeating: "k", count: 65_536)),
      "key 0: is 65536 bytes long; 1 to 65535 are allowed"
    ),
    ("duplicate key", GGUFBytes(keys: [.init(), .init()]), "key 'k': is there twice"),
    ("kind 13", key(13, [0, 0]), "key 'k': has a value of unknown kind 13"),
    (
      "string near 2^64", key(8, littleEndian(UInt64.max - 3)),
      "claims a length of the value of key 'k' of 18446744073709551612 where" + truncated
    ),
    ("string not UTF-8", key(8, littleEndian(UInt64(1)) + [0xff]), "the value of key 'k' is not valid UTF-8"),
    (
      "nested array", key(9, GGUFBytes.array(9, 1, GGUFBytes.array(4, 1, [0, 0, 0, 0]))),
      "key 'k': holds arrays inside an array, which cannot be read"
    ),
    ("array of kind 13", key(9, GGUFBytes.array(13, 0, [])), "key 'k': has a value of unknown kind 13"),
    (
      "array near 2^64", key(9, GGUFBytes.array(4, .max, [])),
      "claims a length of array 'k' of 18446744073709551615 where" + truncated
    ),
    (
      "array whose size overflows", key(9, GGUFBytes.array(10, 1 << 61, [])),
      "claims a length of array 'k' of 2305843009213693952 where" + truncated
    ),
    (
      "string in array near 2^64", key(9, GGUFBytes.array(8, 1, littleEndian(UInt64.max))),
      "claims a length of element 0 of key 'k' of 18446744073709551615 where" + truncated
    ),
    ("alignment 0", key(4, littleEndian(UInt32(0)), name: "general.alignment"), alignment),
    ("alignment 33", key(4, littleEndian(UInt32(33)), name: "general.alignment"), alignment),
    ("alignment 2 MiB", key(4, littleEndian(UInt32(1 << 21)), name: "general.alignment"), alignment),
    ("alignment of kind u64", key(10, littleEndian(UInt64(32)), name: "general.alignment"), alignment),
    (
      "alignment beyond the file", key(4, littleEndian(UInt32(1 << 20)), name: "general.alignment"),
      "tensor 't': needs 24 bytes, more than the file has left" + truncated
    ),
    ("empty name", tensor([2, 3], name: ""), "tensor 0: has a name of 0 bytes; 1 to 256 are allowed"),
    (
      "long name", tensor([2, 3], name: String(repeating: "t", count: 257)),
      "tensor 0: has a name of 257 bytes; 1 to 256 are allowed"
    ),
    (
      "duplicate tensor", GGUFBytes(tensors: [.init(), .init(offset: 32)], data: 64), "tensor 't': is there twice"
    ),
    ("no dimension", tensor([]), "tensor 't': has 0 dimensions where 1 to 4 are allowed"),
    ("five dimensions", tensor([1, 1, 1, 1, 1]), "tensor 't': has 5 dimensions where 1 to 4 are allowed"),
    ("2^32-1 dimensions", tensor([1], rank: .max), "tensor 't': has 4294967295 dimensions where 1 to 4 are allowed"),
    ("zero dimension", tensor([2, 0]), "tensor 't': has a dimension that is not positive"),
    ("dimension 2^63", tensor([1 << 63]), "tensor 't': has a dimension of 9223372036854775808"),
    ("shape product", tensor([1 << 32, 1 << 32]), "tensor 't': has a shape too large to address"),
    ("size in bytes", tensor([1 << 62]), "tensor 't': has a shape too large to address"),
    (
      "elements beyond Int in fewer bytes", tensor([1 << 62, 3], type: 2),
      "tensor 't': has a shape too large to address"
    ),
    ("type 4", tensor([32], type: 4), "tensor 't': has elements of type 4, which cannot be read"),
    ("type 2^32-1", tensor([32], type: .max), "tensor 't': has elements of type 4294967295, which cannot be read"),
    (
      "half a block", tensor([33], type: 8),
      "tensor 't': has rows that are not whole blocks of 32 elements, as Q8_0 needs"
    ),
    ("offset", tensor([2, 3], offset: 32), "tensor 't': begins at byte 32 of the data where 0 is expected"),
    (
      "offset near 2^64", tensor([2, 3], offset: .max - 31),
      "tensor 't': begins at byte 18446744073709551584 of the data where 0 is expected"
    ),
    (
      "overlap", GGUFBytes(tensors: [.init(), .init(name: "u")], data: 64),
      "tensor 'u': begins at byte 0 of the data where 32 is expected"
    ),
    ("short data", GGUFBytes(data: 23), "tensor 't': needs 24 bytes, more than the file has left" + truncated),
    (
      "no second tensor", GGUFBytes(tensors: [.init(), .init(name: "u", offset: 32)], data: 24),
      "tensor 'u': needs 24 bytes, more than the file has left" + truncated
    ),
  ]

  @Test(arguments: cases.indices) func `A hostile file is refused`(_ index: Int) throws {
    let (what, bytes, expected) = Self.cases[index]
    let scratch = try Scratch()
    let path = try scratch.file("a", bytes.bytes)
    // How many bytes remain is said where the table leaves it out.
    let error = message { _ = try GGUF(path) }
    let shortened = error.replacing(/(where) \d+ bytes remain/) { "\($0.output.1)" }
    #expect(error == "a: " + expected || shortened == "a: " + expected, "\(what)")
  }

  @Test func `A file cut anywhere before its last padding is refused`() throws {
    let scratch = try Scratch()
    let whole = try fixture("every.gguf")
    // The last tensor ends at byte 1224 of 1248.
    for length in 0..<1224 {
      let path = try scratch.file("a", Array(whole[..<length]))
      #expect(message { _ = try GGUF(path) }.hasPrefix("a: "), "cut to \(length) bytes")
    }
    #expect(throws: Never.self) { try GGUF(scratch.file("a", Array(whole[..<1224]))) }
  }

  @Test func `A damaged file throws or opens, never more`() throws {
    let scratch = try Scratch()
    let whole = try fixture("every.gguf")
    var random = SplitMix(state: 4)
    for round in 0..<1000 {
      let path = try scratch.file("a", mutated(whole, &random))
      let error = message {
        let file = try GGUF(path)
        for array in file.metadata.values.compactMap(\.array) {
          _ = try? array.strings()
          _ = try? array.ints()
          _ = try? array.floats()
        }
        for name in file.names { _ = try file.tensor(name).withBytes { $0.reduce(0, &+) } }
      }
      #expect(error == "no error" || error.hasPrefix("a: "), "round \(round)")
    }
  }

  @Test func `A string that is not UTF-8 is named when read`() throws {
    let scratch = try Scratch()
    let elements = GGUFBytes.string("a") + littleEndian(UInt64(1)) + [0xff]
    let path = try scratch.file("a", Self.key(9, GGUFBytes.array(8, 2, elements)).bytes)
    let array = try #require(try GGUF(path).metadata["k"]?.array)
    #expect(array.count == 2)
    #expect(message { _ = try array.strings() } == "a: key 'k': element 1 is not valid UTF-8")
  }
}
