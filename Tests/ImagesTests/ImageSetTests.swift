import CHDF5
import Files
import Testing

@testable import Images

struct ImageSetTests {
  private let scratch: Scratch
  private var path: String { scratch.path + "/set.h5" }

  init() throws { scratch = try Scratch() }

  private let origin = ImageSet.Origin(name: "noise", source: "a test", licence: "CC0-1.0")

  /// Writes `count` images of noise, whose labels go round, in pieces of `piece` images.
  @discardableResult
  private func write(
    _ count: Int, _ shape: [Int], classes: [String] = ["a", "b"], piece: Int = 7, labels: [Int]? = nil
  ) throws -> [UInt8] {
    let size = shape.reduce(1, *), pixels = noise(count * size)
    var next = 0
    try ImageSet.write(
      path, labels: labels ?? (0..<count).map { $0 % classes.count }, classNames: classes, shape: shape, origin: origin
    ) {
      defer { next = min(count, next + piece) }
      return Array(pixels[next * size..<min(count, next + piece) * size])
    }
    return pixels
  }

  @Test(arguments: [[1, 1, 1], [28, 28, 1], [5, 7, 3], [300, 300, 1]])
  func `A set comes back as it was written, whatever the order asked for`(_ shape: [Int]) throws {
    let pixels = try write(200, shape), size = shape.reduce(1, *)
    let set = try ImageSet(path)
    #expect([set.count, set.height, set.width, set.channels] == [200] + shape)
    #expect(set.classNames == ["a", "b"] && set.labels == (0..<200).map { $0 % 2 } && set.origin == origin)
    #expect(try set.rows(0..<200) == pixels)
    for indices in [[], [7], [199, 0, 3, 3, 198, 100], Array((0..<200).reversed())] {
      #expect(try set.rows(at: indices) == indices.flatMap { pixels[$0 * size..<($0 + 1) * size] })
    }
    #expect(message { _ = try set.rows(at: [0, 200]) } == "set.h5: has images 0 to 199, not 200")
    #expect(message { _ = try set.rows(at: [-1]) } == "set.h5: has images 0 to 199, not -1")
  }

  @Test func `Equal sets are equal files, whenever and however they were written`() throws {
    try write(300, [9, 9, 1], piece: 1)
    let first = try contents(path)
    try write(300, [9, 9, 1], piece: 300)
    #expect(try contents(path) == first)
    // An object's header begins with its name, its version, and flags of which one says that times follow.
    let headers = (0..<first.count - 6).filter { Array(first[$0..<$0 + 5]) == Array("OHDR".utf8) + [2] }
    #expect(headers.count == 4 && headers.allSatisfy { first[$0 + 5] & 0x20 == 0 })
  }

  @Test func `A set that h5py wrote is read`() throws {
    let set = try ImageSet(fixture("by-h5py.h5"))
    #expect(set.classNames == ["cat", "dög"] && set.labels == [1, 0, 1, 0, 1])
    #expect(set.origin == ImageSet.Origin(name: "pair", source: "h5py", licence: "CC0"))
    var expected: [UInt8] = []
    for i in 0..<5 {
      for y in 0..<2 {
        for x in 0..<3 { for c in 0..<3 { expected.append(UInt8((7 * i + 3 * y + 5 * x + 11 * c) % 256)) } }
      }
    }
    #expect(try set.rows(0..<5) == expected)
  }

