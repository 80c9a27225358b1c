import Glibc

/// Writes a file so that its name always holds either the old content or all of the new.
///
/// The bytes go to a temporary file in the same folder, reach the disk, and only then take the name.
public enum AtomicFile {
  /// Writes what `body` writes to `path`, replacing a regular file there and keeping its permissions.
  ///
  /// - Throws: what `body` throws, or `FileError` with the system's reason. The temporary file is then gone and an old
  ///   file untouched.
  public static func write(_ path: String, _ body: (inout FileWriter) throws -> Void) throws {
    try write(path, body, checking: { _ in })
  }

  /// Writes what `body` writes to `path`, once it is on the disk and `check` has read it there under its temporary name.
  ///
  /// - Throws: what `body` or `check` throws, or `FileError` with the system's reason; an old file is then untouched.
  package static func write(
    _ path: String, _ body: (inout FileWriter) throws -> Void, checking check: (_ temporary: String) throws -> Void
  ) throws {
    try replace(path) { descriptor, temporary in
      // For those who look for what the dead have left.
      flock(descriptor, LOCK_EX | LOCK_NB)
      var writer = FileWriter(descriptor: descriptor, path: path)
      try body(&writer)
      try writer.flush()
      try synchronise(descriptor, path)
      try check(temporary)
    }
  }

  /// Removes what this process has begun to write in `folder`, for a process that ends before it is done.
  public static func abandonAll(in folder: String) {
    for name in Folder.names(in: folder) where writer(of: name) == getpid() { unlink(folder + "/" + name) }
  }

  /// Lets `body` write the file itself under a temporary name, for a library that takes a name and no descriptor.
  static func write(_ path: String, byName body: (_ temporary: String) throws -> Void) throws {
    try replace(path) { try body($1) }
  }

  private static func replace(_ path: String, _ body: (_ descriptor: Int32, _ temporary: String) throws -> Void) throws
  {
    guard !path.isEmpty, !path.utf8.contains(0) else { throw FileError(path, "is not a usable path") }
    let target = try resolved(path)
    let folder = parent(target)
    let (descriptor, temporary) = try createTemporary(in: folder, for: path)
    var isOpen = true
    var isFinished = false
    defer {
      if isOpen { close(descriptor) }
      if !isFinished { unlink(temporary) }
    }
    keepPermissions(of: target, on: descriptor)
    try body(descriptor, temporary)
    try synchronise(descriptor, path)
    isOpen = false
    try check(close(descriptor), path, "cannot be written")
    try check(rename(temporary, target), path, "cannot be replaced")
    isFinished = true
    try synchronise(folder, for: path)
  }

  /// Writes text as UTF-8.
  public static func write(_ text: String, to path: String) throws {
    try write(path) { try $0.write(text) }
  }

  /// Gives a file of the same folder, once it is on the disk, the name `path`.
  static func move(_ temporary: String, to path: String) throws {
    let descriptor = open(temporary, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw FileError.unwritable(path, "cannot be written: \(systemMessage(errno))") }
    defer { close(descriptor) }
    try synchronise(descriptor, path)
    try check(rename(temporary, path), path, "cannot be replaced")
    try synchronise(parent(path), for: path)
  }

  private static func synchronise(_ descriptor: Int32, _ path: String) throws {
    try check(fsync(descriptor), path, "cannot be written to disk")
  }

  private static func check(_ result: Int32, _ path: String, _ problem: String) throws {
    guard result == 0 else { throw FileError.unwritable(path, "\(problem): \(systemMessage(errno))") }
  }

  /// Where a symbolic link leads, so that the link survives; refuses folders and devices.
  private static func resolved(_ path: String) throws -> String {
    var status = stat()
    guard stat(path, &status) == 0 else { return path }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw FileError.unwritable(path, "is not a regular file and cannot be replaced")
    }
    guard let real = realpath(path, nil) else { return path }
    defer { free(real) }
    return String(cString: real)
  }

  private static func parent(_ path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  /// The process that writes a file of this name, where it is the name of an unfinished one.
  private static func writer(of name: String) -> pid_t? {
    guard name.hasPrefix(".graft-"), name.hasSuffix(".partial") else { return nil }
    return pid_t(name.dropFirst(7).prefix { $0 != "-" })
  }

  /// Removes what processes that are gone had begun to write in `folder`.
  private static func removeLeftovers(in folder: String) {
    for name in Folder.names(in: folder) {
      guard let process = writer(of: name), process > 0, kill(process, 0) != 0, errno == ESRCH else { continue }
      let descriptor = open(folder + "/" + name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
      guard descriptor >= 0 else { continue }
      // Another machine or container numbers its processes by itself, and its writer holds a lock.
      if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { unlink(folder + "/" + name) }
      close(descriptor)
    }
  }

  private static func createTemporary(in folder: String, for path: String) throws -> (Int32, String) {
    removeLeftovers(in: folder)
    for attempt in 0..<1000 {
      let name = "\(folder)/.graft-\(getpid())-\(attempt).partial"
      let descriptor = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
      if descriptor >= 0 { return (descriptor, name) }
      guard errno == EEXIST || errno == EINTR else {
        throw FileError.unwritable(path, "cannot be written in folder \(quoted(folder)): \(systemMessage(errno))")
      }
    }
    throw FileError.unwritable(
      path, "cannot be written: folder \(quoted(folder)) is full of unfinished files",
      remedy: "remove those named '.graft-*.partial'")
  }

  private static func keepPermissions(of target: String, on descriptor: Int32) {
    var status = stat()
    if stat(target, &status) == 0 { fchmod(descriptor, status.st_mode & 0o7777) }
  }

  /// Makes the new name itself durable.
  private static func synchronise(_ folder: String, for path: String) throws {
    let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    // A folder that may be written but not listed cannot be opened; the file itself is on disk already.
    guard descriptor >= 0 else { return }
    defer { close(descriptor) }
    guard fsync(descriptor) != 0 else { return }
    // Some network file systems have no way to synchronise a folder and say so.
    guard errno != EINVAL && errno != ENOTSUP else { return }
    throw FileError.unwritable(path, "was replaced but its folder cannot be written to disk: \(systemMessage(errno))")
  }
}
