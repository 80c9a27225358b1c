import Files
import Foundation
import Images
import Testing

/// A folder of a test's own, removed with it.
final class Scratch {
  let path = NSTemporaryDirectory() + "graft-images-" + UUID().uuidString

  init() throws { try Folder.create(path) }

  deinit { Folder.remove(path) }

  /// Writes a file without the library's help and gives its path; `name` may lead through folders.
  @discardableResult
  func file(_ name: String, _ bytes: [UInt8]) throws -> String {
    let path = "\(path)/\(name)"
    try Folder.create(String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)]))
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    return path
  }

  @discardableResult
  func file(_ name: String, _ text: String) throws -> String { try file(name, Array(text.utf8)) }

  /// The bytes of one of its files.
  func bytes(_ name: String) throws -> [UInt8] { try contents("\(path)/\(name)") }
}

/// All bytes of a file.
func contents(_ path: String) throws -> [UInt8] { try MappedFile(path).withBytes(Array.init) }

/// The path of a fixture, which `make.py` beside it made.
func fixture(_ name: String) -> String {
  URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Fixtures/images/" + name).path
}

/// The error that `body` throws, without the folder in front of the path; it has to be a `FileError`.
func message(_ body: () throws -> Void) -> String {
  do {
    try body()
    return "no error"
  } catch let error as FileError {
    var short = error
    short.path = error.path.split(separator: "/").last.map(String.init) ?? ""
    return short.description
  } catch {
    return "not a FileError: \(error)"
  }
}

/// `count` bytes that follow one another without a pattern, the same in every run.
func noise(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
  var state = seed
  return (0..<count).map { _ in
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return UInt8(truncatingIfNeeded: state >> 56)
  }
}
