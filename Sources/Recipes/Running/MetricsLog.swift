import Files
import Glibc

/// `metrics.jsonl`: one JSON object a report, appended as the run goes on.
final class MetricsLog {
  private let file: UnsafeMutablePointer<FILE>
  private let path: String

  /// Opens the log, keeping of what is there only the lines up to `step`.
  init(_ path: String, keepingThrough step: Int) throws {
    self.path = path
    if Folder.exists(path) {
      let lines = try TextFile.read(path).split(separator: "\n").filter { line in
        ((try? JSON(parsing: String(line)))?["step"]?.int).map { $0 <= step } ?? false
      }
      try AtomicFile.write(lines.map { $0 + "\n" }.joined(), to: path)
    }
    guard let file = fopen(path, "a") else {
      throw FileError(path, "cannot be written: \(String(cString: strerror(errno)))")
    }
    self.file = file
  }

  deinit { fclose(file) }

  /// The log's entries; lines that are none, such as one cut short by a kill, are passed over.
  static func entries(_ path: String) -> [JSON] {
    guard Folder.exists(path), let text = try? TextFile.read(path) else { return [] }
    return text.split(separator: "\n").compactMap { try? JSON(parsing: String($0)) }
  }

  func append(_ entry: [String: JSON]) throws {
    guard fputs(JSON.object(entry).text() + "\n", file) >= 0, fflush(file) == 0 else {
      throw FileError(path, "cannot be written: \(String(cString: strerror(errno)))")
    }
  }
}
