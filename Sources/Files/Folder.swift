import Glibc

/// Folders, and what is in them.
public enum Folder {
  /// Makes the folder and those above it, if they are not there yet.
  ///
  /// - Throws: a ``FileError`` when one cannot be made, or is a file.
  public static func create(_ path: String) throws {
    var partial = path.hasPrefix("/") ? "/" : ""
    for part in path.split(separator: "/") {
      partial += partial.isEmpty || partial.hasSuffix("/") ? String(part) : "/" + part
      if mkdir(partial, 0o777) != 0 && errno != EEXIST {
        throw FileError.unwritable(path, "cannot be created: \(systemMessage(errno))")
      }
    }
    guard isFolder(path) else { throw FileError(path, "is a file, where a folder is needed") }
  }

  /// Makes the folder that a file or folder of this name goes to.
  ///
  /// - Throws: a ``FileError`` when it cannot be made, or is a file.
  public static func createParent(of path: String) throws {
    if let slash = path.lastIndex(of: "/"), slash > path.startIndex { try create(String(path[..<slash])) }
  }

  /// Whether a folder is there.
  public static func isFolder(_ path: String) -> Bool {
    var information = stat()
    return stat(path, &information) == 0 && information.st_mode & S_IFMT == S_IFDIR
  }

  /// Whether anything is there.
  public static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  /// Whether both names lead to one file or folder that is there, by whatever path.
  public static func isSame(_ a: String, _ b: String) -> Bool {
    var one = stat(), other = stat()
    return stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino
  }

  /// The names in a folder, sorted; empty when it cannot be read.
  public static func names(in path: String) -> [String] {
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

  /// Removes a folder of plain files, or a file; what is not there is no error.
  public static func remove(_ path: String) {
    if isFolder(path) {
      for name in names(in: path) { remove(path + "/" + name) }
      rmdir(path)
    } else {
      unlink(path)
    }
  }

  /// Writes a folder whole or not at all: `body` fills a sibling, which then takes the name.
  ///
  /// Siblings that processes left which were killed are removed, as ``removeAbandoned(_:)`` does.
  ///
  /// - Throws: what `body` throws, or a ``FileError``; then nothing of that name has changed.
  public static func replace(_ path: String, _ body: (_ temporary: String) throws -> Void) throws {
    let temporary = path + ".partial-\(getpid())"
    removeAbandoned(path)
    remove(temporary)
    try create(temporary)
    // Kept until the end, and let go by the system when the process is killed.
    let claim = claimed(temporary)
    defer { if let claim { close(claim) } }
    do {
      try body(temporary)
      try takePlace(temporary, of: path)
    } catch {
      remove(temporary)
      throw error
    }
  }

  /// Removes what ``replace(_:_:)`` of this name began in processes that are gone.
  ///
  /// A process elsewhere, in another container or on another machine, has a number that says nothing here; what it is
  /// writing is told by its lock.
  public static func removeAbandoned(_ path: String) {
    let slash = path.lastIndex(of: "/")
    let parent = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    let prefix = (slash.map { String(path[path.index(after: $0)...]) } ?? path) + ".partial-"
    for name in names(in: parent) where name.hasPrefix(prefix) {
      let digits = name.dropFirst(prefix.count), sibling = parent + "/" + name
      guard digits.allSatisfy({ ("0"..."9").contains($0) }), let process = pid_t(digits), process > 0,
        kill(process, 0) != 0, errno == ESRCH, let claim = claimed(sibling)
      else { continue }
      remove(sibling)
      close(claim)
    }
  }

  /// A lock on a folder, to be closed; nil where another process has it, or the file system has none.
  private static func claimed(_ path: String) -> Int32? {
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return descriptor }
    close(descriptor)
    return nil
  }

  /// Removes what ``replace(_:_:)`` has begun for `path`, for a process that ends before it is done.
  public static func abandon(_ path: String) { remove(path + ".partial-\(getpid())") }

  /// Swaps two names in one step; false, with `errno` set, where that cannot be done.
  private static func exchange(_ a: String, _ b: String) -> Bool {
    // Swift's view of glibc lacks renameat2 and its flag RENAME_EXCHANGE, 2.
    typealias Rename = @convention(c) (Int32, UnsafePointer<CChar>, Int32, UnsafePointer<CChar>, UInt32) -> Int32
    guard let symbol = dlsym(nil, "renameat2") else {
      errno = ENOSYS
      return false
    }
    return unsafeBitCast(symbol, to: Rename.self)(AT_FDCWD, a, AT_FDCWD, b, 2) == 0
  }

  /// At every moment one of the two has the name, also when the process is killed between.
  private static func takePlace(_ temporary: String, of path: String) throws {
    if exchange(temporary, path) {
      remove(temporary)
    } else {
      // There was nothing to exchange with, or the file system cannot.
      if errno != ENOENT { remove(path) }
      guard rename(temporary, path) == 0 else {
        throw FileError.unwritable(path, "cannot be written: \(systemMessage(errno))")
      }
    }
    let parent = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    let descriptor = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    fsync(descriptor)
    close(descriptor)
  }
}
