import CHDF5
import Glibc
import Testing

@testable import Files

struct HDF5Tests {
  let scratch: Scratch
  private var path: String { scratch.path + "/a.h5" }

  init() throws { scratch = try Scratch() }

  private func numbers(_ count: Int) -> [Float] { (0..<count).map { Float($0) * 0.37 - 100 } }

  /// A file with one dataset `x` of floats, 3 × 5.
  private func writeSmall() throws {
    try HDF5Writer.write(path) { try $0.add("x", numbers(15), shape: [3, 5]) }
  }

  @Test(arguments: [[7], [0], [1], [300_000], [3, 5], [900, 700], [2, 3, 4, 5], [1, 1, 1, 1], [2, 0, 3, 1]])
  func `Datasets of every rank and type come back bit for bit`(_ shape: [Int]) throws {
    let count = shape.reduce(1, *), floats = numbers(count)
    let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 * 7) }
    let integers = (0..<count).map { Int64($0) - (1 << 40) }
    try HDF5Writer.write(path) { file in
      try file.add("group.a/floats", floats, shape: shape)
      try file.add("group.a/bytes", bytes, shape: shape)
      try file.add("integers", integers, shape: shape)
    }
    let file = try HDF5Reader(path)
    let read: HDF5Array<Float> = try file.read("group.a/floats", shape: shape)
    #expect(read.shape == shape && read.values == floats)
    #expect(try file.read("group.a/bytes", as: UInt8.self).values == bytes)
    #expect(try file.read("integers", as: Int64.self).values == integers)
    #expect(file.has("group.a") && file.has("group.a/bytes") && !file.has("bytes") && !file.has("group.a/integers"))
  }

  @Test func `A file on which another holds a lock is read all the same`() throws {
    try writeSmall()
    // As a program that was started while the file was being written holds one.
    let descriptor = open(path, O_RDWR)
    defer { close(descriptor) }
    try #require(flock(descriptor, LOCK_EX | LOCK_NB) == 0)
    #expect(try HDF5Reader(path).read("x", as: Float.self, shape: [3, 5]).values == numbers(15))
  }

  @Test(arguments: ["", "plain", "naïve Σ 日本", String(repeating: "x", count: 60_000)])
  func `Texts and numbers noted at the root come back`(_ text: String) throws {
    try HDF5Writer.write(path) { file in
      try file.set("text", text)
      try file.set("number", -(1 << 62))
    }
    let file = try HDF5Reader(path)
    #expect(try file.text("text") == text)
    #expect(try file.integer("number") == -(1 << 62))
    #expect(message { _ = try file.text("number") } == "a.h5: attribute 'number': is no text of fixed length")
    #expect(message { _ = try file.integer("text") } == "a.h5: attribute 'text': is no 64-bit integer")
    #expect(message { _ = try file.text("other") } == "a.h5: attribute 'other': is missing")
  }

  @Test func `Another type, shape or name is refused by name`() throws {
    try writeSmall()
    let file = try HDF5Reader(path)
    #expect(message { _ = try file.read("x", as: Int64.self) } == "a.h5: dataset 'x': does not hold 64-bit integers")
    #expect(message { _ = try file.read("x", as: UInt8.self) } == "a.h5: dataset 'x': does not hold bytes")
    #expect(
      message { _ = try file.read("x", as: Float.self, shape: [5, 3]) }
        == "a.h5: dataset 'x': has shape [3, 5]; expected [5, 3]")
    #expect(message { _ = try file.read("y", as: Float.self) } == "a.h5: dataset 'y': is missing")
    #expect(message { _ = try file.read("x/y", as: Float.self) } == "a.h5: dataset 'x/y': is missing")
    #expect(message { _ = try file.read("", as: Float.self) } == "a.h5: dataset '': is no name of a dataset")
    #expect(message { _ = try file.read("./x", as: Float.self) } == "a.h5: dataset './x': is no name of a dataset")
  }

  @Test func `What is no whole HDF5 file is refused at every length`() throws {
    try writeSmall()
    let whole = try contents(path)
    #expect(message { _ = try HDF5Reader(scratch.path + "/none.h5") } == "none.h5: is not there")
    for length in [0, 1, 7, 8, 100, 500, whole.count / 2, whole.count - 1] {
      let cut = try scratch.file("cut.h5", Array(whole.prefix(length)))
      #expect(
        message { _ = try HDF5Reader(cut) }
          == "cut.h5: cannot be opened: it is no HDF5 file, or a damaged or truncated one", "\(length)")
    }
    let text = try scratch.file("text.h5", "rows: 3\n")
    #expect(message { _ = try HDF5Reader(text) }.hasPrefix("text.h5: cannot be opened"))
  }

  @Test func `A changed number is found by its checksum`() throws {
    try HDF5Writer.write(path) { try $0.add("x", [Float](repeating: 1.25, count: 64), shape: [64]) }
    var bytes = try contents(path)
    // 1.25 is 0x3fa00000; sixteen of them in a row are the data and nothing else.
    let pattern = Array(repeatElement([0, 0, 0xa0, 0x3f] as [UInt8], count: 16).joined())
    let start = try #require((0..<bytes.count - 64).first { Array(bytes[$0..<$0 + 64]) == pattern })
    bytes[start + 6] ^= 1
    let damaged = try scratch.file("damaged.h5", bytes)
    #expect(
      message { _ = try HDF5Reader(damaged).read("x", as: Float.self) }
        == "damaged.h5: dataset 'x': cannot be read: its bytes are damaged")
  }

  @Test func `A write that fails leaves the old file and nothing else`() throws {
    try writeSmall()
    let before = try contents(path)
    struct Stop: Error {}
    #expect(throws: Stop.self) {
      try HDF5Writer.write(path) { file in
        try file.add("y", numbers(4), shape: [4])
        throw Stop()
      }
    }
    #expect(
      message {
        try HDF5Writer.write(path) { file in
          try file.add("y", numbers(4), shape: [4])
          try file.add("y", numbers(4), shape: [4])
        }
      } == "a.h5: dataset 'y': cannot be written; check that the name is free")
    #expect(
      message { try HDF5Writer.write(path) { try $0.add("y", numbers(4), shape: [5]) } }
        == "a.h5: dataset 'y': 4 numbers do not fill shape [5]")
    #expect(try contents(path) == before)
    #expect(scratch.contents == ["a.h5"])
    #expect(message { try HDF5Writer.write("/nowhere/a.h5") { _ in } }.hasPrefix("a.h5: cannot be written"))
  }

  /// Makes a file with the library itself, as another program would.
  private func foreign(_ body: (_ file: Int64) -> Void) -> String {
    let path = scratch.path + "/foreign.h5"
    HDF5Library.enter {
      let file = H5Fcreate(path, graft_H5F_ACC_TRUNC(), 0, 0)
      body(file)
      H5Fclose(file)
    }
    return path
  }

  private func dataset(
    _ file: Int64, _ name: String, _ type: Int64, _ sizes: [UInt64], write: Bool = true, _ change: (Int64) -> Void
  ) {
    let space = H5Screate_simple(Int32(sizes.count), sizes, nil), properties = H5Pcreate(graft_H5P_DATASET_CREATE())
    change(properties)
    let made = H5Dcreate2(file, name, type, space, 0, properties, 0)
    let values = [Float](repeating: 2, count: Int(min(64, sizes.reduce(1, *))))
    if write { H5Dwrite(made, graft_H5T_NATIVE_FLOAT(), 0, 0, 0, values) }
    H5Dclose(made)
    H5Pclose(properties)
    H5Sclose(space)
  }

  @Test func `Nothing leads out of the file or makes numbers of nothing`() throws {
    _ = try scratch.file("raw", [UInt8](repeating: 0x40, count: 256))
    let raw = scratch.path + "/raw"
    let path = foreign { file in
      let float = graft_H5T_IEEE_F32LE()
      dataset(file, "plain", float, [4]) { _ in }
      dataset(file, "big endian", graft_H5T_IEEE_F32BE(), [4]) { _ in }
      dataset(file, "deflated", float, [64]) {
        H5Pset_chunk($0, 1, [16])
        H5Pset_shuffle($0)
        H5Pset_deflate($0, 6)
      }
      H5Lcreate_soft("/plain", file, "soft", 0, 0)
      H5Lcreate_external("a.h5", "/x", file, "external", 0, 0)
      dataset(file, "outside", float, [4]) { H5Pset_external($0, raw, 0, 16) }
      dataset(file, "unwritten", float, [1 << 20, 1 << 10], write: false) { H5Pset_chunk($0, 2, [16, 16]) }
      dataset(file, "scaled", float, [64]) {
        H5Pset_chunk($0, 1, [64])
        H5Pset_scaleoffset($0, H5Z_SO_FLOAT_DSCALE, 3)
      }
      dataset(file, "five axes", float, [1, 1, 1, 1, 1]) { _ in }
      dataset(file, "too long", float, [1 << 40], write: false) { H5Pset_chunk($0, 1, [16]) }
    }
    let file = try HDF5Reader(path)
    for name in ["plain", "big endian"] { #expect(try file.read(name, as: Float.self).values == [2, 2, 2, 2]) }
    #expect(try file.read("deflated", as: Float.self).values == [Float](repeating: 2, count: 64))
    func refusal(_ name: String) -> String {
      String(message { _ = try file.read(name, as: Float.self) }.dropFirst("foreign.h5: dataset '\(name)': ".count))
    }
    #expect(refusal("soft") == "is a link, which is not followed; store the dataset itself")
    #expect(refusal("external") == "is a link, which is not followed; store the dataset itself")
    #expect(refusal("outside") == "is kept outside the file, which is not followed")
    #expect(refusal("unwritten") == "has shape [1048576, 1024], but only 0 bytes of it were written")
    #expect(refusal("scaled") == "is stored through filter 6; store it plain, shuffled or deflated")
    #expect(refusal("five axes") == "does not have 1 to 4 axes")
    #expect(refusal("too long") == "has a size above 2147483647")
  }

  @Test func `Threads may read and write at once`() async throws {
    try writeSmall()
    let path = path, folder = scratch.path, expected = numbers(15)
    try await withThrowingTaskGroup(of: Bool.self) { group in
      for task in 0..<8 {
        group.addTask {
          for round in 0..<20 {
            if task % 2 == 0 {
              guard try HDF5Reader(path).read("x", as: Float.self).values == expected else { return false }
            } else {
              try HDF5Writer.write("\(folder)/\(task).h5") { try $0.add("r", [Int64(round)], shape: [1]) }
            }
          }
          return true
        }
      }
      for try await held in group { #expect(held) }
    }
  }
}
