import Files
import Glibc

/// The folder in which a quantisation keeps finished blocks until the model is written, for one process at a time.
final class WorkFolder: Sendable {
  /// The folder.
  let path: String
  private let lock: Int32

  /// Makes the folder, or opens the one that the same job left.
  ///
  /// - Parameter job: a digest of all that the blocks depend on.
  /// - Throws: a `FileError` when it holds what is no work of that job, or another process is at it.
  init(_ path: String, job: String) throws {
    let names = Folder.names(in: path)
    if let other = names.first(where: { !Self.isOwn($0) }), !names.contains(Self.mark) {
      throw FileError(
        path, "is where unfinished work is kept, and holds '\(other)', which is none",
        remedy: "move it away, or choose another output")
    }
    if names.contains(where: { $0.hasPrefix("block-") || $0.hasPrefix("stream-") }), !names.contains(Self.mark) {
      throw FileError(
        path, "does not say of what it is the unfinished work", remedy: "remove \(path), or choose another output")
    }
    try Folder.create(path)
    let lock = open(path + "/.lock", O_CREAT | O_RDWR | O_CLOEXEC, 0o666)
    guard lock >= 0 else { throw FileError.unwritable(path, "cannot be written to: \(systemMessage(errno))") }
    do {
      // The process before may have removed the folder since it was opened.
      guard flock(lock, LOCK_EX | LOCK_NB) == 0, Folder.exists(path + "/.lock") else {
        throw FileError(path, "is in use by another graft quantize", remedy: "wait for it, or choose another output")
      }
      try FolderMark.keep(
        job, in: path, as: Self.mark, problem: "holds the unfinished work of another model, plan or text",
        remedy: "remove \(path) to begin anew, or choose another output")
    } catch {
      close(lock)
      throw error
    }
    (self.path, self.lock) = (path, lock)
  }

  deinit { close(lock) }

  /// Removes the work; what else lies in the folder stays.
  func remove() {
    for name in Folder.names(in: path) where Self.isOwn(name) { unlink(path + "/" + name) }
    rmdir(path)
  }

  private static let mark = "job.txt"

  private static func isOwn(_ name: String) -> Bool {
    [mark, ".lock"].contains(name) || ["block-", "stream-", ".graft-"].contains { name.hasPrefix($0) }
  }
}
