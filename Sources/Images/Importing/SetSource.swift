import Files

/// The images of a set, to be made another of: fewer, of some classes, or of another size.
final class SetSource: ImageSource {
  private let images: ImageSet
  private var position = 0
  private var chunk: Range<Int> = 0..<0
  private var pixels: [UInt8] = []

  init(_ path: String) throws { images = try ImageSet(path) }

  var labels: [Int] { images.labels }
  var classNames: [String] { images.classNames }
  var origin: ImageSet.Origin? { images.origin }

  func next() throws -> Picture {
    if !chunk.contains(position) {
      let start = position / images.chunk * images.chunk
      chunk = start..<min(images.count, start + images.chunk)
      pixels = try images.rows(chunk)
    }
    let from = (position - chunk.lowerBound) * images.imageBytes
    position += 1
    return Picture(
      height: images.height, width: images.width, channels: images.channels,
      pixels: Array(pixels[from..<from + images.imageBytes]))
  }

  func skip() { position += 1 }

  func finish() {}
}
