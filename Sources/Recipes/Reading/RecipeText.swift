import Glibc

/// The text of a recipe file.
enum RecipeText {
  /// The whole file at `path`.
  ///
  /// - Throws: when it cannot be read, is larger than a recipe may be, or is not UTF-8.
  static func read(_ path: String) throws(RecipeDocument.Stop) -> String {
    guard let file = fopen(path, "rb") else {
      throw RecipeDocument.Stop(String(cString: strerror(errno)).lowercased(), line: 0, column: 0)
    }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while bytes.count <= RecipeDocument.sizeLimit {
      let count = fread(&chunk, 1, chunk.count, file)
      if count == 0 { break }
      bytes += chunk[..<count]
    }
    guard ferror(file) == 0 else {
      throw RecipeDocument.Stop(String(cString: strerror(errno)).lowercased(), line: 0, column: 0)
    }
    guard bytes.count <= RecipeDocument.sizeLimit else { throw RecipeDocument.tooLarge }
    guard let text = String(validating: bytes, as: UTF8.self) else { throw notUTF8(bytes) }
    return text
  }

  private static func notUTF8(_ bytes: [UInt8]) -> RecipeDocument.Stop {
    var (line, column) = (1, 1)
    var decoder = UTF8()
    var rest = bytes.makeIterator()
    while case .scalarValue(let scalar) = decoder.decode(&rest) {
      column += 1
      if scalar == "\n" { (line, column) = (line + 1, 1) }
    }
    return RecipeDocument.Stop("the recipe is not UTF-8", line: line, column: column, hint: "save it as UTF-8")
  }

  /// The folder commands run in.
  static var workingFolder: String {
    guard let pointer = getcwd(nil, 0) else { return "/" }
    defer { free(pointer) }
    return String(cString: pointer)
  }

  /// Whether a folder is there and is no link, so that the one above it is where its path says.
  static func isPlainFolder(_ path: String) -> Bool {
    var information = stat()
    return lstat(path, &information) == 0 && information.st_mode & S_IFMT == S_IFDIR
  }

  /// The value of an environment variable.
  static func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
}
