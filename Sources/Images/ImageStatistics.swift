import Autodiff
import Files

/// What a set's images hold, found by reading each once.
public struct ImageStatistics: Sendable, Equatable {
  /// How many images each class has.
  public let counts: [Int]
  /// The mean of each channel, of values from 0 to 1.
  public let mean: [Double]
  /// The standard deviation of each channel, of values from 0 to 1, over all pixels of all images.
  public let deviation: [Double]

  /// Reads all of `set`, some at a time.
  ///
  /// - Throws: a ``FileError`` when bytes of it are damaged.
  public init(of set: ImageSet) throws {
    var counts = [Int](repeating: 0, count: set.classNames.count)
    for label in set.labels { counts[label] += 1 }
    // Of a byte there are 256 values: counting them is exact, whatever the number of pixels.
    var histogram = [Int](repeating: 0, count: 256 * set.channels)
    var next = 0
    while next < set.count {
      let end = min(set.count, next + set.chunk)
      let pixels = try set.rows(next..<end)
      pixels.withUnsafeBufferPointer { pixels in
        for index in pixels.indices { histogram[index % set.channels * 256 + Int(pixels[index])] += 1 }
      }
      next = end
    }
    let pixels = Double(set.count * set.height * set.width)
    var mean: [Double] = [], deviation: [Double] = []
    for channel in 0..<set.channels {
      let bins = histogram[channel * 256..<channel * 256 + 256].enumerated()
      let average = Double(bins.reduce(0) { $0 + $1.offset * $1.element }) / pixels
      let variance = bins.reduce(0.0) { sum, bin in
        sum + (Double(bin.offset) - average) * (Double(bin.offset) - average) * Double(bin.element)
      }
      mean.append(average / 255)
      deviation.append((variance / pixels).squareRoot() / 255)
    }
    (self.counts, self.mean, self.deviation) = (counts, mean, deviation)
  }
}
