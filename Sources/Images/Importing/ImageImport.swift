import Autodiff
import Files

/// Making an ``ImageSet`` of images that lie in other files.
///
/// A source is an IDX or NumPy file with another of labels, a NumPy archive with both, a table, a folder with a folder
/// for each class, another set, or, with a ``RawLayout``, any file whose layout is known. Files may be packed by gzip.
public struct ImageImport: Sendable {
  /// The file of labels: IDX, NumPy, or text with one a line; by the layout with ``raw``.
  public var labels: String?
  /// Resizes images, by ``Resizing/antialiased``; without it all must have one size.
  public var size: (height: Int, width: Int)?
  /// Makes grey or colours of all images; without it all must be alike.
  public var channels: Int?
  /// Takes at most that many images, of every class its share.
  public var limit: Int?
  /// Draws those; without it the first of each class are taken.
  public var seed: UInt64?
  /// Takes these classes alone, and numbers them in this order; all when empty.
  public var classes: [String] = []
  /// Names the classes 0, 1, …; when empty, folders have their names and other sources the numbers.
  public var names: [String] = []
  /// What numbers are multiplied by before they are rounded to bytes.
  public var scale: Double?
  /// `[height, width]` or `[height, width, channels]` of the images of a table; grey and square when empty.
  public var shape: [Int] = []
  /// Whether the label of a table's row stands behind the pixels.
  public var hasLabelLast = false
  /// The layout of a file that does not say it.
  public var raw: RawLayout?
  /// The members of a NumPy archive; found by their shapes when nil.
  public var imageArray: String?, labelArray: String?
  /// What the set says of itself; texts that are empty are taken from a source that is a set.
  public var origin = ImageSet.Origin()

  /// An import of everything as it is.
  public init() {}

  /// Reads `source` and writes the set `output`, whole or not at all.
  ///
  /// - Throws: a ``FileError`` saying what in which file is missing, damaged or does not fit.
  public func callAsFunction(_ source: String, to output: String) throws {
    guard Folder.exists(source) else { throw FileError(source, "is not there") }
    for input in [source, labels].compactMap(\.self) where Folder.isSame(input, output) {
      throw FileError(output, "would be written over what is read", remedy: "name another file to write")
    }
    let images = try open(source)
    let (kept, newLabels, classNames) = try selection(images, source)
    var position = 0
    func picture(_ index: Int) throws -> Picture {
      while position < index {
        try images.skip()
        position += 1
      }
      position += 1
      return try images.next()
    }
    guard let start = kept.first else { throw FileError(source, "holds no images") }
    let first = try picture(start)
    let shape = [size?.height ?? first.height, size?.width ?? first.width, channels ?? first.channels]
    var next = 0, origin = origin
    if origin.name.isEmpty { origin.name = images.origin?.name ?? "" }
    if origin.source.isEmpty { origin.source = images.origin?.source ?? "" }
    if origin.licence.isEmpty { origin.licence = images.origin?.licence ?? "" }
    try ImageSet.write(output, labels: newLabels, classNames: classNames, shape: shape, origin: origin) {
      let part = try next == 0 ? first : picture(kept[next])
      let pixels = try fitted(part, shape, source, image: kept[next]).pixels
      next += 1
      if next == kept.count && position == images.labels.count { try images.finish() }
      return pixels
    }
  }

  private func fitted(_ picture: Picture, _ shape: [Int], _ source: String, image: Int) throws -> Picture {
    var picture = picture
    if let channels { picture = picture.converted(toChannels: channels) }
    guard picture.channels == shape[2] else {
      throw FileError(
        source, at: "image \(image)", "has \(picture.channels) channels, the first \(shape[2])",
        remedy: "give --channels 1 or 3")
    }
    if let size { picture = picture.resized(height: size.height, width: size.width) }
    guard picture.height == shape[0], picture.width == shape[1] else {
      throw FileError(
        source, at: "image \(image)",
        "has \(picture.height) × \(picture.width) pixels, the first \(shape[0]) × \(shape[1])",
        remedy: "give --size HEIGHTxWIDTH")
    }
    return picture
  }

