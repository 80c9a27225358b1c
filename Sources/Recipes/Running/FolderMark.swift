import Files

/// What the work in a folder belongs to, a digest in a file of it, so that no other job goes on there.
enum FolderMark {
  /// Leaves `mark` in `folder`, made where it is not there, in the file `name`.
  ///
  /// - Throws: a `FileError` with `problem` and `remedy` when the folder has another mark already.
  static func keep(
    _ mark: String, in folder: String, as name: String, problem: String, remedy: String
  ) throws {
    let path = folder + "/" + name
    if Folder.exists(path), try TextFile.read(path) != mark { throw FileError(folder, problem, remedy: remedy) }
    try Folder.create(folder)
    try AtomicFile.write(mark, to: path)
  }
}
