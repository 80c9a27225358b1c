import Foundation
import Testing

@testable import Images

struct ImageStatisticsTests {
  private func set(_ scratch: Scratch, _ shape: [Int], _ pixels: [UInt8], _ labels: [Int]) throws -> ImageSet {
    let path = scratch.path + "/set.h5"
    let names = (0...(labels.max() ?? 0)).map { "class \($0)" }
    try ImageSet.write(path, labels: labels, classNames: names, shape: shape, origin: .init()) { pixels }
    return try ImageSet(path)
  }

  @Test func `Means and deviations are of each channel, worked by hand`() throws {
    let scratch = try Scratch()
    // Red 0, 51, 102, 153; green always 255; blue 0, 0, 255, 255.
    let set = try set(scratch, [1, 2, 3], [0, 255, 0, 51, 255, 0, 102, 255, 255, 153, 255, 255], [0, 1])
    let statistics = try ImageStatistics(of: set)
    #expect(statistics.counts == [1, 1])
    #expect(zip(statistics.mean, [0.3, 1, 0.5]).allSatisfy { abs($0 - $1) < 1e-12 })
    // √(0.05) = 0.2236…
    #expect(zip(statistics.deviation, [(0.05).squareRoot(), 0, 0.5]).allSatisfy { abs($0 - $1) < 1e-12 })
  }

  @Test func `A sheet shows the first images of each class in their row, magnified`() throws {
    let scratch = try Scratch(), pixels = noise(5 * 400)
    let set = try set(scratch, [20, 20, 1], pixels, [1, 0, 1, 1, 0])
    var sheet = ContactSheet()
    sheet.perClass = 2
    let picture = try sheet.picture(of: set)
    // Twice 20 pixels and a gap of 4 for each image, and a gap at the end.
    #expect(picture.height == 92 && picture.width == 92)
    func at(_ y: Int, _ x: Int) -> UInt8 { picture.pixels[y * 92 + x] }
    #expect(at(4, 4) == pixels[400] && at(5, 5) == pixels[400] && at(4, 6) == pixels[401])
    #expect(at(4, 48) == pixels[4 * 400] && at(48, 4) == pixels[0] && at(48, 48) == pixels[2 * 400])
    #expect(at(0, 0) == 96)
  }
}