  /// The images to take, in their order, their new labels, and the names of the classes.
  private func selection(_ images: any ImageSource, _ source: String) throws -> ([Int], [Int], [String]) {
    let place = labels ?? source
    if let (index, label) = images.labels.enumerated().first(where: { !(0..<ImageSet.mostClasses).contains($1) }) {
      throw FileError(place, "gives image \(index) the label \(label); expected 0 to \(ImageSet.mostClasses - 1)")
    }
    let most = (images.labels.max() ?? -1) + 1
    let known = !names.isEmpty ? names : !images.classNames.isEmpty ? images.classNames : (0..<most).map(String.init)
    guard known.count >= most else {
      throw FileError(place, "has the label \(most - 1), but there are only \(known.count) names")
    }
    let wanted = classes.isEmpty ? known : classes
    var renumbered: [Int: Int] = [:]
    for (new, name) in wanted.enumerated() {
      guard let old = known.firstIndex(of: name) else {
        let advice = nearest(to: name, among: known).map { "; did you mean \(quoted($0))?" } ?? ""
        throw FileError(place, "has no class \(quoted(name))\(advice)")
      }
      guard renumbered.updateValue(new, forKey: old) == nil else {
        throw FileError(place, "the class \(quoted(name)) was asked for twice")
      }
    }
    var kept = images.labels.indices.filter { renumbered[images.labels[$0]] != nil }
    func newLabels() -> [Int] { kept.map { renumbered[images.labels[$0]] ?? 0 } }
    if let limit {
      let chosen = StratifiedChoice.choose(
        limit, of: newLabels(), classes: wanted.count, from: seed.map { RandomKey(seed: $0)["import"] })
      kept = chosen.map { kept[$0] }
    }
    return (kept, newLabels(), wanted)
  }

  private func open(_ source: String) throws -> any ImageSource {
    let rule = PixelRule(scale: scale)
    if Folder.isFolder(source) { return try FolderSource(source) }
    if let raw {
      guard let labels else {
        throw FileError(source, "has its labels elsewhere", remedy: "name their file with --labels")
      }
      return try ArraySource(try raw.images(source), labels: try raw.labels(labels), rule)
    }
    let start = try ByteStream(source).read(min(4, try MappedFile(source).bytes.count), "its first bytes")
    if start.starts(with: [0x50, 0x4b, 0x03, 0x04]) { return try openArchive(source, rule) }
    if start.starts(with: [0x89, 0x48, 0x44, 0x46]) { return try SetSource(source) }
    let plain = source.hasSuffix(".gz") ? String(source.dropLast(3)) : source
    if plain.lowercased().hasSuffix(".csv") {
      return try CSVSource(source, shape: shape, hasLabelLast ? .last : .first, rule)
    }
    let images = try NumberArray(source)
    guard let labels else {
      throw FileError(source, "has its labels elsewhere", remedy: "name their file with --labels")
    }
    return try ArraySource(images, labels: try openLabels(labels), rule)
  }

  /// Labels of any kind: an array, or text with one a line.
  private func openLabels(_ path: String) throws -> NumberArray {
    let stream = try ByteStream(path)
    let start = try stream.readAll(limit: 1 << 30)
    guard start.allSatisfy({ (0x30...0x39).contains($0) || $0 == 0x0a || $0 == 0x0d || $0 == 0x20 }) else {
      return try NumberArray(path)
    }
    let lines = start.split { !(0x30...0x39).contains($0) }
    let values = try lines.map { digits in
      guard let label = Int32(String(decoding: digits, as: UTF8.self)) else {
        throw FileError(path, "has the label \(quoted(String(decoding: digits, as: UTF8.self))), which is no class")
      }
      return label
    }
    return NumberArray(shape: [values.count], type: RawLayout.LabelType.int32.type, stream: ByteStream(values, path))
  }

  /// The images and labels in a NumPy archive.
  private func openArchive(_ path: String, _ rule: PixelRule) throws -> any ImageSource {
    let archive = try ZipArchive(try MappedFile(path))
    func array(_ name: String) throws -> NumberArray { try NumberArray(numPy: try ByteStream(archive, name + ".npy")) }
    let names = archive.members.keys.filter { $0.hasSuffix(".npy") }.map { String($0.dropLast(4)) }.sorted()
    func find(_ chosen: String?, _ what: String, _ option: String, _ fits: (NumberArray) -> Bool) throws -> NumberArray
    {
      if let chosen {
        guard names.contains(chosen) else {
          throw FileError(path, "has no array \(quoted(chosen)); there are \(names.joined(separator: ", "))")
        }
        return try array(chosen)
      }
      let fitting = try names.filter { fits(try array($0)) }
      guard fitting.count == 1 else {
        throw FileError(
          path, "has \(fitting.count) arrays that could be \(what) among \(names.joined(separator: ", "))",
          remedy: "name it with \(option)")
      }
      return try array(fitting[0])
    }
    let images = try find(imageArray, "images", "--array") { (3...4).contains($0.shape.count) }
    let labels =
      try labels.map(openLabels) ?? find(labelArray, "labels", "--label-array") { $0.shape.count == 1 }
    return try ArraySource(images, labels: labels, rule)
  }
}
