import Files
import Glibc
import Testing

struct AtomicFileTests {
  struct Refusal: Error {}

  @Test func `A new file appears under its name alone`() throws {
    let scratch = try Scratch()
    try AtomicFile.write("grüße\n", to: scratch.path + "/a b.txt")
    #expect(scratch.contents == ["a b.txt"])
    #expect((try contents(scratch.path + "/a b.txt")) == Array("grüße\n".utf8))
  }

  @Test func `Small and large writes keep their order`() throws {
    let scratch = try Scratch()
    var expected: [UInt8] = []
    try AtomicFile.write(scratch.path + "/a") { writer in
      for size in [1, 65_535, 0, 65_536, 3, 200_000, 65_534, 2] {
        let part = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ size) }
        try part.withUnsafeBytes { try writer.write($0) }
        expected += part
        #expect(writer.position == expected.count)
      }
    }
    #expect((try contents(scratch.path + "/a")) == expected)
  }

  @Test func `When the body throws, the old file stays and nothing else does`() throws {
    let scratch = try Scratch()
    let path = try scratch.file("a", "old")
    #expect(throws: Refusal.self) {
      try AtomicFile.write(path) { writer in
        try writer.write(String(repeating: "x", count: 100_000))
        throw Refusal()
      }
    }
    #expect(scratch.contents == ["a"])
    #expect(try contents(path) == Array("old".utf8))
  }

  @Test func `A full disk is named in the error`() throws {
    let descriptor = open("/dev/full", O_WRONLY)
    try #require(descriptor >= 0)
    defer { close(descriptor) }
    for size in [1, 100_000] {
      var writer = FileWriter(descriptor: descriptor, path: "a")
      let error = message {
        try writer.write(String(repeating: "x", count: size))
        try writer.flush()
      }
      #expect(error == "a: cannot be written: no space left on device")
    }
  }

  // A limit on the size of files stands in for a full disk; no other test writes as much.
  @Test func `A write the system refuses leaves the old file`() throws {
    let scratch = try Scratch()
    let path = try scratch.file("a", "old")
    signal(SIGXFSZ, SIG_IGN)
    var limit = rlimit()
    try #require(getrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0)
    var low = limit
    low.rlim_cur = 64 << 20
    try #require(setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &low) == 0)
    let part = [UInt8](repeating: 1, count: 1 << 20)
    let error = message {
      try AtomicFile.write(path) { writer in
        for _ in 0..<65 { try part.withUnsafeBytes { try writer.write($0) } }
      }
    }
    try #require(setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0)
    #expect(error == "a: cannot be written: file too large")
    #expect(scratch.contents == ["a"])
    #expect(try contents(path) == Array("old".utf8))
  }

  @Test func `Devices and folders are not replaced`() throws {
    let scratch = try Scratch()
    let problem = "is not a regular file and cannot be replaced"
    #expect(message { try AtomicFile.write("x", to: "/dev/full") } == "full: \(problem)")
    #expect(message { try AtomicFile.write("x", to: scratch.path) }.hasSuffix(problem))
    #expect(message { try AtomicFile.write("x", to: "") } == ": is not a usable path")
    #expect(
      message { try AtomicFile.write("x", to: scratch.path + "/no/a") }.hasSuffix("no such file or directory"))
  }

  @Test func `A link and the permissions survive`() throws {
    let scratch = try Scratch()
    let path = try scratch.file("a", "old")
    chmod(path, 0o640)
    let link = scratch.path + "/link"
    try #require(symlink("a", link) == 0)
    try AtomicFile.write("new", to: link)
    var status = stat()
    try #require(lstat(link, &status) == 0)
    #expect(status.st_mode & S_IFMT == S_IFLNK)
    try #require(stat(path, &status) == 0)
    #expect(status.st_mode & 0o777 == 0o640)
    #expect(try contents(path) == Array("new".utf8))
  }

  @Test func `A mapped file keeps its bytes when replaced`() throws {
    let scratch = try Scratch()
    let path = try scratch.file("a", "old")
    let file = try MappedFile(path)
    try AtomicFile.write("newer", to: path)
    #expect(Array(file.bytes) == Array("old".utf8))
  }

  @Test func `An unfinished file of another process is not in the way`() throws {
    let scratch = try Scratch()
    let left = try scratch.file(".graft-\(getpid())-0.partial", "left")
    try AtomicFile.write("new", to: scratch.path + "/a")
    #expect(scratch.contents == [String(left.dropFirst(scratch.path.count + 1)), "a"])
  }

  @Test func `What a process that is gone had begun is removed, unless its lock is held elsewhere`() throws {
    let scratch = try Scratch()
    // Linux gives no process a number above 2²².
    _ = try scratch.file(".graft-4194305-0.partial", "left")
    let held = open(try scratch.file(".graft-4194305-1.partial", "in use"), O_RDONLY)
    defer { close(held) }
    try #require(flock(held, LOCK_EX) == 0)
    _ = try scratch.file(".graft-x-1.partial", "another's")
    try AtomicFile.write("new", to: scratch.path + "/a")
    #expect(scratch.contents == [".graft-4194305-1.partial", ".graft-x-1.partial", "a"])
  }

  @Test func `A file that is checked before it has its name is all there, and does not get it when the check fails`()
    throws
  {
    let scratch = try Scratch()
    let path = try scratch.file("a", "old")
    #expect(throws: Refusal.self) {
      try AtomicFile.write(path, { try $0.write("new") }) { temporary in
        #expect(try contents(temporary) == Array("new".utf8))
        throw Refusal()
      }
    }
    #expect(try contents(path) == Array("old".utf8))
    #expect(scratch.contents == ["a"])
  }

  @Test func `Names are the same by what they lead to`() throws {
    let scratch = try Scratch()
    let path = try scratch.file("a", ""), link = scratch.path + "/link"
    _ = try scratch.file("b", "")
    try #require(symlink("a", link) == 0)
    #expect(Folder.isSame(path, link) && Folder.isSame(scratch.path, scratch.path + "/."))
    #expect(!Folder.isSame(path, scratch.path + "/b") && !Folder.isSame(path, scratch.path + "/none"))
    #expect(!Folder.isSame(scratch.path + "/none", scratch.path + "/none"))
  }

  @Test func `Many writers of one file leave one of their texts`() async throws {
    let scratch = try Scratch()
    let path = scratch.path + "/a"
    let texts = (0..<16).map { String(repeating: "\($0 % 10)", count: 70_000) }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for text in texts { group.addTask { try AtomicFile.write(text, to: path) } }
      try await group.waitForAll()
    }
    #expect(scratch.contents == ["a"])
    #expect(texts.contains(String(decoding: try contents(path), as: UTF8.self)))
  }
}

struct MappedFileTests {
  @Test func `An empty file has no bytes`() throws {
    let scratch = try Scratch()
    #expect(try MappedFile(scratch.file("a", "")).withBytes(\.isEmpty))
  }

  @Test func `What is no file is refused`() throws {
    let scratch = try Scratch()
    #expect(
      message { _ = try MappedFile(scratch.path + "/a") } == "a: cannot be opened: no such file or directory")
    #expect(message { _ = try MappedFile(scratch.path) }.hasSuffix(": is a folder, not a file"))
    #expect(message { _ = try MappedFile("/dev/null") } == "null: is a device or pipe, not a file")
    #expect(message { _ = try MappedFile("a\0b") }.hasSuffix("the path contains a zero byte"))
  }
}
