import Files
import Glibc
import Testing

struct FolderTests {
  @Test func `Replacing a folder removes what killed processes began of it, and nothing that may be of others`() throws
  {
    let scratch = try Scratch(), path = scratch.path + "/kept"
    defer { Folder.remove(scratch.path) }
    // Above any number that Linux gives a process, 2²²; the first process of all is always there.
    let names = ["99999999", "99999998", "1", "x", "", "0"].map { "kept.partial-" + $0 } + ["other.partial-99999999"]
    for name in names {
      try Folder.create(scratch.path + "/" + name)
      try AtomicFile.write("half", to: scratch.path + "/\(name)/text")
    }
    // Another machine's processes have numbers of their own, and hold a lock.
    let lock = open(path + ".partial-99999998", O_RDONLY | O_DIRECTORY)
    #expect(flock(lock, LOCK_EX | LOCK_NB) == 0)
    try Folder.replace(path) { temporary in
      // What is being written is locked.
      let own = open(temporary, O_RDONLY | O_DIRECTORY)
      #expect(flock(own, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
      close(own)
      try AtomicFile.write("new", to: temporary + "/text")
    }
    #expect(scratch.contents == (names.dropFirst() + ["kept"]).sorted())
    #expect(try contents(path + "/text") == Array("new".utf8))
    close(lock)
    Folder.removeAbandoned(path)
    #expect(scratch.contents == (names.dropFirst(2) + ["kept"]).sorted())
  }

  @Test func `A folder that cannot be filled leaves the old one and nothing else`() throws {
    let scratch = try Scratch(), path = scratch.path + "/kept"
    defer { Folder.remove(scratch.path) }
    struct Stop: Error {}
    try Folder.replace(path) { try AtomicFile.write("old", to: $0 + "/text") }
    #expect(throws: Stop.self) {
      try Folder.replace(path) { temporary in
        try AtomicFile.write("new", to: temporary + "/text")
        throw Stop()
      }
    }
    #expect(scratch.contents == ["kept"] && Folder.names(in: path) == ["text"])
    #expect(try contents(path + "/text") == Array("old".utf8))
  }
}
