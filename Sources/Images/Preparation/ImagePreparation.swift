import Autodiff
import Files

/// How images become the input of a network: resized, perhaps augmented, in grey or colours, and scaled.
///
///     var preparation = ImagePreparation(height: 64, width: 64, channels: 3)
///     preparation.mean = [0.485, 0.456, 0.406]
///     preparation.deviation = [0.229, 0.224, 0.225]
///     let batch = try preparation.batch(of: set, at: [3, 1, 4])       // [3, 3, 64, 64]
///
/// A value v from 0 to 255 of channel c becomes (v / 255 − mean[c]) / deviation[c].
public struct ImagePreparation: Sendable, Equatable {
  /// The size in pixels of what comes out.
  public var height: Int, width: Int
  /// The channels of what comes out: 1 for grey, 3 for colours.
  public var channels: Int
  /// How images of another size are resized.
  public var resizing = Resizing.antialiased
  /// What is subtracted from each channel, whose values are from 0 to 1.
  public var mean: [Float]
  /// What each channel is divided by then.
  public var deviation: [Float]
  /// How images are changed while training; they are resized before.
  public var augmentation: ImageAugmentation?

  /// A preparation that leaves values from 0 to 1.
  public init(height: Int, width: Int, channels: Int) {
    require(
      height > 0 && width > 0 && (channels == 1 || channels == 3),
      "images of \(height) × \(width) × \(channels) cannot be prepared; expected 1 or 3 channels")
    (self.height, self.width, self.channels) = (height, width, channels)
    mean = [Float](repeating: 0, count: channels)
    deviation = [Float](repeating: 1, count: channels)
  }

  /// The images of `set` at `indices` as `[indices, channels, height, width]`.
  ///
  /// - Parameter key: what augmentation draws from, one key for each epoch; an image's changes depend on it and on the
  ///   image's index in the set. Without it nothing is augmented.
  /// - Throws: a ``FileError`` when the set has no such image, or its bytes are damaged.
  public func batch(of set: ImageSet, at indices: [Int], from key: RandomKey? = nil) throws -> Tensor {
    let pixels = try set.rows(at: indices), size = set.imageBytes
    let pictures = indices.indices.map { place in
      Picture(
        height: set.height, width: set.width, channels: set.channels,
        pixels: Array(pixels[place * size..<(place + 1) * size]))
    }
    return tensor(pictures, from: key.map { key in indices.map { key[$0] } })
  }

  /// The pictures, of whatever sizes, as `[pictures, channels, height, width]`; each is augmented from its own key.
  public func tensor(_ pictures: [Picture], from keys: [RandomKey]? = nil) -> Tensor {
    require(keys == nil || keys?.count == pictures.count, "each picture needs a key of its own")
    require(
      mean.count == channels && deviation.count == channels && deviation.allSatisfy { $0 > 0 },
      "\(channels) channels need as many means, and deviations above 0; got \(mean) and \(deviation)")
    let size = channels * height * width
    return Tensor(shape: [pictures.count, channels, height, width]) { place in
      Parallel.forEach(pictures.count) { index in
        prepare(pictures[index], keys?[index], into: place + index * size)
      }
    }
  }

  private func prepare(_ picture: Picture, _ key: RandomKey?, into place: UnsafeMutablePointer<Float>) {
    let picture = channels == 1 ? picture.converted(toChannels: 1) : picture
    var values: [Float]
    if picture.height == height && picture.width == width {
      values = picture.pixels.map(Float.init)
    } else if resizing == .antialiased {
      values = picture.resized(height: height, width: width).pixels.map(Float.init)
    } else {
      values = picture.interpolated(height: height, width: width)
    }
    if let augmentation, let key {
      values = ImageAugmentation.apply(
        augmentation.draw(from: key), to: values, height: height, width: width, channels: picture.channels)
    }
    let count = height * width
    for channel in 0..<channels {
      let scale = 1 / (255 * deviation[channel]), shift = mean[channel] / deviation[channel]
      let source = picture.channels == 1 ? 0 : channel
      for pixel in 0..<count {
        place[channel * count + pixel] = values[pixel * picture.channels + source] * scale - shift
      }
    }
  }
}
