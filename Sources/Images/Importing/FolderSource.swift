import Files

/// A folder with a folder of PNG and JPEG files for each class, in the order of their names' bytes.
final class FolderSource: ImageSource {
  let labels: [Int]
  let classNames: [String]
  private let files: [String]
  private var position = 0

  /// Lists the files; names that begin with a point, and files beside the folders of the classes, are passed over.
  ///
  /// - Throws: a ``FileError`` when there is no folder of a class, one without images, or a file that is no image.
  init(_ path: String) throws {
    classNames = Folder.names(in: path).filter { !$0.hasPrefix(".") && Folder.isFolder(path + "/" + $0) }
    guard !classNames.isEmpty else {
      throw FileError(path, "has no folders; expected one for each class, with PNG and JPEG files")
    }
    var labels: [Int] = [], files: [String] = []
    for (label, name) in classNames.enumerated() {
      let folder = path + "/" + name, members = Folder.names(in: folder).filter { !$0.hasPrefix(".") }
      guard !members.isEmpty else { throw FileError(folder, "holds no images", remedy: "remove the folder") }
      for member in members {
        guard [".png", ".jpg", ".jpeg"].contains(where: member.lowercased().hasSuffix) else {
          throw FileError(folder + "/" + member, "is not named as a PNG or JPEG file", remedy: "move it elsewhere")
        }
        files.append(folder + "/" + member)
        labels.append(label)
      }
    }
    (self.labels, self.files) = (labels, files)
  }

  func next() throws -> Picture {
    defer { position += 1 }
    return try Picture(reading: files[position])
  }

  func skip() { position += 1 }

  func finish() {}
}
