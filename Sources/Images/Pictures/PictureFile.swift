import CImageFiles
import Files
import Glibc

extension Picture {
  /// Reads a PNG or JPEG file, told apart by how it begins.
  ///
  /// Alpha is dropped, 16 bits are cut to the upper 8, and colour profiles and notes on how the camera was held are not
  /// looked at, as with Pillow's `convert("RGB")`.
  ///
  /// - Throws: a ``FileError`` when it is neither, is damaged or ends early, or has a side above
  ///   ``ImageSet/largestSide`` or more than 64 million pixels.
  public init(reading path: String) throws {
    let file = try MappedFile(path)
    self = try withExtendedLifetime(file) { try Picture(file.bytes, path) }
  }

  /// Reads the bytes of a PNG or JPEG file; `path` is for messages.
  init(_ bytes: UnsafeRawBufferPointer, _ path: String) throws {
    guard let start = bytes.bindMemory(to: UInt8.self).baseAddress, bytes.count > 8 else {
      throw FileError(path, "is neither a PNG nor a JPEG file")
    }
    let read: (UnsafeMutablePointer<graft_picture>, UnsafeMutablePointer<UInt8>?, UnsafeMutablePointer<CChar>) -> Int32
    if bytes.starts(with: [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]) {
      read = { graft_png_read(start, bytes.count, $0, $1, $2) }
    } else if bytes.starts(with: [0xff, 0xd8, 0xff]) {
      read = { graft_jpeg_read(start, bytes.count, $0, $1, $2) }
    } else {
      throw FileError(path, "is neither a PNG nor a JPEG file")
    }
    var size = graft_picture()
    func attempt(_ pixels: UnsafeMutablePointer<UInt8>?) throws {
      try withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(graft_message_size)) { message in
        guard let text = message.baseAddress, read(&size, pixels, text) == 0 else {
          throw FileError(path, "cannot be read as an image: \(message.baseAddress.map { String(cString: $0) } ?? "")")
        }
      }
    }
    try attempt(nil)
    let (height, width, channels) = (Int(size.height), Int(size.width), Int(size.channels))
    guard (1...ImageSet.largestSide).contains(height), (1...ImageSet.largestSide).contains(width),
      height * width <= 64 << 20
    else {
      throw FileError(path, "has \(width) × \(height) pixels; at most 16,384 a side and 64 million in all are read")
    }
    let pixels = try [UInt8](unsafeUninitializedCapacity: height * width * channels) { place, used in
      // A file that fails on the way leaves some of them unset.
      place.initialize(repeating: 0)
      try attempt(place.baseAddress)
      used = place.count
    }
    self.init(height: height, width: width, channels: channels, pixels: pixels)
  }

  /// The picture as a PNG file.
  ///
  /// - Throws: a ``FileError`` naming `path` when libpng refuses it.
  public func png(for path: String) throws -> [UInt8] {
    var size = graft_picture(width: UInt32(width), height: UInt32(height), channels: UInt32(channels))
    var made: UnsafeMutablePointer<UInt8>?
    var count = 0
    try withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(graft_message_size)) { message in
      guard let text = message.baseAddress, graft_png_write(&size, pixels, &made, &count, text) == 0 else {
        throw FileError(path, "cannot be made: \(message.baseAddress.map { String(cString: $0) } ?? "")")
      }
    }
    defer { free(made) }
    return Array(UnsafeBufferPointer(start: made, count: count))
  }
}
