import Glibc

/// The index of a model split over several safetensors files: which file holds which tensor.
struct ShardIndex {
  /// The files' names, sorted, each once.
  let files: [String]

  private let path: String
  private let fileOfTensor: [String: String]

  init(_ path: String) throws {
    self.path = path
    guard let map = try JSON.read(path)["weight_map"]?.object, !map.isEmpty else {
      throw FileError(path, at: "'weight_map'", "is missing or is not an object with tensors in it")
    }
    fileOfTensor = try Dictionary(
      uniqueKeysWithValues: map.map { tensor, value in
        guard let file = value.string else {
          throw FileError(path, at: "tensor \(quoted(tensor))", "is not given the name of a file")
        }
        // A file of this very folder: no path, so that an index from elsewhere reads nothing but the model.
        guard !file.isEmpty, file != ".", file != "..",
          !file.utf8.contains(where: { $0 == UInt8(ascii: "/") || $0 == 0 })
        else {
          throw FileError(path, at: "tensor \(quoted(tensor))", "is said to be in \(quoted(file)), outside this folder")
        }
        return (tensor, file)
      })
    files = Set(fileOfTensor.values).sorted()
  }

  /// Checks that each tensor of the index was found in the file it names.
  func check(_ entries: [String: TensorEntry]) throws {
    for (tensor, file) in fileOfTensor.sorted(by: { $0.key < $1.key }) {
      guard let entry = entries[tensor], entry.file.path.hasSuffix("/" + file) else {
        throw FileError(path, at: "tensor \(quoted(tensor))", "is not in \(quoted(file)), where the index places it")
      }
    }
  }
}

/// Whether there is a regular file, perhaps through symbolic links, under this path.
func isFile(_ path: String) -> Bool {
  var status = stat()
  return !path.utf8.contains(0) && stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
}
