import Files
import Glibc
import Testing

/// A folder of a test's own, removed with it.
final class Scratch {
  let path: String

  init() throws {
    var template = Array("/tmp/graft-files-XXXXXX".utf8CString)
    path = String(cString: try #require(mkdtemp(&template)))
  }

  deinit {
    for name in contents { unlink("\(path)/\(name)") }
    rmdir(path)
  }

  /// The names in the folder, sorted.
  var contents: [String] {
    guard let folder = opendir(path) else { return [] }
    defer { closedir(folder) }
    var names: [String] = []
    while let entry = readdir(folder) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  /// Writes a file without the library's help and gives its path.
  func file(_ name: String, _ bytes: [UInt8]) throws -> String {
    let path = "\(path)/\(name)"
    let file = try #require(fopen(path, "w"))
    defer { fclose(file) }
    try #require(fwrite(bytes, 1, bytes.count, file) == bytes.count)
    return path
  }

  func file(_ name: String, _ text: String) throws -> String {
    try file(name, Array(text.utf8))
  }
}

/// The bytes of a fixture.
func fixture(_ name: String, _ source: String = #filePath) throws -> [UInt8] {
  try contents(fixturePath(name, source))
}

/// All bytes of a file.
func contents(_ path: String) throws -> [UInt8] {
  try MappedFile(path).withBytes(Array.init)
}

func fixturePath(_ name: String, _ source: String = #filePath) -> String {
  let tests = source.split(separator: "/").dropLast(2).joined(separator: "/")
  return "/\(tests)/Fixtures/files/\(name)"
}

/// The error that `body` throws, without the folder in front of the path; it has to be a `FileError`.
func message(_ body: () throws -> Void) -> String {
  do {
    try body()
    return "no error"
  } catch let error as FileError {
    var short = error
    short.path = String(error.path.split(separator: "/").last ?? "")
    return short.description
  } catch {
    return "not a FileError: \(error)"
  }
}

/// The bytes of an integer, least significant first.
func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
  withUnsafeBytes(of: value.littleEndian) { Array($0) }
}

/// SplitMix64, so that the mutations are the same in every run.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}

/// The bytes with one to four small damages: a byte changed, removed or doubled, or eight bytes set to an extreme.
func mutated(_ original: [UInt8], _ random: inout SplitMix) -> [UInt8] {
  var bytes = original
  for _ in 0..<Int.random(in: 1...4, using: &random) where !bytes.isEmpty {
    let index = Int.random(in: 0..<bytes.count, using: &random)
    switch Int.random(in: 0..<5, using: &random) {
    case 0: bytes[index] = UInt8.random(in: 0...255, using: &random)
    case 1: bytes[index] ^= 1 << UInt8.random(in: 0..<8, using: &random)
    case 2: bytes.remove(at: index)
    case 3: bytes.insert(bytes[index], at: index)
    default:
      let extremes: [UInt64] = [.max, 1 << 63, 0, 1 << 32]
      let extreme = extremes[Int.random(in: 0..<4, using: &random)]
      for (offset, byte) in littleEndian(extreme).enumerated() where index + offset < bytes.count {
        bytes[index + offset] = byte
      }
    }
  }
  return bytes
}
