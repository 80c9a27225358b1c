import Files
import Testing

@testable import Images

struct PictureTests {
  private let expected: Safetensors
  private let scratch: Scratch

  init() throws {
    expected = try Safetensors(fixture("expected.safetensors"))
    scratch = try Scratch()
  }

  private func bytes(_ name: String) throws -> [UInt8] { try expected.entry(name).integers().map { UInt8($0) } }

  @Test(arguments: ["grey.png", "rgb.png", "rgba.png", "palette.png", "grey16.png", "bits.png"])
  func `A PNG file reads as Pillow reads it, byte for byte`(_ name: String) throws {
    let picture = try Picture(reading: fixture(name))
    #expect(picture.height == 9 && picture.width == 13)
    #expect(try picture.pixels == bytes(name))
  }

  @Test(arguments: [("grey.jpg", 0), ("rgb.jpg", 0), ("progressive.jpg", 0), ("subsampled.jpg", 2)])
  func `A JPEG file reads as Pillow reads it`(_ name: String, _ tolerance: Int) throws {
    let picture = try Picture(reading: fixture(name)), wanted = try bytes(name)
    #expect(picture.pixels.count == wanted.count)
    // The versions of the library differ in how they spread colours kept at half the size.
    #expect(zip(picture.pixels, wanted).allSatisfy { abs(Int($0) - Int($1)) <= tolerance })
  }

  @Test func `Colours become grey as Pillow makes them, and grey becomes colours without loss`() throws {
    let colours = try Picture(reading: fixture("rgb.png")), grey = colours.converted(toChannels: 1)
    #expect(try grey.pixels == bytes("luma"))
    #expect(grey.converted(toChannels: 3).converted(toChannels: 1) == grey)
  }

  @Test func `A picture comes back from the PNG file it was written to`() throws {
    for picture in [
      Picture(height: 5, width: 300, channels: 1, pixels: noise(1500)),
      Picture(height: 70, width: 3, channels: 3, pixels: noise(630)),
    ] {
      let path = try scratch.file("a.png", picture.png(for: "a.png"))
      #expect(try Picture(reading: path) == picture)
    }
  }

  @Test func `What is no picture, or one in inks, is refused`() throws {
    #expect(
      message { _ = try Picture(reading: fixture("labels.npy")) } == "labels.npy: is neither a PNG nor a JPEG file")
    #expect(
      message { _ = try Picture(reading: fixture("cmyk.jpg")) }
        == "cmyk.jpg: cannot be read as an image: is neither grey nor red, green and blue")
    #expect(message { _ = try Picture(reading: scratch.file("empty.png", [])) }.contains("neither a PNG nor a JPEG"))
  }

  @Test(arguments: ["grey.png", "palette.png", "rgb.jpg", "progressive.jpg"])
  func `A picture cut short is refused, and a changed one never ends the process`(_ name: String) throws {
    let whole = try contents(fixture(name))
    for length in 0..<whole.count - 12 {
      let cut = Array(whole.prefix(length))
      #expect(throws: FileError.self) { try cut.withUnsafeBytes { _ = try Picture($0, name) } }
    }
    for place in whole.indices {
      for change: UInt8 in [0x01, 0x80, 0xff] {
        var bytes = whole
        bytes[place] ^= change
        _ = try? bytes.withUnsafeBytes { try Picture($0, name) }
      }
    }
  }

  @Test func `A picture of far too many pixels is refused before memory is taken for it`() throws {
    var bytes = try contents(fixture("grey.jpg"))
    // The frame's header: marker c0, length, precision, then height and width.
    let frame = try #require((0..<bytes.count - 1).first { bytes[$0] == 0xff && bytes[$0 + 1] == 0xc0 })
    bytes.replaceSubrange(frame + 5..<frame + 9, with: [0x3f, 0xff, 0x3f, 0xff])
    #expect(
      message { try bytes.withUnsafeBytes { _ = try Picture($0, "big") } }.hasPrefix("big: has 16383 × 16383 pixels"))
  }

  @Test(arguments: ["8x8", "40x31", "23x5", "7x17", "1x1", "46x34"])
  func `Resizing is Pillow's bit for bit, or PyTorch's`(_ name: String) throws {
    let source = Picture(height: 23, width: 17, channels: 3, pixels: try bytes("resize"))
    let size = name.split(separator: "x").compactMap { Int($0) }
    #expect(try source.resized(height: size[0], width: size[1]).pixels == bytes("antialiased " + name))
    let plain = source.interpolated(height: size[0], width: size[1])
    let wanted = try expected.entry("bilinear " + name).floats()
    #expect(plain.count == wanted.count)
    // Positions are worked out in single precision there: about 40 × 2⁻²⁴ × 255.
    #expect(zip(plain, wanted).allSatisfy { abs($0 - $1) < 2e-3 })
  }
}
