import Files
import Foundation
import Testing

/// The commands on sets of images, run as a user runs them.
struct DataTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  private func run(_ arguments: String...) throws -> Command.Ending {
    try Command.run(["data"] + arguments, in: scratch.path)
  }

  private let images = fixtures + "/images/u1.npy"

  private func makeSet() throws {
    try scratch.write("0\n1\n0\n1\n0\n1\n", to: "labels.txt")
    let made = try run(
      "import", images, "set.h5", "--labels", "labels.txt", "--names", "even,odd", "--name", "six", "--licence", "CC0")
    #expect(made.code == 0 && made.output == "wrote set.h5: 6 images of 4 × 5 × 1, 2 classes\n", "\(made.errors)")
  }

  @Test func `A set is made, described, split and shown`() throws {
    try makeSet()
    let info = try run("info", "set.h5")
    #expect(
      info.code == 0 && info.output.hasPrefix("set.h5: 6 images of 4 × 5 × 1, 2 classes\nname   six\nlicence   CC0\n"))
    #expect(info.output.hasSuffix("  0   even   3\n  1   odd   3\n"))
    let split = try run("split", "set.h5", "parts", "--test", "2", "--seed", "4")
    #expect(split.output == "wrote parts/train.h5: 4 images\nwrote parts/test.h5: 2 images\n")
    let first = try scratch.bytes("parts/test.h5")
    #expect(try run("split", "set.h5", "parts", "--test", "2", "--train", "2", "--seed", "4").code == 0)
    #expect(try scratch.bytes("parts/test.h5") == first)
    let sheet = try run("sheet", "parts/train.h5", "sheet.png")
    #expect(sheet.code == 0 && sheet.output == "wrote sheet.png, from the top: even, odd\n")
    #expect(try scratch.bytes("sheet.png").starts(with: [0x89, 0x50, 0x4e, 0x47]))
  }

  @Test func `An image that equals one for testing is left out of training`() throws {
    // Four images of which the last two are the first two again, so that whatever is tested with has an equal.
    try scratch.write("0,1,2,3,4\n1,5,6,7,8\n0,1,2,3,4\n1,5,6,7,8\n0,9,9,9,9\n1,8,8,8,8\n", to: "t.csv")
    #expect(try run("import", "t.csv", "t.h5").code == 0)
    var leftOut = 0
    for seed in 0..<4 {
      let split = try run("split", "t.h5", "parts", "--test", "2", "--seed", "\(seed)")
      let counts = split.output.split(separator: "\n").compactMap { line in
        line.split(separator: " ").compactMap { Int($0) }.first
      }
      #expect(split.code == 0 && counts.count >= 2 && counts[1] == 2)
      #expect(counts[0] + counts[1] + (counts.count > 2 ? counts[2] : 0) == 6)
      if counts.count > 2 { leftOut += counts[2] }
    }
    #expect(leftOut > 0)
  }

  @Test func `Wrong options end with 2, wrong files with 3, each with one message and no output`() throws {
    try makeSet()
    for (arguments, code, text) in [
      (["import", images, "x.h5", "--labels", "labels.txt", "--size", "8"], 2, "--size 8: expected 2 to 2 sizes"),
      (["import", images, "x.h5", "--labels", "labels.txt", "--seed", "1"], 2, "--seed draws what --limit takes"),
      (["import", images, "x.h5", "--labels", "labels.txt", "--offset", "1"], 2, "belong to --raw"),
      (["import", images, "x.h5", "--labels", "labels.txt", "--limit", "0"], 2, "at least 1"),
      (["import", images, "x.h5"], 3, "name their file with --labels"),
      (["import", "nowhere", "x.h5"], 3, "nowhere: is not there"), (["info", "nowhere.h5"], 3, "is not there"),
      (["info", "labels.txt"], 3, "labels.txt: cannot be opened"),
      (["split", "set.h5", "x", "--test", "1"], 3, "2 classes, which 5 and 1 images cannot all show"),
      (["split", "set.h5", "x", "--test", "4", "--train", "4"], 3, "has 6 images, not 4 and 4"),
      (["sheet", "set.h5", "x", "--from", "2"], 2, "from 0 to 1"),
    ] as [([String], Int32, String)] {
      let ending = try Command.run(["data"] + arguments, in: scratch.path)
      #expect(ending.code == code && ending.errors.contains(text), "\(arguments): \(ending.code) \(ending.errors)")
      #expect(ending.output.isEmpty && ending.errors.split(separator: "\n").count == 1)
    }
    #expect(!Folder.exists(scratch.path + "/x.h5") && !Folder.exists(scratch.path + "/x"))
  }

  @Test func `A damaged set is refused in one line, without a word from the HDF5 library`() throws {
    try makeSet()
    let whole = try scratch.bytes("set.h5")
    for place in stride(from: 3, to: whole.count, by: 157) {
      var bytes = whole
      bytes[place] ^= 0xff
      try bytes.write(to: URL(fileURLWithPath: scratch.path + "/damaged.h5"))
      let ending = try run("info", "damaged.h5")
      #expect(ending.code == 0 || ending.code == 3, "byte \(place): \(ending.code) \(ending.errors)")
      #expect(ending.errors.split(separator: "\n").count == (ending.code == 0 ? 0 : 1), "\(ending.errors)")
    }
  }
}
