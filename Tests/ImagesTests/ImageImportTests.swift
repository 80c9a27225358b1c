import Files
import Testing

@testable import Images

struct ImageImportTests {
  private let scratch: Scratch
  private var output: String { scratch.path + "/set.h5" }

  init() throws { scratch = try Scratch() }

  /// What the NumPy fixtures hold: six images of 4 × 5.
  private let pixels = (0..<120).map { place -> UInt8 in
    let (image, y, x) = (place / 20, place / 5 % 4, place % 5)
    return UInt8((31 * image + 7 * y + x) % 256)
  }

  private func load(_ source: String, _ change: (inout ImageImport) -> Void = { _ in }) throws -> ImageSet {
    var job = ImageImport()
    change(&job)
    try job(source, to: output)
    return try ImageSet(output)
  }

  private func refusal(_ source: String, _ change: (inout ImageImport) -> Void = { _ in }) -> String {
    let text = message { _ = try load(source, change) }
    #expect(Folder.names(in: scratch.path).allSatisfy { !$0.hasPrefix("set.h5") && !$0.hasSuffix(".partial") })
    return text
  }

  /// An IDX file: a header with sizes of four bytes, most significant first.
  private func idx(_ name: String, type: UInt8 = 8, _ shape: [Int], _ bytes: [UInt8]) throws -> String {
    let sizes = shape.flatMap { size in [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: size >> $0) } }
    return try scratch.file(name, [0, 0, type, UInt8(shape.count)] + sizes + bytes)
  }

  @Test func `IDX files are read, plain or packed`() throws {
    let images = try idx("images", [6, 4, 5], pixels), labels = try idx("labels", [6], [2, 0, 1, 2, 0, 1])
    let set = try load(images) { $0.labels = labels }
    #expect(try set.rows(0..<6) == pixels)
    #expect(set.labels == [2, 0, 1, 2, 0, 1] && set.classNames == ["0", "1", "2"])
    let words: [UInt8] = [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1]
    let wide = try idx("wide", type: 0x0c, [6], words + words)
    #expect(try load(images) { $0.labels = wide }.labels == [2, 0, 1, 2, 0, 1])
    let colours = try idx("colours", [2, 2, 5, 3], Array(pixels.prefix(60)))
    let text = try scratch.file("labels.txt", "1\n0\n")
    let set3 = try load(colours) { $0.labels = text }
    #expect(set3.channels == 3 && set3.labels == [1, 0])
    #expect(try set3.rows(0..<2) == Array(pixels.prefix(60)))
  }

  @Test func `Damaged IDX files are refused with what is wrong`() throws {
    let labels = try idx("labels", [6], [2, 0, 1, 2, 0, 1])
    func with(_ source: String, _ labelFile: String = "") -> String {
      refusal(source) { $0.labels = labelFile.isEmpty ? labels : labelFile }
    }
    let short = try idx("short", [6, 4, 5], Array(pixels.dropLast()))
    #expect(with(short) == "short: ends within image 5 of 6")
    let long = try idx("long", [6, 4, 5], pixels + [0])
    #expect(with(long) == "long: has bytes after its last number")
    #expect(with(try idx("kind", type: 7, [6, 4, 5], pixels)) == "kind: has IDX numbers of type 0x7, which is none")
    #expect(with(try idx("flat", [6], [0, 0, 0, 0, 0, 0])).hasPrefix("flat: has shape [6]; expected [count, height"))
    #expect(with(try idx("huge", [6, 1 << 31, 1 << 31], [])).contains("expected [count, height, width]"))
    #expect(with(try idx("five", [5, 4, 5], pixels)) == "labels: has 6 labels for 5 images")
    let images = try idx("images", [6, 4, 5], pixels)
    #expect(with(images, images) == "images: has shape [6, 4, 5]; expected one axis, a label for each image")
    #expect(
      with(images, try idx("far", type: 0x0c, [6], [UInt8](repeating: 0x7f, count: 24))).contains(
        "gives image 0 the label"))
    #expect(refusal(images) == "images: has its labels elsewhere; name their file with --labels")
    #expect(refusal(scratch.path + "/none") == "none: is not there")
    let text = try scratch.file("text", "no images at all")
    #expect(with(text) == "text: is no IDX and no NumPy file; say how it is laid out with --raw")
    for length in 0..<16 {
      let cut = try scratch.file("cut", Array(contents(images).prefix(length)))
      #expect(with(cut).hasPrefix("cut: "))
    }
  }

  @Test(
    arguments: [
      ("u1", nil), ("i2", nil), ("big-i4", nil), ("u8", nil), ("four", nil), ("f4", 255), ("f2", 255), ("big-f8", 255),
    ]
      as [(String, Double?)])
  func `NumPy files of every type give the same bytes`(_ name: String, _ scale: Double?) throws {
    for labels in ["labels", "labels-u1"] {
      let set = try load(fixture(name + ".npy")) { ($0.labels, $0.scale) = (fixture(labels + ".npy"), scale) }
      #expect(try set.rows(0..<6) == pixels)
      #expect(set.labels == [0, 1, 2, 0, 1, 2])
    }
  }

  @Test func `NumPy files that would be misread are refused`() {
    func with(_ name: String) -> String { refusal(fixture(name)) { $0.labels = fixture("labels.npy") } }
    #expect(with("fortran.npy") == "fortran.npy: is in Fortran's order; save numpy.ascontiguousarray of it")
    #expect(with("complex.npy").hasPrefix("complex.npy: holds numbers of type '<c8'; expected"))
    #expect(with("f4.npy").contains("expected a whole number from 0 to 255; give --scale"))
  }

  @Test(arguments: ["stored.npz", "deflated.npz"])
  func `NumPy archives give images and labels`(_ name: String) throws {
    let set = try load(fixture(name))
    #expect(try set.rows(0..<6) == pixels)
    #expect(set.labels == [0, 1, 2, 0, 1, 2])
  }

  @Test func `Of several arrays in an archive one must be named`() throws {
    #expect(
      refusal(fixture("two.npz"))
        == "two.npz: has 2 arrays that could be images among x_test, x_train, y_test, y_train; name it with --array")
    let set = try load(fixture("two.npz")) { ($0.imageArray, $0.labelArray) = ("x_test", "y_test") }
    #expect(set.count == 3)
    Folder.remove(output)
    #expect(
      refusal(fixture("two.npz")) { $0.imageArray = "x" }
        == "two.npz: has no array 'x'; there are x_test, x_train, y_test, y_train")
  }

  @Test(arguments: ["stored.npz", "deflated.npz", "u1.npy"])
  func `A changed or shortened array file is read or refused, and never ends the process`(_ name: String) throws {
    let whole = try contents(fixture(name)), damaged = scratch.path + "/damaged"
    func attempt(_ bytes: [UInt8]) throws {
      try scratch.file("damaged", bytes)
      do { _ = try load(damaged) { if name == "u1.npy" { $0.labels = fixture("labels.npy") } } } catch is FileError {}
    }
    for length in stride(from: 0, to: whole.count, by: 5) { try attempt(Array(whole.prefix(length))) }
    for place in stride(from: 0, to: whole.count, by: 2) {
      var bytes = whole
      bytes[place] ^= [0x01, 0xff, 0x80][place / 2 % 3]
      try attempt(bytes)
    }
  }

  @Test func `A changed member of an archive is found by its checksum`() throws {
    var bytes = try contents(fixture("stored.npz"))
    // The first image row is 0, 1, 2, 3, 4, then 7, 8, …
    let start = try #require((0..<bytes.count - 7).first { Array(bytes[$0..<$0 + 7]) == [0, 1, 2, 3, 4, 7, 8] })
    bytes[start + 2] = 99
    let damaged = try scratch.file("damaged.npz", bytes)
    #expect(
      refusal(damaged).hasSuffix("member 'x_train.npy': cannot be unpacked: its checksum is wrong"))
  }

  @Test func `Tables give images, with the label first or last, with or without a heading`() throws {
    let rows = (0..<4).map { i in (0..<4).map { String(60 * i + $0) }.joined(separator: ",") }
    let expected: [UInt8] = [0, 1, 2, 3, 60, 61, 62, 63, 120, 121, 122, 123, 180, 181, 182, 183]
    let first = try scratch.file(
      "first.csv", "label,a,b,c,d\r\n" + rows.enumerated().map { "\($0 % 2),\($1)\r\n" }.joined())
    let set = try load(first)
    #expect(try set.rows(0..<4) == expected)
    #expect(set.labels == [0, 1, 0, 1] && set.height == 2 && set.width == 2 && set.channels == 1)
    let last = try scratch.file("last.csv", rows.enumerated().map { "\($1),\($0 % 2)" }.joined(separator: "\n\n"))
    let flat = try load(last) { ($0.hasLabelLast, $0.shape) = (true, [1, 4]) }
    #expect(try flat.rows(0..<4) == expected)
    #expect(flat.height == 1 && flat.width == 4)
    let floats = try scratch.file("floats.csv", "0,0.5, 1.0,0,1e0\n1,0,0,0.25,0\n")
    #expect(try load(floats) { $0.scale = 255 }.rows(0..<2) == [128, 255, 0, 255, 0, 0, 64, 0])
  }

  @Test func `Tables that are none are refused at a line`() throws {
    func with(_ text: String) throws -> String { refusal(try scratch.file("t.csv", text)) }
    #expect(try with("0,1,2,3,4\n1,1,2,3\n") == "t.csv:2: has 4 columns; the first row has 5")
    #expect(
      try with("0,1,2,3,4\nx,1,2,3,4\n")
        == "t.csv:2: has the label 'x', which is no whole number; say with --label-column whether it is the first or the last"
    )
    #expect(try with("0,1,2,z,4\n") == "t.csv:1: has 'z' in column 4, which is no number")
    #expect(try with("0,1,2,3,400\n").hasPrefix("t.csv: image 0: has the value 400.0; expected"))
    #expect(try with("0,1,2,3\n").hasPrefix("t.csv: has 3 pixels in a row, which are not 1 × 1 × 1; say"))
    #expect(try with("").hasPrefix("t.csv: "))
    #expect(try with("-1,1,2,3,4\n") == "t.csv: gives image 0 the label -1; expected 0 to 65535")
  }

  @Test func `A folder of folders gives its classes in order, resized and in the channels asked for`() throws {
    for (name, source) in [
      ("b/1.PNG", "rgb.png"), ("b/2.jpg", "subsampled.jpg"), ("a/x.png", "grey.png"), (".c/y", "rgb.png"),
    ] {
      try scratch.file("photos/" + name, contents(fixture(source)))
    }
    try scratch.file("photos/README", "text")
    let photos = scratch.path + "/photos"
    let set = try load(photos) { ($0.size, $0.channels) = ((8, 8), 3) }
    #expect(set.classNames == ["a", "b"] && set.labels == [0, 1, 1])
    let grey = try Picture(reading: fixture("grey.png")).converted(toChannels: 3).resized(height: 8, width: 8)
    #expect(try set.rows(at: [0]) == grey.pixels)
    Folder.remove(output)
    #expect(
      refusal(photos) { $0.size = (8, 8) } == "photos: image 1: has 3 channels, the first 1; give --channels 1 or 3")
    #expect(
      refusal(photos) { $0.channels = 1 }
        == "photos: image 2: has 24 × 40 pixels, the first 9 × 13; give --size HEIGHTxWIDTH")
    try scratch.file("photos/b/notes.txt", "text")
    #expect(refusal(photos).hasSuffix("notes.txt: is not named as a PNG or JPEG file; move it elsewhere"))
    Folder.remove(scratch.path + "/photos/b/notes.txt")
    try Folder.create(photos + "/empty")
    #expect(refusal(photos) == "empty: holds no images; remove the folder")
    #expect(refusal(photos + "/a").hasPrefix("a: has no folders; expected one for each class"))
  }

  @Test func `A set gives another, of some of its classes, which keeps its origin`() throws {
    let whole = scratch.path + "/whole.h5"
    var job = ImageImport()
    (job.labels, job.names) = (fixture("labels.npy"), ["a", "b", "c"])
    job.origin = ImageSet.Origin(name: "six", source: "NumPy", licence: "CC0")
    try job(fixture("u1.npy"), to: whole)
    let part = try load(whole) { ($0.classes, $0.origin.name) = (["c", "b"], "four") }
    #expect(part.classNames == ["c", "b"] && part.labels == [1, 0, 1, 0])
    #expect(try part.rows(0..<4) == Array(pixels[20..<60] + pixels[80..<120]))
    #expect(part.origin == ImageSet.Origin(name: "four", source: "NumPy", licence: "CC0"))
    let cut = try scratch.file("cut.h5", Array(contents(whole).dropLast()))
    Folder.remove(output)
    #expect(refusal(cut).hasPrefix("cut.h5: cannot be opened"))
  }

  @Test func `Bytes at a known place are read whatever the file is`() throws {
    let images = try scratch.file("pickle", [1, 2, 3] + pixels + [9])
    let labels = try scratch.file("labels", [7] + (0..<6).flatMap { [UInt8($0 % 3), 0, 0, 0, 0, 0, 0, 0] } + [9, 9])
    var layout = RawLayout(shape: [6, 4, 5])
    (layout.offset, layout.labelOffset, layout.labelType) = (3, 1, .int64)
    let set = try load(images) { ($0.labels, $0.raw) = (labels, layout) }
    #expect(try set.rows(0..<6) == pixels)
    #expect(set.labels == [0, 1, 2, 0, 1, 2])
    Folder.remove(output)
    layout.shape = [7, 4, 5]
    #expect(refusal(images) { ($0.labels, $0.raw) = (labels, layout) }.hasPrefix("labels: ends within label 0"))
  }

  @Test func `Classes can be named, chosen and numbered anew, and images limited`() throws {
    let images = fixture("u1.npy"), labels = fixture("labels.npy")
    let named = try load(images) { ($0.labels, $0.names) = (labels, ["a", "b", "c"]) }
    #expect(named.classNames == ["a", "b", "c"])
    let chosen = try load(images) { ($0.labels, $0.names, $0.classes) = (labels, ["a", "b", "c"], ["c", "a"]) }
    #expect(chosen.classNames == ["c", "a"] && chosen.labels == [1, 0, 1, 0])
    #expect(try chosen.rows(at: [1]) == Array(pixels[40..<60]))
    let limited = try load(images) { ($0.labels, $0.limit) = (labels, 3) }
    #expect(limited.labels == [0, 1, 2])
    #expect(try limited.rows(0..<3) == Array(pixels[..<60]))
    let drawn = try load(images) { ($0.labels, $0.limit, $0.seed) = (labels, 3, 2) }
    #expect(drawn.labels.sorted() == [0, 1, 2])
    Folder.remove(output)
    #expect(
      refusal(images) { ($0.labels, $0.names) = (labels, ["a", "b"]) }
        == "labels.npy: has the label 2, but there are only 2 names")
    #expect(
      refusal(images) { ($0.labels, $0.names, $0.classes) = (labels, ["cat", "dog", "cow"], ["dogs"]) }
        == "labels.npy: has no class 'dogs'; did you mean 'dog'?")
    #expect(
      refusal(images) { ($0.labels, $0.classes) = (labels, ["1", "1"]) }
        == "labels.npy: the class '1' was asked for twice")
    #expect(
      refusal(images) { ($0.labels, $0.names) = (labels, ["a", "b", "c", "d"]) }
        == "set.h5: dataset 'labels': gives no image the class 3, 'd'; leave that class out")
  }
}
