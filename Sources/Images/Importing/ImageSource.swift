import Files

/// Labelled images, read one after another.
protocol ImageSource: AnyObject {
  /// The class of every image, in their order.
  var labels: [Int] { get }
  /// The names of the classes; empty where they only have numbers.
  var classNames: [String] { get }
  /// What the source says of itself, where it can.
  var origin: ImageSet.Origin? { get }
  /// The next image.
  func next() throws -> Picture
  /// Passes over the next image.
  func skip() throws
  /// Refuses what is left when all images have been read.
  func finish() throws
}

extension ImageSource {
  var origin: ImageSet.Origin? { nil }
}

/// How numbers become bytes.
struct PixelRule {
  /// What each number is multiplied by before it is rounded; without it, numbers must be bytes already.
  var scale: Double?

  /// The bytes of `values`; `path` and `image` are for messages.
  func bytes(_ values: [Double], _ path: String, image: Int) throws -> [UInt8] {
    try values.map { value in
      let byte = scale.map { (value * $0).rounded(.toNearestOrEven) } ?? value
      if let exact = UInt8(exactly: byte) { return exact }
      let found = scale.map { "\(value) × \($0)" } ?? "\(value)"
      throw FileError(
        path, at: "image \(image)", "has the value \(found); expected a whole number from 0 to 255",
        remedy: "give --scale, which numbers are multiplied by before they are rounded: 255 for those from 0 to 1")
    }
  }
}

/// Images that are one array, `[count, height, width]` or `[count, height, width, channels]`.
final class ArraySource: ImageSource {
  let labels: [Int]
  let classNames: [String] = []
  private let images: NumberArray
  private let rule: PixelRule
  private let size: (height: Int, width: Int, channels: Int)
  private var position = 0

  /// - Throws: a ``FileError`` when the array does not hold images, or not one for each label.
  init(_ images: NumberArray, labels: NumberArray, _ rule: PixelRule) throws {
    let shape = images.shape, rank = shape.count, channels = rank == 4 ? shape[3] : 1
    guard rank == 3 || rank == 4, channels == 1 || channels == 3, (1...ImageSet.largestSide).contains(shape[1]),
      (1...ImageSet.largestSide).contains(shape[2])
    else {
      throw FileError(
        images.path,
        "has shape \(described(shape: shape)); expected [count, height, width] or [count, height, width, 1 or 3]")
    }
    size = (shape[1], shape[2], channels)
    self.labels = try labels.integers()
    guard self.labels.count == shape[0] else {
      throw FileError(labels.path, "has \(self.labels.count) labels for \(shape[0]) images")
    }
    (self.images, self.rule) = (images, rule)
  }

  private var bytesPerImage: Int { size.height * size.width * size.channels * images.type.size }

  func next() throws -> Picture {
    defer { position += 1 }
    let bytes = try images.stream.read(bytesPerImage, "image \(position) of \(labels.count)")
    let isPlain = images.type.size == 1 && images.type.kind == .unsigned && rule.scale == nil
    let pixels = isPlain ? bytes : try rule.bytes(images.type.numbers(bytes), images.path, image: position)
    return Picture(height: size.height, width: size.width, channels: size.channels, pixels: pixels)
  }

  func skip() throws {
    try images.stream.skip(bytesPerImage, "image \(position) of \(labels.count)")
    position += 1
  }

  func finish() throws { if !images.allowsRest { try images.stream.expectEnd() } }
}
