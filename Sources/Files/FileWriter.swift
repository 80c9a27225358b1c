import Glibc

/// Buffered writing to an open file.
public struct FileWriter {
  private let descriptor: Int32
  private let path: String
  private var buffer: [UInt8] = []
  private static let capacity = 1 << 16

  /// How many bytes have been written.
  public private(set) var position = 0

  /// Writes to an open descriptor, which stays the caller's to close; `path` is for messages.
  package init(descriptor: Int32, path: String) {
    self.descriptor = descriptor
    self.path = path
    buffer.reserveCapacity(Self.capacity)
  }

  /// - Throws: `FileError` with the system's reason, such as a full disk.
  public mutating func write(_ bytes: UnsafeRawBufferPointer) throws {
    if buffer.count + bytes.count > Self.capacity { try flush() }
    if bytes.count >= Self.capacity {
      try send(bytes)
    } else {
      buffer.append(contentsOf: bytes)
    }
    position += bytes.count
  }

  /// Writes text as UTF-8.
  public mutating func write(_ text: String) throws {
    var text = text
    try text.withUTF8 { try write(UnsafeRawBufferPointer($0)) }
  }

  /// Writes an integer, least significant byte first.
  package mutating func write(_ value: some FixedWidthInteger) throws {
    try withUnsafeBytes(of: value.littleEndian) { try write($0) }
  }

  /// Writes `byte` until the position is a multiple of `alignment`.
  package mutating func pad(to alignment: Int, with byte: UInt8 = 0) throws {
    let count = (alignment - position % alignment) % alignment
    try [UInt8](repeating: byte, count: count).withUnsafeBytes { try write($0) }
  }

  /// Hands everything written so far to the system.
  package mutating func flush() throws {
    try buffer.withUnsafeBytes { try send($0) }
    buffer.removeAll(keepingCapacity: true)
  }

  private func send(_ bytes: UnsafeRawBufferPointer) throws {
    var rest = bytes[...]
    while !rest.isEmpty {
      let part = UnsafeRawBufferPointer(rebasing: rest)
      let count = Glibc.write(descriptor, part.baseAddress, part.count)
      if count < 0 {
        guard errno != EINTR else { continue }
        throw FileError.unwritable(path, "cannot be written: \(systemMessage(errno))")
      }
      rest = rest.dropFirst(count)
    }
  }
}
