import Autodiff
import Weights

/// A network of inverted bottlenecks: EfficientNet-Lite, and MobileNetV2 (Sandler et al. 2018).
///
///     h ← project(depthwise(expand(h))), and h added where sizes agree; relu6 behind all but project
///     logits = classifier(mean of top(h) over the image)
///
/// Zeros around each map are as many as TensorFlow's SAME asks, an odd one at the bottom and the right. Names are Graft's:
/// `stem`, `blocks.N.expand`, `.depthwise`, `.project` and `top`, each with `convolution.weight` and `normalization.weight`,
/// `.bias`, `.running_mean`, `.running_var`; `classifier.weight`, `.bias`. ``PublishedNames`` knows what the packages that
/// publish weights call them. A stage is the stem, one block, or the top with the mean behind it.
///
/// Papers: <https://arxiv.org/abs/1801.04381>, <https://arxiv.org/abs/1905.11946>
public struct MobileNet: ImageNetwork {
  /// The sizes of this model.
  public let configuration: MobileNetConfiguration
  /// The names of the classes; empty where the checkpoint has no head: then ``head`` is one row of zeros.
  public var labels: [String]
  /// The output layer.
  public var head: AdaptedLinear
  /// See ``ImageNetwork/stageNames``.
  public let stageNames: [String]
  var stem: ConvolutionUnit
  var blocks: [InvertedBottleneck]
  var top: ConvolutionUnit

  /// The model whose weights `source` holds.
  ///
  /// - Throws: what is missing from `source`, or has another shape than the configuration says.
  public init(_ configuration: MobileNetConfiguration, from source: any WeightSource) throws {
    let c = configuration, held = Set(source.unused)
    self.configuration = c
    stem = try ConvolutionUnit(
      "stem", c.preparation.input.channels, c.stem, kernel: 3, stride: 2, padding: nil, .relu6, epsilon: c.epsilon,
      from: source)
    var inputs = c.stem, blocks: [InvertedBottleneck] = []
    for group in c.groups {
      for index in 0..<group.repeats {
        blocks.append(
          try InvertedBottleneck(
            "blocks.\(blocks.count)", inputs, group, stride: index == 0 ? group.stride : 1, c.epsilon, from: source))
        inputs = group.channels
      }
    }
    self.blocks = blocks
    top = try ConvolutionUnit("top", inputs, c.top, kernel: 1, .relu6, epsilon: c.epsilon, from: source)
    stageNames = ["stem"] + blocks.indices.map { "blocks.\($0)" } + ["top"]
    (labels, head) = try classifier(
      "classifier", c.labels, c.top, isThere: held.isEmpty || held.contains("classifier.weight"), from: source)
  }

  /// The images it was made for.
  public var input: ImageShape { configuration.preparation.input }
  /// How bytes become the numbers it reads.
  public var scaling: PixelScaling { configuration.preparation.scaling }
  /// The channels behind the top.
  public var featureWidth: Int { configuration.top }

  /// What leaves the given stages.
  public func output(of stages: Range<Int>, entering x: Tensor, _ context: Context) -> Tensor {
    var h = x
    for stage in stages {
      if stage == 0 {
        h = stem(h, context)
      } else if stage <= blocks.count {
        let block = blocks[stage - 1]
        h = context.recomputes ? checkpointed([h]) { block($0[0], context) } : block(h, context)
      } else {
        h = globalAveragePool(top(h, context))
      }
    }
    return h
  }

  /// Presents all parts.
  public mutating func visit(_ visitor: Visitor) {
    visitor("stem", &stem)
    visitor("blocks", &blocks)
    visitor("top", &top)
    visitor("classifier", &head)
  }
}

/// Channels made more, filtered one by one, and made fewer.
struct InvertedBottleneck: Module {
  var expand: ConvolutionUnit?
  var depthwise: ConvolutionUnit, project: ConvolutionUnit
  let isResidual: Bool

  init(
    _ name: String, _ inputs: Int, _ group: MobileNetConfiguration.Group, stride: Int, _ epsilon: Float,
    from source: any WeightSource
  ) throws {
    let inner = inputs * group.expansion
    if group.expansion != 1 {
      expand = try ConvolutionUnit("\(name).expand", inputs, inner, kernel: 1, .relu6, epsilon: epsilon, from: source)
    }
    depthwise = try ConvolutionUnit(
      "\(name).depthwise", inner, inner, kernel: group.kernel, stride: stride, padding: nil, groups: inner, .relu6,
      epsilon: epsilon, from: source)
    project = try ConvolutionUnit(
      "\(name).project", inner, group.channels, kernel: 1, .none, epsilon: epsilon, from: source)
    isResidual = stride == 1 && inputs == group.channels
  }

  func callAsFunction(_ x: Tensor, _ context: Context) -> Tensor {
    let y = project(depthwise(expand.map { $0(x, context) } ?? x, context), context)
    return isResidual ? x + y : y
  }

  mutating func visit(_ visitor: Visitor) {
    if var present = expand {
      visitor("expand", &present)
      expand = present
    }
    visitor("depthwise", &depthwise)
    visitor("project", &project)
  }
}
