import Autodiff
import Files
import Foundation
import Testing

@testable import Images

struct PreparationTests {
  private let expected: Safetensors

  init() throws { expected = try Safetensors(fixture("expected.safetensors")) }

  private func picture(_ seed: UInt64, channels: Int = 3) -> Picture {
    Picture(height: 12, width: 10, channels: channels, pixels: noise(120 * channels, seed: seed))
  }

  private var lively: ImagePreparation {
    var preparation = ImagePreparation(height: 12, width: 10, channels: 3)
    var augmentation = ImageAugmentation()
    (augmentation.rotation, augmentation.padding, augmentation.flips) = (15, 2, true)
    (augmentation.brightness, augmentation.contrast) = (0.3, 0.3)
    preparation.augmentation = augmentation
    return preparation
  }

  @Test func `A picture is prepared as Pillow and NumPy prepare it`() throws {
    let source = Picture(
      height: 23, width: 17, channels: 3, pixels: try expected.entry("resize").integers().map { UInt8($0) })
    var preparation = ImagePreparation(height: 8, width: 8, channels: 3)
    (preparation.mean, preparation.deviation) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    let tensor = preparation.tensor([source])
    #expect(tensor.shape == [1, 3, 8, 8])
    let wanted = try expected.entry("prepared").floats()
    // Values up to 2.7 from products of four roundings.
    #expect(zip(tensor.values, wanted).allSatisfy { abs($0 - $1) < 2e-6 })
  }

  @Test func `Plain bilinear resizing keeps what lies between two bytes`() throws {
    var preparation = ImagePreparation(height: 1, width: 1, channels: 1)
    preparation.resizing = .bilinear
    let values = preparation.tensor([Picture(height: 2, width: 2, channels: 1, pixels: [0, 0, 0, 2])]).values
    #expect(values == [0.5 / 255])
  }

  @Test func `Grey repeats in each colour, and each is scaled by its own mean and deviation`() {
    var preparation = ImagePreparation(height: 1, width: 2, channels: 3)
    (preparation.mean, preparation.deviation) = ([0, 0.5, 1], [1, 0.5, 0.25])
    let values = preparation.tensor([Picture(height: 1, width: 2, channels: 1, pixels: [0, 255])]).values
    #expect(values == [0, 1, -1, 1, -4, 0])
    let grey = ImagePreparation(height: 1, width: 1, channels: 1)
    // 0.299 × 255 = 76.2, rounded.
    #expect(grey.tensor([Picture(height: 1, width: 1, channels: 3, pixels: [255, 0, 0])]).values == [76 / 255])
  }

  @Test func `An image is changed alike in every batch and on any number of threads`() {
    let keys = (0..<8).map { RandomKey(seed: 5)[$0] }, pictures = (0..<8).map { picture(UInt64($0)) }
    let threads = Parallel.threads
    defer { Parallel.threads = threads }
    Parallel.threads = 1
    let all = lively.tensor(pictures, from: keys).values
    Parallel.threads = 3
    #expect(lively.tensor(pictures, from: keys).values == all)
    for index in [0, 5] {
      let alone = lively.tensor([pictures[index]], from: [keys[index]]).values
      #expect(alone == Array(all[index * 360..<(index + 1) * 360]))
    }
    let others = lively.tensor(pictures, from: (0..<8).map { RandomKey(seed: 6)[$0] }).values
    #expect(others != all)
    #expect(all.allSatisfy { $0 >= 0 && $0 <= 1 })
  }

  @Test func `A batch of a set changes each image by its index, and nothing without a key`() throws {
    let scratch = try Scratch(), path = scratch.path + "/set.h5", pixels = noise(6 * 360)
    try ImageSet.write(path, labels: [0, 0, 0, 0, 0, 0], classNames: ["a"], shape: [12, 10, 3], origin: .init()) {
      pixels
    }
    let set = try ImageSet(path), key = RandomKey(seed: 9)["epoch"][3]
    let one = try lively.batch(of: set, at: [4], from: key),
      several = try lively.batch(of: set, at: [1, 4, 4], from: key)
    #expect(several.shape == [3, 3, 12, 10])
    #expect(one.values == Array(several.values[360..<720]) && one.values == Array(several.values[720...]))
    let plain = try lively.batch(of: set, at: [2]).values
    let wanted = (0..<360).map { Float(pixels[720 + ($0 % 120) * 3 + $0 / 120]) / 255 }
    #expect(zip(plain, wanted).allSatisfy { abs($0 - $1) < 1e-6 })
  }

  @Test func `No change drawn changes nothing, and setting one does not move the others`() {
    var augmentation = ImageAugmentation()
    let key = RandomKey(seed: 1)
    let still = augmentation.draw(from: key)
    #expect(still == ImageAugmentation.Draw(angle: 0, down: 0, right: 0, isFlipped: false, brightness: 1, contrast: 1))
    augmentation.padding = 4
    let moved = augmentation.draw(from: key)
    augmentation.rotation = 10
    augmentation.flips = true
    let both = augmentation.draw(from: key)
    #expect(both.down == moved.down && both.right == moved.right)
    #expect(abs(both.angle) <= 10 * Double.pi / 180 && both.angle != 0)
  }

  @Test func `Over many images shifts take every value and half are turned`() {
    var augmentation = ImageAugmentation()
    (augmentation.padding, augmentation.flips, augmentation.brightness) = (2, true, 0.5)
    let draws = (0..<2000).map { augmentation.draw(from: RandomKey(seed: 3)[$0]) }
    for shift in -2...2 {
      // 400 are expected; five deviations of √(2000 × 0.2 × 0.8) = 18.
      #expect(abs(draws.count { $0.down == shift } - 400) < 90 && abs(draws.count { $0.right == shift } - 400) < 90)
    }
    #expect(abs(draws.count { $0.isFlipped } - 1000) < 112)
    #expect(draws.allSatisfy { (0.5...1.5).contains($0.brightness) })
  }

  private func apply(
    _ change: (inout ImageAugmentation.Draw) -> Void, _ values: [Float], _ height: Int, _ width: Int
  )
    -> [Float]
  {
    var draw = ImageAugmentation().draw(from: RandomKey(seed: 0))
    change(&draw)
    return ImageAugmentation.apply(draw, to: values, height: height, width: width, channels: 1)
  }

  @Test func `Shifts, turns, brightness and contrast are as worked by hand`() {
    let image: [Float] = [1, 2, 3, 4, 5, 6]  // 2 × 3
    #expect(apply({ $0.right = 1 }, image, 2, 3) == [0, 1, 2, 0, 4, 5])
    #expect(apply({ $0.down = -1 }, image, 2, 3) == [4, 5, 6, 0, 0, 0])
    #expect(apply({ $0.isFlipped = true }, image, 2, 3) == [3, 2, 1, 6, 5, 4])
    #expect(apply({ ($0.right, $0.isFlipped) = (1, true) }, image, 2, 3) == [2, 1, 0, 5, 4, 0])
    #expect(apply({ $0.brightness = 50 }, image, 2, 3) == [50, 100, 150, 200, 250, 255])
    // The mean is 3.5.
    #expect(apply({ $0.contrast = 2 }, image, 2, 3) == [0, 0.5, 2.5, 4.5, 6.5, 8.5])
    // A quarter turn to the right of a square.
    let turned = apply({ $0.angle = .pi / 2 }, [1, 2, 3, 4], 2, 2)
    #expect(zip(turned, [3, 1, 4, 2]).allSatisfy { abs($0 - Float($1)) < 1e-5 })
  }
}
