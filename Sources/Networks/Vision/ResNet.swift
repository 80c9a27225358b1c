import Autodiff
import Weights

/// A residual network (He et al. 2015), under the names of `ResNetForImageClassification` or of `ResNetModel`, which has no
/// head and no prefix.
///
///     h = max_pool(relu(norm(conv7×7(x))))
///     h ← relu(h' + layer(h))         h' = h, or norm(conv1×1(h)) where sizes change
///     logits = classifier(mean of h over the image)
///
/// A stage is the embedder or one residual layer. Norms go by their running moments unless they are told to learn them.
///
/// Paper: <https://arxiv.org/abs/1512.03385>
public struct ResNet: ImageNetwork {
  /// The sizes of this model.
  public let configuration: ResNetConfiguration
  /// The names of the classes; empty where the checkpoint has no head: then ``head`` is one row of zeros.
  public var labels: [String]
  /// The output layer.
  public var head: AdaptedLinear
  /// See ``ImageNetwork/stageNames``.
  public let stageNames: [String]
  var embedder: ConvolutionUnit
  var groups: [[ResNetLayer]]

  /// The model whose weights `source` holds.
  ///
  /// - Throws: what is missing from `source`, or has another shape than the configuration says.
  public init(_ configuration: ResNetConfiguration, from source: any WeightSource) throws {
    let c = configuration, isBare = source.unused.contains("embedder.embedder.convolution.weight")
    let prefix = isBare ? "" : "resnet."
    self.configuration = c
    embedder = try ConvolutionUnit(
      "\(prefix)embedder.embedder", c.preparation.input.channels, c.embedding, kernel: 7, stride: 2,
      padding: Padding(3), .relu, from: source)
    var inputs = c.embedding, groups: [[ResNetLayer]] = []
    for (index, (width, depth)) in zip(c.widths, c.depths).enumerated() {
      groups.append(
        try (0..<depth).map { layer in
          defer { inputs = width }
          return try ResNetLayer(
            "\(prefix)encoder.stages.\(index).layers.\(layer)", inputs, width,
            stride: layer == 0 && (index > 0 || c.halvesFirst) ? 2 : 1, c, from: source)
        })
    }
    self.groups = groups
    stageNames =
      ["resnet.embedder"]
      + groups.enumerated().flatMap { index, layers in
        layers.indices.map { "resnet.encoder.stages.\(index).layers.\($0)" }
      }
    (labels, head) = try classifier("classifier.1", c.labels, inputs, isThere: !isBare, from: source)
  }

  /// The images it was made for.
  public var input: ImageShape { configuration.preparation.input }
  /// How bytes become the numbers it reads.
  public var scaling: PixelScaling { configuration.preparation.scaling }
  /// The channels behind the last layer.
  public var featureWidth: Int { configuration.widths.last ?? configuration.embedding }
  /// It stands behind a flattening, number 0.
  public var headName: String { "classifier.1" }

  /// What leaves the given stages.
  public func output(of stages: Range<Int>, entering x: Tensor, _ context: Context) -> Tensor {
    let layers = groups.flatMap(\.self)
    var h = x
    for stage in stages {
      if stage == 0 {
        h = maxPool(embedder(h, context), kernel: 3, stride: 2, padding: Padding(1))
      } else {
        let layer = layers[stage - 1]
        h = context.recomputes ? checkpointed([h]) { layer($0[0], context) } : layer(h, context)
      }
    }
    return stages.upperBound == stageNames.count && !stages.isEmpty ? globalAveragePool(h) : h
  }

  /// Presents all parts under the names of `ResNetForImageClassification`.
  public mutating func visit(_ visitor: Visitor) {
    visitor("resnet.embedder.embedder", &embedder)
    for index in groups.indices { visitor("resnet.encoder.stages.\(index).layers", &groups[index]) }
    visitor("classifier.1", &head)
  }
}

/// A residual layer: two or three convolutions beside a shortcut.
struct ResNetLayer: Module {
  var layer: [ConvolutionUnit]
  var shortcut: ConvolutionUnit?

  init(
    _ name: String, _ inputs: Int, _ outputs: Int, stride: Int, _ c: ResNetConfiguration,
    from source: any WeightSource
  ) throws {
    if c.hasBottlenecks {
      let narrow = outputs / 4, first = c.halvesInFirstConvolution ? stride : 1
      layer = [
        try ConvolutionUnit("\(name).layer.0", inputs, narrow, kernel: 1, stride: first, .relu, from: source),
        try ConvolutionUnit(
          "\(name).layer.1", narrow, narrow, kernel: 3, stride: stride / first, padding: Padding(1), .relu, from: source
        ),
        try ConvolutionUnit("\(name).layer.2", narrow, outputs, kernel: 1, .none, from: source),
      ]
    } else {
      layer = [
        try ConvolutionUnit(
          "\(name).layer.0", inputs, outputs, kernel: 3, stride: stride, padding: Padding(1), .relu, from: source),
        try ConvolutionUnit("\(name).layer.1", outputs, outputs, kernel: 3, padding: Padding(1), .none, from: source),
      ]
    }
    if inputs != outputs || stride != 1 {
      shortcut = try ConvolutionUnit(
        "\(name).shortcut", inputs, outputs, kernel: 1, stride: stride, .none, from: source)
    }
  }

  func callAsFunction(_ x: Tensor, _ context: Context) -> Tensor {
    let last = layer[layer.count - 1], inner = layer.dropLast().reduce(x) { $1($0, context) }
    let branch = last.convolution(inner, context), side = shortcut.map { $0(x, context) } ?? x
    return last.normalization(branch, adding: side, .relu, context)
  }

  mutating func visit(_ visitor: Visitor) {
    visitor("layer", &layer)
    if var present = shortcut {
      visitor("shortcut", &present)
      shortcut = present
    }
  }
}

/// The output layer that `source` holds under `name`, and its classes; where it is not there, a row of zeros and no class.
func classifier(
  _ name: String, _ labels: [String], _ width: Int, isThere: Bool, from source: any WeightSource
) throws -> (labels: [String], head: AdaptedLinear) {
  guard isThere else { return ([], AdaptedLinear(FrozenLinear(FrozenWeight(.zeros([1, width])), bias: .zeros([1])))) }
  return (labels, try AdaptedLinear(name, labels.count, width, from: source))
}
