import Glibc

/// A file's bytes, mapped into memory for reading; pages load when touched.
///
/// Replacing the file by renaming another over it, as ``AtomicFile`` does, leaves the mapped bytes as they were. A
/// program that shortens the file in place takes them away: reading them then ends the process, as with any mapping.
///
/// Safe to share: every property is a constant, and nothing writes to the mapping before it is released.
public final class MappedFile: @unchecked Sendable {
  /// The file, as the caller named it.
  public let path: String

  /// All of the file; an empty file gives an empty buffer.
  ///
  /// Valid while this object lives, which a temporary does not: write `let file = try MappedFile(path)` and read
  /// `file.bytes`, never `try MappedFile(path).bytes`, or use ``withBytes(_:)``.
  public let bytes: UnsafeRawBufferPointer

  /// How many bytes it has.
  public var count: Int { bytes.count }

  /// - Throws: `FileError` when the file cannot be opened or is not a regular file.
  public init(_ path: String) throws {
    self.path = path
    guard !path.utf8.contains(0) else { throw FileError(path, "the path contains a zero byte") }
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw FileError(path, "cannot be opened: \(systemMessage(errno))") }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      throw FileError(path, "cannot be examined: \(systemMessage(errno))")
    }
    guard status.st_mode & S_IFMT == S_IFREG else {
      let kind = status.st_mode & S_IFMT == S_IFDIR ? "is a folder" : "is a device or pipe"
      throw FileError(path, "\(kind), not a file")
    }
    guard status.st_size > 0 else {
      bytes = UnsafeRawBufferPointer(start: nil, count: 0)
      return
    }
    let mapping = mmap(nil, Int(status.st_size), PROT_READ, MAP_PRIVATE, descriptor, 0)
    guard let mapping, mapping != MAP_FAILED else {
      throw FileError(path, "cannot be mapped into memory: \(systemMessage(errno))")
    }
    bytes = UnsafeRawBufferPointer(start: mapping, count: Int(status.st_size))
  }

  /// Gives all of the file to `body` and keeps it mapped until `body` returns.
  public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    try withExtendedLifetime(self) { try body(bytes) }
  }

  /// Lets go of the memory that some of the bytes take; they load again when they are touched.
  public func forget(_ part: UnsafeRawBufferPointer) {
    guard let start = part.baseAddress else { return }
    // Whole pages only: what else lies on the first and the last may be in use.
    let page = Int(sysconf(Int32(_SC_PAGESIZE))), first = (Int(bitPattern: start) + page - 1) / page * page
    let end = (Int(bitPattern: start) + part.count) / page * page
    guard end > first else { return }
    madvise(UnsafeMutableRawPointer(bitPattern: first), end - first, MADV_DONTNEED)
  }

  deinit {
    if let start = bytes.baseAddress {
      munmap(UnsafeMutableRawPointer(mutating: start), bytes.count)
    }
  }
}
