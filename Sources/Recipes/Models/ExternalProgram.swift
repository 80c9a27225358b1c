import Files
import Foundation

/// Programs of the system that carry files here.
enum ExternalProgram {
  /// Runs a program found on the path, in `folder` if given, and waits for it.
  ///
  /// - Throws: a ``FileError`` when it is not there, with `install` as the remedy, and when it fails: then with `failure`,
  ///   the last line it printed of errors, and `remedy`.
  static func run(
    _ program: String, _ arguments: [String], in folder: String? = nil, name: String, failure: String, install: String,
    remedy: String
  ) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [program] + arguments
    if let folder { process.currentDirectoryURL = URL(fileURLWithPath: folder) }
    let errors = Pipe()
    process.standardError = errors
    process.standardOutput = FileHandle.nullDevice
    do { try process.run() } catch {
      throw FileError(program, "cannot be started: \(error.localizedDescription)", remedy: install)
    }
    let text = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    // What env ends with where there is no such program.
    guard process.terminationStatus != 127 else { throw FileError(program, "is not there", remedy: install) }
    guard process.terminationStatus == 0 else {
      let last = text.split(separator: "\n").last.map(String.init) ?? "no message"
      throw FileError(name, "\(failure): \(last)", remedy: remedy)
    }
  }
}
