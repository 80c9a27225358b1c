/// One image: a byte a value, `[height, width, channels]`, from the top left, row by row.
public struct Picture: Sendable, Equatable {
  /// The size in pixels.
  public let height, width: Int
  /// 1 for grey, 3 for red, green and blue.
  public let channels: Int
  /// The values; 0 is dark.
  public let pixels: [UInt8]

  /// A picture of that size.
  public init(height: Int, width: Int, channels: Int, pixels: [UInt8]) {
    precondition(pixels.count == height * width * channels, "the pixels do not fill the picture")
    (self.height, self.width, self.channels, self.pixels) = (height, width, channels, pixels)
  }

  /// The same picture in grey or in colours; grey repeats in each, and colours are weighed as the eye does.
  ///
  /// Grey is 0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601) in the fixed point of Pillow's `convert("L")`, bit for
  /// bit.
  public func converted(toChannels wanted: Int) -> Picture {
    if wanted == channels { return self }
    let count = height * width
    let converted =
      wanted == 3
      ? [UInt8](unsafeUninitializedCapacity: 3 * count) { place, used in
        for index in 0..<count { for channel in 0..<3 { place[3 * index + channel] = pixels[index] } }
        used = 3 * count
      }
      : (0..<count).map { index in
        let (red, green, blue) = (Int(pixels[3 * index]), Int(pixels[3 * index + 1]), Int(pixels[3 * index + 2]))
        return UInt8((red * 19_595 + green * 38_470 + blue * 7_471 + 0x8000) >> 16)
      }
    return Picture(height: height, width: width, channels: wanted, pixels: converted)
  }
}
