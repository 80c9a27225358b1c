import Autodiff
import Glibc

/// Small changes of an image that leave its class as it is, drawn anew for each.
///
/// What is drawn depends on the key alone: an image is changed alike in whatever batch, at whatever place of it and on
/// however many threads it is prepared. The changes are made in the order of the properties.
public struct ImageAugmentation: Sendable, Equatable {
  /// Turns the image about its centre by up to so many degrees either way, interpolated between the four nearest pixels;
  /// what comes in at the corners is 0.
  public var rotation: Double = 0
  /// Moves the image by up to so many pixels each way: it is padded by as many zeros on every side, and a piece of its
  /// own size is cut out.
  public var padding = 0
  /// Whether every other image, by chance, is turned left to right.
  public var flips = false
  /// Multiplies all values by a factor from 1 − brightness to 1 + brightness, and cuts them to 0…255.
  public var brightness: Double = 0
  /// Multiplies the distances from the image's mean grey by a factor from 1 − contrast to 1 + contrast, and cuts the
  /// values to 0…255.
  public var contrast: Double = 0

  /// An augmentation that changes nothing until a property is set.
  public init() {}

  /// Whether no property is set, so that every image stays as it is.
  public var changesNothing: Bool { self == ImageAugmentation() }

  /// What is done to one image.
  struct Draw: Equatable {
    /// In radians, counted as one sees it: positive turns right.
    var angle: Double
    var down: Int, right: Int
    var isFlipped: Bool
    var brightness: Float, contrast: Float
  }

  /// Draws the changes of the image that `key` stands for; setting one property does not change what the others draw.
  func draw(from key: RandomKey) -> Draw {
    func uniform(_ name: String, _ range: Double) -> Double {
      var random = key[name].generator
      return (2 * random.uniform() - 1) * range
    }
    func shift(_ name: String) -> Int {
      var random = key[name].generator
      return padding == 0 ? 0 : Int.random(in: -padding...padding, using: &random)
    }
    var coin = key["flip"].generator
    return Draw(
      angle: uniform("rotation", rotation) * .pi / 180, down: shift("down"), right: shift("right"),
      isFlipped: flips && coin.next() & 1 == 1, brightness: Float(1 + uniform("brightness", brightness)),
      contrast: Float(1 + uniform("contrast", contrast)))
  }

  /// Changes the values of one image, `[height, width, channels]` from 0 to 255.
  static func apply(_ draw: Draw, to values: [Float], height: Int, width: Int, channels: Int) -> [Float] {
    var values = values
    if draw.angle != 0 { values = turned(values, draw.angle, height, width, channels) }
    if draw.down != 0 || draw.right != 0 || draw.isFlipped {
      values = moved(values, draw, height, width, channels)
    }
    if draw.brightness != 1 {
      for index in values.indices { values[index] = min(255, max(0, values[index] * draw.brightness)) }
    }
    if draw.contrast != 1 {
      let mean = meanGrey(values, channels)
      for index in values.indices {
        values[index] = min(255, max(0, mean + (values[index] - mean) * draw.contrast))
      }
    }
    return values
  }

  private static func moved(
    _ values: [Float], _ draw: Draw, _ height: Int, _ width: Int, _ channels: Int
  ) -> [Float] {
    var result = [Float](repeating: 0, count: values.count)
    for y in 0..<height where (0..<height).contains(y - draw.down) {
      for x in 0..<width {
        let source = (draw.isFlipped ? width - 1 - x : x) - draw.right
        guard (0..<width).contains(source) else { continue }
        for channel in 0..<channels {
          result[(y * width + x) * channels + channel] =
            values[((y - draw.down) * width + source) * channels + channel]
        }
      }
    }
    return result
  }

  private static func turned(
    _ values: [Float], _ angle: Double, _ height: Int, _ width: Int, _ channels: Int
  ) -> [Float] {
    let (sine, cosine) = (sin(angle), cos(angle))
    let (middleY, middleX) = (Double(height - 1) / 2, Double(width - 1) / 2)
    var result = [Float](repeating: 0, count: values.count)
    for y in 0..<height {
      for x in 0..<width {
        // Where the pixel comes from: the turn backwards.
        let (dy, dx) = (Double(y) - middleY, Double(x) - middleX)
        let sourceY = middleY + dy * cosine - dx * sine, sourceX = middleX + dy * sine + dx * cosine
        let top = Int(sourceY.rounded(.down)), left = Int(sourceX.rounded(.down))
        let lower = Float(sourceY - Double(top)), further = Float(sourceX - Double(left))
        for (line, lineWeight) in [(top, 1 - lower), (top + 1, lower)] where (0..<height).contains(line) {
          for (column, weight) in [(left, 1 - further), (left + 1, further)] where (0..<width).contains(column) {
            for channel in 0..<channels {
              result[(y * width + x) * channels + channel] +=
                lineWeight * weight * values[(line * width + column) * channels + channel]
            }
          }
        }
      }
    }
    return result
  }

  private static func meanGrey(_ values: [Float], _ channels: Int) -> Float {
    let weights: [Double] = channels == 3 ? [0.299, 0.587, 0.114] : [1]
    var sum = 0.0
    for index in values.indices { sum += weights[index % channels] * Double(values[index]) }
    return Float(sum * Double(channels) / Double(values.count))
  }
}
