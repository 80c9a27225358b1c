/// Reads little-endian values from bytes in turn, never past their end.
struct GGUFCursor {
  let bytes: UnsafeRawBufferPointer
  let path: String
  private(set) var position = 0

  init(_ bytes: UnsafeRawBufferPointer, path: String) {
    self.bytes = bytes
    self.path = path
  }

  /// Bytes not yet read.
  var remaining: Int { bytes.count - position }

  /// The next value; `what` names it in the error when the bytes end first.
  mutating func read<Value: BitwiseCopyable>(_ type: Value.Type, _ what: @autoclosure () -> String) throws -> Value {
    guard remaining >= MemoryLayout<Value>.size else { throw truncated(what()) }
    defer { position += MemoryLayout<Value>.size }
    return bytes.loadUnaligned(fromByteOffset: position, as: type)
  }

  /// A 64-bit count of things of which each takes at least `size` bytes, so that it cannot exceed what follows.
  mutating func count(ofSize size: Int, _ what: @autoclosure () -> String) throws -> Int {
    let claimed = try read(UInt64.self, what())
    guard claimed <= UInt64(remaining / size) else {
      throw FileError(
        path, "claims \(what()) of \(claimed) where \(remaining) bytes remain",
        remedy: "the file may be truncated; fetch it again")
    }
    return Int(claimed)
  }

  /// The bytes of a string, after its length.
  mutating func stringBytes(_ what: @autoclosure () -> String) throws -> UnsafeRawBufferPointer {
    let length = try count(ofSize: 1, "a length of \(what())")
    defer { position += length }
    return UnsafeRawBufferPointer(rebasing: bytes[position..<position + length])
  }

  /// A string, which must be UTF-8.
  mutating func string(_ what: @autoclosure () -> String) throws -> String {
    guard let text = String(validating: try stringBytes(what()), as: UTF8.self) else {
      throw FileError(path, "\(what()) is not valid UTF-8")
    }
    return text
  }

  /// Passes over bytes that are known to be there.
  mutating func skip(_ count: Int) {
    position += count
  }

  private func truncated(_ what: String) -> FileError {
    FileError(path, "ends before \(what)", remedy: "the file may be truncated; fetch it again")
  }
}
