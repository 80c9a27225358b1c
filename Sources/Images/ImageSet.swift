import Files

/// Labelled images of one size in an HDF5 file, read some at a time: a set may be larger than memory.
///
///     let set = try ImageSet("Data/animals/train.h5")
///     let pixels = try set.rows(at: [3, 1, 4])          // [3, height, width, channels], one byte a value
///     let names = [3, 1, 4].map { set.classNames[set.labels[$0]] }
///
/// The file is HDF5 in the form of version 1.10, in which descriptions have checksums (in h5py, `libver='v110'`):
///
/// | object | type | what |
/// |---|---|---|
/// | `images` | u8 `[count, height, width, channels]` | red, green, blue or grey, from the top left, row by row; 0 is dark |
/// | `labels` | i32 or i64 `[count]` | the class of each, from 0 |
/// | `class_names` | u8 `[bytes]` | a JSON array of texts, the names of class 0, 1, … |
/// | attribute `format` | text | `graft-image-set` |
/// | attribute `version` | i64 | 1 |
/// | attributes `name`, `source`, `licence` | text | what it is called, where it comes from, under which terms |
///
/// `images` is in chunks of about 64 KiB, whole images each, deflated and with a checksum; a chunk of more than 16 MB is
/// refused. Texts have a fixed length and are UTF-8. Every class has an image. Links, virtual and external storage are
/// refused, as are sizes above ``largestSide`` and channels other than 1 and 3.
public final class ImageSet: Sendable {
  /// What says where a set comes from; empty texts where nobody said.
  public struct Origin: Sendable, Equatable {
    /// What the set is called.
    public var name: String
    /// Where its images were taken from.
    public var source: String
    /// The terms under which they may be used.
    public var licence: String

    /// An origin.
    public init(name: String = "", source: String = "", licence: String = "") {
      (self.name, self.source, self.licence) = (name, source, licence)
    }
  }

  /// The file, as the caller named it.
  public let path: String
  /// How many images there are.
  public let count: Int
  /// The size of an image in pixels.
  public let height, width: Int
  /// 1 for grey, 3 for red, green and blue.
  public let channels: Int
  /// The class of each image, from 0.
  public let labels: [Int]
  /// The names of the classes.
  public let classNames: [String]
  /// Where the set comes from.
  public let origin: Origin

  private let images: HDF5Slices<UInt8>

  /// The most pixels an image may have along a side.
  public static let largestSide = 16_384
  /// The most classes a set may have.
  public static let mostClasses = 65_536
  static let format = "graft-image-set"
  static let version: Int64 = 1

  /// Opens a set; its images stay in the file.
  ///
  /// - Throws: a ``FileError`` naming the dataset or attribute that is missing, damaged, or says what cannot be.
  public init(_ path: String) throws {
    self.path = path
    let file = try HDF5Reader(path, checksummed: true)
    let format = try file.text("format"), version = try file.integer("version")
    guard format == Self.format else {
      throw FileError(path, at: "attribute 'format'", "is \(quoted(format)); expected '\(Self.format)'")
    }
    guard version == Self.version else {
      throw FileError(
        path, at: "attribute 'version'", "is \(version); this version of Graft reads \(Self.version)",
        remedy: "import the images again")
    }
    origin = Origin(
      name: try file.text("name"), source: try file.text("source"), licence: try file.text("licence"))
    images = try file.slices("images")
    let shape = images.shape
    guard shape.count == 4, (1...Self.largestSide).contains(shape[1]), (1...Self.largestSide).contains(shape[2]),
      shape[3] == 1 || shape[3] == 3
    else {
      throw FileError(
        path, at: "dataset 'images'",
        "has shape \(shape); expected [count, height, width, channels] with sides of 1 to \(Self.largestSide) and 1 or 3 channels"
      )
    }
    (count, height, width, channels) = (shape[0], shape[1], shape[2], shape[3])
    classNames = try Self.classNames(file)
    labels = try Self.labels(file, count: count, classes: classNames)
  }

  /// The values in an image.
  public var imageBytes: Int { height * width * channels }

