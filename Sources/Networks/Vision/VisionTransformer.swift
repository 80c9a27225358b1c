import Autodiff
import Weights

/// A transformer over patches of an image: ViT, DeiT, DINOv2 and the images' side of CLIP, under the names of transformers 5.
///
///     h = [class, patches W + b] + positions          CLIP: the norm of it, and no b
///     h ← h + λ₁ o(attention(q, k, v of norm(h)))
///     h ← h + λ₂ fc2(gelu(fc1(norm(h))))              λ: DINOv2 alone
///     logits = classifier(norm(h) of the class token; for DINOv2 beside the mean of the patches')
///
/// A CLIP that was made a classifier reads the mean of the patches' h. A stage is the embedding or one block; what runs
/// between them is `[images, tokens, width]`, and the final norm belongs to the last. Files may use the names of transformers 4, which ``checkpointName(_:)`` gives. Images of other sizes are
/// read by a table of positions interpolated bicubically.
///
/// Papers: <https://arxiv.org/abs/2010.11929>, DeiT <https://arxiv.org/abs/2012.12877>, DINOv2
/// <https://arxiv.org/abs/2304.07193>, CLIP <https://arxiv.org/abs/2103.00020>
public struct VisionTransformer: ImageNetwork {
  /// The sizes of this model.
  public let configuration: VisionTransformerConfiguration
  /// The names of the classes; empty where the checkpoint has no head: then ``head`` is one row of zeros.
  public var labels: [String]
  /// The output layer.
  public var head: AdaptedLinear
  /// See ``ImageNetwork/stageNames``.
  public let stageNames: [String]
  var embeddings: PatchEmbedding
  var firstNorm: LayerNorm?
  var layers: [VisionLayer]
  var norm: LayerNorm
  private let names: VisionTransformerNames

  /// The model whose weights `source` holds.
  ///
  /// - Throws: what is missing from `source`, or has another shape than the configuration says.
  public init(_ configuration: VisionTransformerConfiguration, from source: any WeightSource) throws {
    let c = configuration, names = VisionTransformerNames(c.family), held = Set(source.unused)
    (self.configuration, self.names) = (c, names)
    let named = names.source(source)
    embeddings = try PatchEmbedding("\(names.root).embeddings", c, from: named)
    layers = try (0..<c.layers).map { try VisionLayer("\(names.blocks).\($0)", c, from: named) }
    firstNorm = try names.first.map { try LayerNorm($0, c.width, c.epsilon, from: named) }
    norm = try LayerNorm(names.norms.final, c.width, c.epsilon, from: named)
    stageNames = ["\(names.root).embeddings"] + (0..<c.layers).map { "\(names.blocks).\($0)" }
    for name in ["embeddings.mask_token", "pooler.dense.weight", "pooler.dense.bias"] {
      named.ignore("\(names.root).\(name)")
    }
    if c.family == .clip {
      // The side of a whole CLIP that reads texts, and what old files keep of the table's rows.
      for name in held
      where ["text_model.", "text_projection.", "visual_projection.", "logit_scale"].contains(where: name.hasPrefix)
        || name.hasSuffix(".position_ids")
      { source.ignore(name) }
    }
    let features = c.pooling == .classTokenAndMean ? 2 * c.width : c.width
    (labels, head) = try classifier(
      "classifier", c.labels, features, isThere: held.isEmpty || held.contains("classifier.weight"), from: source)
  }

  /// The images it was made for.
  public var input: ImageShape { configuration.preparation.input }
  /// How bytes become the numbers it reads.
  public var scaling: PixelScaling { configuration.preparation.scaling }
  /// The channels that the head reads.
  public var featureWidth: Int {
    configuration.pooling == .classTokenAndMean ? 2 * configuration.width : configuration.width
  }
  /// The channels of a head, on both sides of attention.
  public var channelUnits: [String: Int] {
    let attention = names.attention
    return (["q_proj", "k_proj", "v_proj"].map { "\(attention.name).\($0)" } + [attention.out]).reduce(into: [:]) {
      $0[$1] = configuration.width / configuration.heads
    }
  }

  /// The name that checkpoints of transformers 4 and the files of transformers 5 have for the parameter `name`.
  public func checkpointName(_ name: String) -> String { names.stored(name) }

  /// The final norm belongs to the last block's stage.
  public func stage(of name: String) -> Int? {
    if name.hasPrefix(names.norms.final + ".") { return stageNames.count - 1 }
    if let first = names.first, name.hasPrefix(first + ".") { return 0 }
    return stageNames.lastIndex { name == $0 || name.hasPrefix($0 + ".") }
  }

