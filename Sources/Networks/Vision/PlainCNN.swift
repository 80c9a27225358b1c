import Autodiff
import Files
import Weights

/// The sizes of a ``PlainCNN``, read from Graft's own `config.json` (`model_type` cifar-cnn).
///
/// | key | meaning | where it is missing |
/// |---|---|---|
/// | `channels` | channels behind each convolution | `[64, 64, 128, 128, 64, 64]` |
/// | `pools` | behind how many convolutions the map is halved | `[2, 4]` |
/// | `dense` | the widths of the layers before the classifier | `[1024, 512]` |
/// | `trunk` | how many convolutions are used; what lies behind them is left out | all |
/// | `batch_norm_eps` | ε of the norms | 0.001 |
/// | `image_size`, `rescale_factor`, `image_mean`, `image_std`, `num_channels` | the images | 32, 1, 0, 1, 3 |
/// | `num_labels` or `id2label` | the classes | |
public struct PlainCNNConfiguration: Sendable, Equatable {
  /// The images it was made for and how it reads them.
  public var preparation: ImageFormat
  /// See the table.
  public var channels: [Int], pools: [Int], dense: [Int]
  /// Convolutions that are used.
  public var trunk: Int
  /// ε of the norms.
  public var epsilon: Float
  /// The names of the classes.
  public var labels: [String]

  /// Reads the configuration.
  ///
  /// - Throws: a ``FileError`` naming the key that makes no network.
  public init(json: JSON, preprocessor: JSON? = nil, path: String) throws {
    let reader = ConfigurationReader(json: json, path: path)
    preparation = try ImageFormat(
      reader, preprocessor: preprocessor, standard: ImageFormat(side: 32, PixelScaling(scale: 1)))
    channels = try reader.sizes("channels", atMost: 1 << 14, default: [64, 64, 128, 128, 64, 64])
    pools = try reader.sizes("pools", atMost: 64, default: [2, 4])
    dense = try reader.sizes("dense", atMost: 1 << 16, default: [1024, 512])
    trunk = try reader.size("trunk", atMost: channels.count, default: channels.count)
    epsilon = Float(try reader.number("batch_norm_eps", default: 1e-3))
    labels = try reader.classLabels()
    guard epsilon > 0, epsilon < 1 else {
      throw FileError(path, at: "key 'batch_norm_eps'", "\(epsilon) is not between 0 and 1")
    }
    guard map != nil else {
      throw FileError(path, at: "key 'channels'", "images are too small for \(trunk) convolutions and their pools")
    }
  }

  /// Whether it ends behind the convolutions of its trunk.
  var isCut: Bool { trunk < channels.count }

  /// The sizes of the map behind the last convolution used; nil where nothing is left of it.
  var map: (height: Int, width: Int)? {
    var (height, width) = (preparation.input.height, preparation.input.width)
    for layer in 1...trunk {
      (height, width) = (height - 2, width - 2)
      if pools.contains(layer) { (height, width) = (height / 2, width / 2) }
      guard height > 0, width > 0 else { return nil }
    }
    return (height, width)
  }
}

/// A row of 3 × 3 convolutions and dense layers: what a Keras Sequential for CIFAR-10 looks like.
///
///     h ← norm(relu(W ⊛ h + b)), halved behind some          no zeros around the map
///     h ← relu(D h + b); logits = classifier(h)
///
/// Names are `layers.N.convolution`, `layers.N.normalization`, `dense.N`, `classifier`. Cut to a trunk, the features are the
/// map itself, channel after channel, which tell much more than the few numbers behind the last convolution. A stage is
/// one layer. The published file puts a ReLU behind its logits too; here they are left as they are.
public struct PlainCNN: ImageNetwork {
  /// The sizes of this model.
  public let configuration: PlainCNNConfiguration
  /// The names of the classes; empty where the checkpoint has no head: then ``head`` is one row of zeros.
  public var labels: [String]
  /// The output layer.
  public var head: AdaptedLinear
  /// See ``ImageNetwork/stageNames``.
  public let stageNames: [String]
  var layers: [PlainLayer]
  var dense: [AdaptedLinear]
  /// The channels that the head reads.
  public let featureWidth: Int

  /// The model whose weights `source` holds; what lies behind a cut may be there and is not read.
  ///
  /// - Throws: what is missing from `source`, or has another shape than the configuration says.
  public init(_ configuration: PlainCNNConfiguration, from source: any WeightSource) throws {
    let c = configuration, map = c.map ?? (0, 0), held = Set(source.unused)
    self.configuration = c
    let widths = [c.preparation.input.channels] + c.channels
    layers = try (0..<c.trunk).map {
      try PlainLayer(
        "layers.\($0)", widths[$0], widths[$0 + 1], pools: c.pools.contains($0 + 1), c.epsilon, from: source)
    }
    var width = widths[c.trunk] * map.height * map.width
    dense = []
    if !c.isCut {
      for (index, outputs) in c.dense.enumerated() {
        dense.append(try AdaptedLinear("dense.\(index)", outputs, width, from: source))
        width = outputs
      }
    }
    featureWidth = width
    stageNames = layers.indices.map { "layers.\($0)" } + dense.indices.map { "dense.\($0)" }
    (labels, head) = try classifier(
      "classifier", c.labels, width, isThere: !c.isCut && (held.isEmpty || held.contains("classifier.weight")),
      from: source)
    guard c.isCut else { return }
    for name in held
    where name.hasPrefix("dense.") || name.hasPrefix("classifier.")
      || (name.hasPrefix("layers.") && (blockIndex(name) ?? 0) >= c.trunk)
    { source.ignore(name) }
  }

  /// The images it was made for.
  public var input: ImageShape { configuration.preparation.input }
  /// How bytes become the numbers it reads.
  public var scaling: PixelScaling { configuration.preparation.scaling }

  /// What leaves the given stages.
  public func output(of stages: Range<Int>, entering x: Tensor, _ context: Context) -> Tensor {
    var h = x
    for stage in stages {
      if stage < layers.count {
        h = layers[stage](h, context)
        if stage == layers.count - 1 { h = h.reshaped([h.shape[0], h.count / max(1, h.shape[0])]) }
      } else {
        h = dense[stage - layers.count](h, context).rectified
      }
    }
    return h
  }

  /// Presents all parts.
  public mutating func visit(_ visitor: Visitor) {
    visitor("layers", &layers)
    for index in dense.indices { visitor("dense.\(index)", &dense[index]) }
    visitor("classifier", &head)
  }
}

/// One convolution with bias, a ReLU, and the norm behind it.
struct PlainLayer: Module {
  var convolution: AdaptedConvolution
  var normalization: BatchNorm
  let pools: Bool

  init(
    _ name: String, _ inputs: Int, _ outputs: Int, pools: Bool, _ epsilon: Float, from source: any WeightSource
  ) throws {
    convolution = try AdaptedConvolution(
      "\(name).convolution", inputs, outputs, kernel: 3, hasBias: true, from: source)
    normalization = try BatchNorm("\(name).normalization", outputs, epsilon: epsilon, from: source)
    self.pools = pools
  }

  func callAsFunction(_ x: Tensor, _ context: Context) -> Tensor {
    let h = normalization(convolution(x, context).rectified, .none, context)
    return pools ? maxPool(h, kernel: 2) : h
  }

  mutating func visit(_ visitor: Visitor) {
    visitor("convolution", &convolution)
    visitor("normalization", &normalization)
  }
}
