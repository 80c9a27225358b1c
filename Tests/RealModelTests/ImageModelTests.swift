import Autodiff
import Files
import Foundation
import Networks
import Testing
import Weights

private let folder = ProcessInfo.processInfo.environment["GRAFT_IMAGE_MODELS"]

/// Published networks of images against PyTorch over the same weights and photographs.
///
/// `Scripts/peer-check/image_models.py FOLDER` converts them and writes what PyTorch computes; with
/// `GRAFT_IMAGE_MODELS=FOLDER` these tests compare. Elsewhere they are skipped.
@Suite(.enabled(if: folder != nil), .serialized)
struct ImageModelTests {
  @Test(arguments: ["efficientnet-lite0", "mobilenet-v2", "cifar-cnn", "dinov2-small"])
  func `A published network gives the same bits in any batch, so that its features can be kept`(_ name: String) throws {
    let network = try ImageCheckpoint("\(try #require(folder))/\(name)").network(), last = network.stageNames.count
    let side = name == "dinov2-small" ? 56 : name == "cifar-cnn" ? 32 : 64
    let images = Tensor.normal([64, network.input.channels, side, side], from: RandomKey(seed: 1))
    for stage in [last / 2, last] {
      let all = network.output(of: 0..<stage, entering: images, Context())
      for count in [1, 3, 7, 32] {
        let rows = (0..<count).map { Int32($0 * 37 % 64) }
        let own = Tensor.concatenated(rows.map { images.rows(Int($0)..<Int($0) + 1) })
        let some = network.output(of: 0..<stage, entering: own, Context()), width = all.count / 64
        let kept = all.reshaped([64, width]).gathered(rows)
        #expect(some.reshaped([count, width]) == kept, "\(stage) \(count)")
      }
    }
  }

  @Test(arguments: ["efficientnet-lite0", "mobilenet-v2", "cifar-cnn", "dinov2-small"])
  func `A published network computes PyTorch's numbers on photographs`(_ name: String) throws {
    let path = "\(try #require(folder))/\(name)"
    let network = try ImageCheckpoint(path).network(), reference = try Safetensors(path + "/reference.safetensors")
    let pixels = try reference.entry("bytes"), bytes = try pixels.integers().map { UInt8(clamping: $0) }
    let shape = ImageShape(channels: pixels.shape[1], height: pixels.shape[2], width: pixels.shape[3])
    let images = network.scaling.numbers(bytes, shape)
    let features = network.output(of: 0..<network.stageNames.count, entering: images, Context())
    let ours = network.labels.isEmpty ? features : network.logits(features, Context())
    let theirs = try reference.entry("output").floats()
    let largest = theirs.map(abs).max() ?? 0
    let error = zip(ours.values, theirs).reduce(0) { max($0, abs($1.0 - $1.1)) }
    print("\(name): largest difference \(error) of \(largest)")
    #expect(ours.count == theirs.count && error < 1e-4 * max(1, largest))

    // Eight bits a weight, filters of one channel left alone; ReLU6 and few channels make these networks sensitive.
    func packed(_ network: some ImageNetwork) throws -> Tensor {
      var network = network, failure: (any Error)?
      network.forEachConvolution { _, layer in
        guard failure == nil, layer.base.weight.columns % 32 == 0 else { return }
        do {
          layer.base.weight = try FrozenWeight(layer.base.weight.unpacked(), packing: .q8_0)
        } catch { failure = error }
      }
      if let failure { throw failure }
      return network.output(of: 0..<network.stageNames.count, entering: images, Context())
    }
    let rounded = try packed(network)
    let distance = zip(rounded.values, features.values).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
    let length = features.values.reduce(0) { $0 + $1 * $1 }.squareRoot()
    print("\(name): packed to q8_0, features move by \(distance / length) of their length")
    #expect(distance < 0.15 * length)
  }
}