  /// What leaves the given stages.
  public func output(of stages: Range<Int>, entering x: Tensor, _ context: Context) -> Tensor {
    var h = x
    for stage in stages {
      if stage == 0 {
        h = embeddings(h, context)
        if let firstNorm { h = firstNorm(h.reshaped([h.shape[0] * h.shape[1], h.shape[2]])).reshaped(h.shape) }
      } else {
        let layer = layers[stage - 1]
        h = context.recomputes ? checkpointed([h]) { layer($0[0], context) } : layer(h, context)
      }
    }
    guard stages.upperBound == stageNames.count, !stages.isEmpty else { return h }
    let (images, tokens, width) = (h.shape[0], h.shape[1], h.shape[2]), extra = embeddings.tokens
    let flat = h.reshaped([images * tokens, width])
    func patchMean(_ flat: Tensor) -> Tensor {
      let rows = (0..<images).flatMap { image in (extra..<tokens).map { Int32(image * tokens + $0) } }
      let channels = flat.gathered(rows).reshaped([images, tokens - extra, width]).transposed
      return channels.reshaped([images * width, tokens - extra]).rowMeans.reshaped([images, width])
    }
    guard configuration.pooling != .patchMean else { return patchMean(flat) }
    let normed = norm(flat), classes = normed.gathered((0..<images).map { Int32($0 * tokens) })
    guard configuration.pooling == .classTokenAndMean else { return classes }
    return Tensor.concatenated([classes.transposed, patchMean(normed).transposed]).transposed
  }

  /// Presents all parts under the names of transformers 5.
  public mutating func visit(_ visitor: Visitor) {
    visitor("\(names.root).embeddings", &embeddings)
    if let first = names.first, var norm = firstNorm {
      visitor(first, &norm)
      firstNorm = norm
    }
    visitor(names.blocks, &layers)
    visitor(names.norms.final, &norm)
    visitor("classifier", &head)
  }
}

/// One block.
struct VisionLayer: Module {
  var query: AdaptedLinear, key: AdaptedLinear, value: AdaptedLinear, attentionOut: AdaptedLinear
  var before: LayerNorm, after: LayerNorm
  var inner: AdaptedLinear, outer: AdaptedLinear
  var factors: [Parameter]
  var attentionBlock: AdaptedBlock, feedForwardBlock: AdaptedBlock
  let heads: Int, width: Int
  private let activation: VisionTransformerConfiguration.Activation
  private let names: VisionTransformerNames

  init(_ name: String, _ c: VisionTransformerConfiguration, from source: any WeightSource) throws {
    func layer(_ part: String, _ outputs: Int, _ inputs: Int, hasBias: Bool = true) throws -> AdaptedLinear {
      AdaptedLinear(
        FrozenLinear(
          try source.matrix("\(name).\(part).weight", rows: outputs, columns: inputs),
          bias: hasBias ? try source.vector("\(name).\(part).bias", count: outputs) : nil))
    }
    (names, activation) = (VisionTransformerNames(c.family), c.activation)
    let attention = names.attention, norms = names.norms
    query = try layer("\(attention.name).q_proj", c.width, c.width, hasBias: c.hasQueryBias)
    key = try layer("\(attention.name).k_proj", c.width, c.width, hasBias: c.hasQueryBias)
    value = try layer("\(attention.name).v_proj", c.width, c.width, hasBias: c.hasQueryBias)
    attentionOut = try layer(attention.out, c.width, c.width)
    inner = try layer("mlp.fc1", c.hidden, c.width)
    outer = try layer("mlp.fc2", c.width, c.hidden)
    before = try LayerNorm("\(name).\(norms.before)", c.width, c.epsilon, from: source)
    after = try LayerNorm("\(name).\(norms.after)", c.width, c.epsilon, from: source)
    factors =
      c.family == .dinov2
      ? try (1...2).map {
        Parameter(
          try source.vector("\(name).layer_scale\($0).lambda1", count: c.width), role: .magnitude, isTrainable: false)
      } : []
    (heads, width) = (c.heads, c.width)
    (attentionBlock, feedForwardBlock) = (AdaptedBlock(width: c.width), AdaptedBlock(width: c.width))
  }

  /// The stream `[images, tokens, width]` behind the block.
  func callAsFunction(_ x: Tensor, _ context: Context) -> Tensor {
    let pattern = AttentionPattern(lengths: .init(repeating: x.shape[1], count: x.shape[0]), isCausal: false)
    let h = attentionBlock(x.reshaped([x.shape[0] * x.shape[1], width]), context) { h in
      let n = before(h)
      let mixed = attention(
        query(n, context), key(n, context), value(n, context), heads: heads, kvHeads: heads, pattern: pattern,
        scale: 1 / Float(width / heads).squareRoot())
      return scaled(attentionOut(mixed, context), 0)
    }
    let y = feedForwardBlock(h, context) { scaled(outer(activated(inner(after($0), context)), context), 1) }
    return y.reshaped(x.shape)
  }

  private func activated(_ x: Tensor) -> Tensor {
    switch activation {
    case .gelu: x.gelu
    case .quickGELU: (1 / 1.702) * (1.702 * x).silu
    }
  }

  private func scaled(_ x: Tensor, _ branch: Int) -> Tensor { factors.isEmpty ? x : x * factors[branch].value }

  mutating func visit(_ visitor: Visitor) {
    let attention = names.attention, norms = names.norms
    visitor(norms.before, &before)
    visitor("\(attention.name).q_proj", &query)
    visitor("\(attention.name).k_proj", &key)
    visitor("\(attention.name).v_proj", &value)
    visitor(attention.out, &attentionOut)
    visitor(attention.name, &attentionBlock)
    for index in factors.indices { visitor("layer_scale\(index + 1).lambda1", &factors[index]) }
    visitor(norms.after, &after)
    visitor("mlp.fc1", &inner)
    visitor("mlp.fc2", &outer)
    visitor("mlp", &feedForwardBlock)
  }
}
