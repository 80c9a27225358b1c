/// How the pixels of a picture of another size are made.
public enum Resizing: String, Sendable, CaseIterable {
  /// Each pixel is a mean over all that it covers, weighed by a triangle: Pillow's `resize(…, BILINEAR)`, bit for bit.
  ///
  /// When a picture shrinks, nothing is skipped, so that fine patterns turn grey rather than into coarse ones.
  case antialiased

  /// Each pixel is interpolated between the four nearest to its centre, however far a picture shrinks: PyTorch's
  /// `interpolate(mode: "bilinear", align_corners: false)` and OpenCV's `INTER_LINEAR`, but for rounding.
  case bilinear
}

extension Picture {
  /// The picture at another size by ``Resizing/antialiased``, rounded to bytes.
  public func resized(height: Int, width: Int) -> Picture {
    var (picture, rows) = (pixels, self.height)
    // Columns first, then rows, each rounded to bytes, as Pillow does.
    if width != self.width {
      let taps = Taps(from: self.width, to: width)
      picture = Self.pass(picture, lines: rows, inputs: self.width, outputs: width, run: channels, taps)
    }
    if height != self.height {
      let taps = Taps(from: self.height, to: height)
      picture = Self.pass(picture, lines: 1, inputs: self.height, outputs: height, run: width * channels, taps)
      rows = height
    }
    return Picture(height: rows, width: width, channels: channels, pixels: picture)
  }

  /// The values at another size by ``Resizing/bilinear``, from 0 to 255 and not rounded: `[height, width, channels]`.
  func interpolated(height: Int, width: Int) -> [Float] {
    let across = Self.neighbours(from: self.width, to: width), down = Self.neighbours(from: self.height, to: height)
    var result: [Float] = []
    result.reserveCapacity(height * width * channels)
    for (top, bottom, lower) in down {
      for (left, right, further) in across {
        for channel in 0..<channels {
          func value(_ y: Int, _ x: Int) -> Float { Float(pixels[(y * self.width + x) * channels + channel]) }
          let above = value(top, left) * (1 - further) + value(top, right) * further
          let below = value(bottom, left) * (1 - further) + value(bottom, right) * further
          result.append(above * (1 - lower) + below * lower)
        }
      }
    }
    return result
  }

  /// For each output the two inputs around its centre and the weight of the second.
  private static func neighbours(from inputs: Int, to outputs: Int) -> [(Int, Int, Float)] {
    (0..<outputs).map { output in
      let centre = max(0, (Double(output) + 0.5) * Double(inputs) / Double(outputs) - 0.5)
      let first = min(Int(centre), inputs - 1)
      return (first, min(first + 1, inputs - 1), Float(centre - Double(first)))
    }
  }

  /// The inputs that make each output, with weights in 22 bits after the point.
  private struct Taps {
    let first: [Int]
    let weights: [[Int32]]
    static let bits = 22

    init(from inputs: Int, to outputs: Int) {
      var first: [Int] = [], weights: [[Int32]] = []
      let scale = Double(inputs) / Double(outputs), reach = max(scale, 1)
      for output in 0..<outputs {
        let centre = (Double(output) + 0.5) * scale
        let start = max(0, Int(centre - reach + 0.5)), end = min(inputs, Int(centre + reach + 0.5))
        let triangle = (start..<end).map { input in
          max(0, 1 - abs((Double(input) - centre + 0.5) * (1 / reach)))
        }
        let sum = triangle.reduce(0, +)
        first.append(start)
        weights.append(triangle.map { Int32(0.5 + $0 / sum * Double(1 << Self.bits)) })
      }
      (self.first, self.weights) = (first, weights)
    }
  }

  /// Weighs the elements of each line, an element being `run` bytes: `[lines, inputs, run]` to `[lines, outputs, run]`.
  private static func pass(
    _ source: [UInt8], lines: Int, inputs: Int, outputs: Int, run: Int, _ taps: Taps
  ) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: lines * outputs * run) { place, used in
      source.withUnsafeBufferPointer { source in
        for line in 0..<lines {
          for output in 0..<outputs {
            let from = (line * inputs + taps.first[output]) * run, to = (line * outputs + output) * run
            taps.weights[output].withUnsafeBufferPointer { weights in
              for byte in 0..<run {
                var sum: Int32 = 1 << Int32(Taps.bits - 1)
                for tap in weights.indices { sum &+= Int32(source[from + tap * run + byte]) &* weights[tap] }
                place[to + byte] = UInt8(clamping: sum >> Int32(Taps.bits))
              }
            }
          }
        }
      }
      used = lines * outputs * run
    }
  }
}
