import Autodiff
import Weights

/// The sizes of an image.
public struct ImageShape: Sendable, Equatable {
  /// Numbers a pixel, 3 for colour; rows; columns.
  public var channels: Int, height: Int, width: Int

  /// An image of the given sizes.
  public init(channels: Int, height: Int, width: Int) {
    (self.channels, self.height, self.width) = (channels, height, width)
  }
}

/// How a pixel's bytes become the numbers a network reads: (x · scale − mean) / deviation, a channel.
public struct PixelScaling: Sendable, Equatable {
  /// What bytes 0…255 are multiplied by.
  public var scale: Float
  /// What is subtracted then, one number a channel, and what divides the difference.
  public var mean: [Float], deviation: [Float]

  /// A scaling; `mean` and `deviation` hold one number a channel.
  public init(scale: Float, mean: [Float], deviation: [Float]) {
    require(mean.count == deviation.count, "\(mean.count) means for \(deviation.count) deviations")
    (self.scale, self.mean, self.deviation) = (scale, mean, deviation)
  }

  /// One scaling for `channels` channels.
  public init(scale: Float = 1 / 255, mean: Float = 0, deviation: Float = 1, channels: Int = 3) {
    self.init(
      scale: scale, mean: .init(repeating: mean, count: channels),
      deviation: .init(repeating: deviation, count: channels))
  }

  /// The numbers of bytes that lie channel after channel, row after row: `[images, channels, height, width]`.
  public func numbers(_ bytes: [UInt8], _ shape: ImageShape) -> Tensor {
    let plane = shape.height * shape.width, size = shape.channels * plane
    require(
      shape.channels == mean.count && size > 0 && bytes.count % size == 0,
      "\(bytes.count) bytes for images of \(shape.channels) × \(shape.height) × \(shape.width)")
    var values = [Float](repeating: 0, count: bytes.count)
    for start in stride(from: 0, to: bytes.count, by: plane) {
      let channel = start / plane % shape.channels
      for i in start..<start + plane { values[i] = (Float(bytes[i]) * scale - mean[channel]) / deviation[channel] }
    }
    return Tensor(values, shape: [bytes.count / size, shape.channels, shape.height, shape.width])
  }
}

/// A network that reads images and gives class logits: a row of stages and a head behind it.
///
/// What lies before the first stage that learns is the same in every epoch, so its output can be kept: that is why stages
/// are named and can be run apart.
public protocol ImageNetwork: AdaptableNetwork {
  /// The images it was made for.
  var input: ImageShape { get }
  /// How bytes become the numbers it reads.
  var scaling: PixelScaling { get }
  /// The prefix of each stage's names, in order; ``stage(of:)`` knows the stage of every part.
  var stageNames: [String] { get }
  /// What leaves `stages` when `x` enters the first of them.
  ///
  /// Images `[images, channels, height, width]` enter stage 0; behind the last stage lie the features,
  /// `[images, featureWidth]`. An empty range gives `x`.
  func output(of stages: Range<Int>, entering x: Tensor, _ context: Context) -> Tensor
  /// The channels that the head reads.
  var featureWidth: Int { get }
  /// The layer whose outputs are the logits; it may be replaced by one of other classes.
  var head: AdaptedLinear { get set }
  /// The names of the classes, in the order of the logits; empty where none are known.
  var labels: [String] { get set }
  /// The stage that the layer or parameter of that name belongs to; nil for the head's.
  func stage(of name: String) -> Int?
  /// The name under which checkpoints hold the parameter called `name`, where it is another.
  func checkpointName(_ name: String) -> String
  /// The logits `[images, classes]` of features `[images, featureWidth]`.
  func logits(_ features: Tensor, _ context: Context) -> Tensor
}

extension ImageNetwork {
  /// Hugging Face's name.
  public var headName: String { "classifier" }

  /// The same.
  public func checkpointName(_ name: String) -> String { name }

  /// Never.
  public var tiesHead: Bool { false }

  /// The head's product.
  public func logits(_ features: Tensor, _ context: Context) -> Tensor { head(features, context) }

  /// The logits `[images, classes]` of images `[images, channels, height, width]`.
  public func logits(ofImages x: Tensor, _ context: Context = Context()) -> Tensor {
    logits(output(of: 0..<stageNames.count, entering: x, context), context)
  }

  /// Σ −log p(label) in nats over images `[images, channels, height, width]`, one label each.
  public func lossSum(_ x: Tensor, labels: [Int32], _ context: Context) -> Tensor {
    crossEntropySum(logits(ofImages: x, context), labels: labels)
  }

  /// The stage whose name and a dot begin `name`.
  public func stage(of name: String) -> Int? {
    stageNames.indices.filter { name == stageNames[$0] || name.hasPrefix(stageNames[$0] + ".") }
      .max { stageNames[$0].count < stageNames[$1].count }
  }

  /// Gives it a fresh head for `labels`: small normal weights drawn from `random`, no bias.
  public mutating func setHead(labels: [String], random: RandomKey) {
    self.labels = labels
    head = AdaptedLinear(
      FrozenLinear(
        FrozenWeight(.normal([labels.count, featureWidth], deviation: 0.02, from: random)),
        bias: .zeros([labels.count])))
  }
}