  /// How many images are packed together in the file.
  public var chunk: Int { images.chunk }

  /// The images at `indices`, in that order: `[indices, height, width, channels]`.
  ///
  /// Chunks are unpacked once each, and those last used are kept for the next call.
  ///
  /// - Throws: a ``FileError`` when there is no such image, or its bytes are damaged.
  public func rows(at indices: [Int]) throws -> [UInt8] {
    if let wrong = indices.first(where: { !(0..<count).contains($0) }) {
      throw FileError(path, "has images 0 to \(count - 1), not \(wrong)")
    }
    let size = imageBytes
    var pixels = [UInt8](repeating: 0, count: indices.count * size)
    // By chunk, so that each is asked for once whatever the order.
    let order = indices.indices.sorted { indices[$0] < indices[$1] }
    var next = 0
    while next < order.count {
      let first = indices[order[next]], end = min(count, (first / chunk + 1) * chunk)
      var last = next
      while last + 1 < order.count && indices[order[last + 1]] < end { last += 1 }
      let range = first..<indices[order[last]] + 1, rows = try images.read(range)
      for place in order[next...last] {
        let from = (indices[place] - first) * size
        pixels.replaceSubrange(place * size..<(place + 1) * size, with: rows[from..<from + size])
      }
      next = last + 1
    }
    return pixels
  }

  /// Images that follow one another: `[range, height, width, channels]`.
  ///
  /// - Throws: a ``FileError`` when there are no such images, or their bytes are damaged.
  public func rows(_ range: Range<Int>) throws -> [UInt8] { try images.read(range) }

  private static func classNames(_ file: HDF5Reader) throws -> [String] {
    let place = "dataset 'class_names'"
    let bytes: HDF5Array<UInt8> = try file.read("class_names")
    let json = try bytes.values.withUnsafeBytes { try JSON(parsing: $0, path: file.path + ": " + place) }
    guard let values = json.array, case let names = values.compactMap(\.string), names.count == values.count else {
      throw FileError(file.path, at: place, "is no JSON array of texts")
    }
    try check(names, file.path)
    return names
  }

  private static func labels(_ file: HDF5Reader, count: Int, classes: [String]) throws -> [Int] {
    let values =
      file.holds("labels", Int64.self)
      ? try integers(file, count: count, as: Int64.self) : try integers(file, count: count, as: Int32.self)
    try check(values, classes, file.path)
    return values
  }

  private static func integers<Element: HDF5Element & BinaryInteger>(
    _ file: HDF5Reader, count: Int, as type: Element.Type
  ) throws -> [Int] {
    let array = try file.read("labels", as: type)
    guard array.shape == [count] else {
      throw FileError(file.path, at: "dataset 'labels'", "has shape \(array.shape) for \(count) images")
    }
    return array.values.map { Int($0) }
  }

  /// Refuses no classes, too many, and two of one name.
  static func check(_ classes: [String], _ path: String) throws {
    let place = "dataset 'class_names'"
    guard (1...mostClasses).contains(classes.count) else {
      throw FileError(path, at: place, "has \(classes.count) names; expected 1 to \(mostClasses)")
    }
    var seen: Set<String> = []
    for (index, name) in classes.enumerated() {
      guard !name.isEmpty else { throw FileError(path, at: place, "leaves class \(index) without a name") }
      guard seen.insert(name).inserted else { throw FileError(path, at: place, "has the name \(quoted(name)) twice") }
    }
  }

  /// Refuses labels that name no class, and classes that no label names.
  static func check(_ labels: [Int], _ classes: [String], _ path: String) throws {
    let place = "dataset 'labels'"
    var isUsed = [Bool](repeating: false, count: classes.count)
    for (index, label) in labels.enumerated() {
      guard classes.indices.contains(label) else {
        throw FileError(
          path, at: place, "gives image \(index) the class \(label); there are classes 0 to \(classes.count - 1)")
      }
      isUsed[label] = true
    }
    if let empty = isUsed.firstIndex(of: false) {
      throw FileError(
        path, at: place, "gives no image the class \(empty), \(quoted(classes[empty]))", remedy: "leave that class out")
    }
  }
}