  @Test func `What no set can be is refused before a file is made`() throws {
    #expect(
      message { try write(4, [2, 2, 1], labels: [0, 1, 2, 0]) }
        == "set.h5: dataset 'labels': gives image 2 the class 2; there are classes 0 to 1")
    #expect(
      message { try write(2, [2, 2, 1], labels: [1, 1]) }
        == "set.h5: dataset 'labels': gives no image the class 0, 'a'; leave that class out")
    #expect(
      message { try write(2, [2, 2, 1], classes: ["a", "a"]) }
        == "set.h5: dataset 'class_names': has the name 'a' twice")
    #expect(
      message { try write(2, [2, 2, 1], classes: ["a", ""]) }
        == "set.h5: dataset 'class_names': leaves class 1 without a name")
    #expect(message { try write(2, [2, 2, 2]) }.hasPrefix("set.h5: images of shape [2, 2, 2] cannot be kept"))
    #expect(message { try write(0, [2, 2, 1], classes: ["a"]) }.contains("gives no image the class 0"))
    #expect(Folder.names(in: scratch.path).isEmpty)
    let short = message {
      try ImageSet.write(path, labels: [0, 0], classNames: ["a"], shape: [2, 2, 1], origin: origin) {
        noise(12)
      }
    }
    #expect(short == "set.h5: 2 labels do not go with the images that were given")
    #expect(Folder.names(in: scratch.path).isEmpty)
  }

  /// A set of two images written by hand, with one thing changed.
  private func foreign(_ change: (borrowing HDF5Writer) throws -> Set<String>) throws -> String {
    let path = scratch.path + "/foreign.h5"
    try HDF5Writer.write(path, checksummed: true) { file in
      let done = try change(file)
      for (name, text) in [("format", "graft-image-set"), ("name", ""), ("source", ""), ("licence", "")]
      where !done.contains(name) { try file.set(name, text) }
      if !done.contains("version") { try file.set("version", 1) }
      if !done.contains("images") { try file.add("images", noise(8), shape: [2, 2, 2, 1]) }
      if !done.contains("labels") { try file.add("labels", [0, 1] as [Int64], shape: [2]) }
      if !done.contains("class_names") { try file.add("class_names", Array("[\"a\",\"b\"]".utf8), shape: [9]) }
    }
    return path
  }

  @Test func `A file that is no set is refused with what is wrong in it`() throws {
    let whole = try foreign { _ in [] }
    #expect(try ImageSet(whole).count == 2)
    func refusal(_ change: (borrowing HDF5Writer) throws -> Set<String>) throws -> String {
      let path = try foreign(change)
      return String(message { _ = try ImageSet(path) }.dropFirst("foreign.h5: ".count))
    }
    func names(_ text: String) throws -> String {
      try refusal {
        try $0.add("class_names", Array(text.utf8), shape: [text.utf8.count])
        return ["class_names"]
      }
    }
    func images(_ shape: [Int]) throws -> String {
      try refusal {
        try $0.add("images", noise(shape.reduce(1, *)), shape: shape)
        return ["images"]
      }
    }
    #expect(
      try refusal {
        try $0.set("format", "other")
        return ["format"]
      } == "attribute 'format': is 'other'; expected 'graft-image-set'")
    #expect(
      try refusal {
        try $0.set("version", 2)
        return ["version"]
      } == "attribute 'version': is 2; this version of Graft reads 1; import the images again")
    #expect(
      try refusal {
        try $0.add("images", [Float](repeating: 0, count: 8), shape: [2, 2, 2, 1])
        return ["images"]
      } == "dataset 'images': does not hold bytes")
    #expect(
      try refusal {
        try $0.add("labels", [0, 1, 0] as [Int64], shape: [3])
        return ["labels"]
      } == "dataset 'labels': has shape [3] for 2 images")
    #expect(
      try refusal {
        try $0.add("labels", [0, -1] as [Int32], shape: [2])
        return ["labels"]
      } == "dataset 'labels': gives image 1 the class -1; there are classes 0 to 1")
    #expect(
      try refusal {
        try $0.add("labels", [0, 1] as [Float], shape: [2])
        return ["labels"]
      } == "dataset 'labels': does not hold 32-bit integers")
    #expect(try names("[\"a\"]").hasSuffix("gives image 1 the class 1; there are classes 0 to 0"))
    #expect(try names("[\"a\",\"b\",\"c\"]").hasSuffix("gives no image the class 2, 'c'; leave that class out"))
    #expect(try names("[\"a\",1]") == "dataset 'class_names': is no JSON array of texts")
    #expect(try names("[]") == "dataset 'class_names': has 0 names; expected 1 to 65536")
    #expect(try names("[\"a\",").contains("class_names"))
    #expect(try images([8]).hasPrefix("dataset 'images': has shape [8]; expected"))
    #expect(try images([2, 2, 1, 2]).hasPrefix("dataset 'images': has shape [2, 2, 1, 2]; expected"))
    #expect(try images([2, 16_385, 1, 1]).hasPrefix("dataset 'images': has shape [2, 16385, 1, 1]; expected"))
  }

  /// Adds datasets to a file with the library itself, as another program would.
  private func foreignImages(_ body: (_ file: Int64, _ space: Int64, _ properties: Int64) -> Void) throws -> String {
    let path = try foreign { file in
      try file.add("unused", [0] as [Float], shape: [1])
      return ["images"]
    }
    let file = H5Fopen(path, 1, 0), space = H5Screate_simple(4, [2, 2, 2, 1], nil)
    let properties = H5Pcreate(graft_H5P_DATASET_CREATE())
    body(file, space, properties)
    for close in [H5Pclose(properties), H5Sclose(space), H5Fclose(file)] { #expect(close >= 0) }
    return path
  }

  @Test func `Images that are not in chunks are read a part at a time`() throws {
    let pixels = noise(8)
    let path = try foreignImages { file, space, properties in
      let made = H5Dcreate2(file, "images", graft_H5T_STD_U8LE(), space, 0, properties, 0)
      H5Dwrite(made, graft_H5T_NATIVE_UINT8(), 0, 0, 0, pixels)
      H5Dclose(made)
    }
    let set = try ImageSet(path)
    #expect(set.chunk == (1 << 16) / 4)
    #expect(try set.rows(at: [1, 0, 1]) == Array(pixels[4...] + pixels[..<4] + pixels[4...]))
  }

  @Test func `Images outside the file, linked, absent or in huge chunks are refused`() throws {
    try scratch.file("raw", noise(64))
    let raw = scratch.path + "/raw"
    func refusal(_ body: (_ file: Int64, _ space: Int64, _ properties: Int64) -> Void) throws -> String {
      let path = try foreignImages(body)
      return String(message { _ = try ImageSet(path) }.dropFirst("foreign.h5: dataset 'images': ".count))
    }
    let bytes = graft_H5T_STD_U8LE()
    #expect(
      try refusal { file, space, properties in
        H5Pset_external(properties, raw, 0, 8)
        H5Dclose(H5Dcreate2(file, "images", bytes, space, 0, properties, 0))
      } == "is kept outside the file, which is not followed")
    #expect(
      try refusal { file, _, _ in H5Lcreate_external("set.h5", "/images", file, "images", 0, 0) }
        == "is a link, which is not followed; store the dataset itself")
    #expect(
      try refusal { file, _, _ in H5Lcreate_soft("/unused", file, "images", 0, 0) }
        == "is a link, which is not followed; store the dataset itself")
    #expect(
      try refusal { file, _, properties in
        let space = H5Screate_simple(4, [1 << 30, 1 << 14, 1 << 14, 3], nil)
        H5Pset_chunk(properties, 4, [1, 64, 64, 1])
        H5Dclose(H5Dcreate2(file, "images", bytes, space, 0, properties, 0))
        H5Sclose(space)
      }.contains("but only 0 bytes of it were written"))
    #expect(
      try refusal { file, _, properties in
        let space = H5Screate_simple(4, [2, 2, 2, 1], [UInt64.max, 1 << 14, 1 << 14, 1])
        H5Pset_chunk(properties, 4, [1, 1 << 14, 1 << 14, 1])
        H5Pset_deflate(properties, 1)
        let made = H5Dcreate2(file, "images", bytes, space, 0, properties, 0)
        // A chunk handed over as if it were packed already, so that none of its 256 MB is ever made.
        H5Dwrite_chunk(made, 0, 0, [0, 0, 0, 0], 64, noise(64))
        H5Dclose(made)
        H5Sclose(space)
      }.contains("more than the 16 MB that are unpacked at once"))
  }

  @Test func `A file in the form without checksums is refused`() throws {
    try HDF5Writer.write(path) { try $0.add("images", noise(4), shape: [1, 2, 2, 1]) }
    #expect(
      message { _ = try ImageSet(path) }
        == "set.h5: is in HDF5's older form, which has no checksums; write it in that of HDF5 1.10 (in h5py, libver='v110')"
    )
  }

  @Test func `A file cut short or changed anywhere is read as it was or refused, and never ends the process`() throws {
    try write(40, [4, 4, 1], classes: ["one", "two", "three"])
    let whole = try contents(path), set = try ImageSet(path), pixels = try set.rows(0..<40)
    let damaged = scratch.path + "/damaged.h5"
    var refused = 0, tried = 0
    func attempt(_ bytes: [UInt8]) throws {
      try scratch.file("damaged.h5", bytes)
      tried += 1
      do {
        let other = try ImageSet(damaged)
        let isSame = try other.rows(0..<other.count) == pixels
        #expect(isSame && other.labels == set.labels && other.classNames == set.classNames)
      } catch is FileError { refused += 1 }
    }
    for length in stride(from: 0, to: whole.count, by: 211) { try attempt(Array(whole.prefix(length))) }
    for place in stride(from: 0, to: whole.count, by: 3) {
      var bytes = whole
      bytes[place] ^= [0x01, 0x80, 0xff, 0x10][place / 3 % 4]
      try attempt(bytes)
    }
    #expect(refused > 0 && refused < tried)
  }
}
