import Autodiff
import Files
import Weights

/// BERT: an encoder that reads a text, or two, at once and tells its class.
///
///     h = layer_norm(word[id] + position[i] + segment[s])
///     h ← layer_norm(h + dense(attention(query(h), key(h), value(h))))
///     h ← layer_norm(h + output(gelu(intermediate(h))))
///     logits = classifier(tanh(pooler(h[CLS])))
///
/// Every token sees every other of its sequence. Dropout of the base is not applied in training: its weights are frozen.
///
/// Paper: Devlin et al. 2018, <https://arxiv.org/abs/1810.04805>
public struct Bert: Classifier {
  /// The sizes of this model.
  public let configuration: BertConfiguration
  /// The names of the classes, in the order of the logits; empty where it has no head.
  public private(set) var labels: [String]
  var words: AdaptedEmbedding
  var positions: Parameter, segments: Parameter
  var norm: LayerNorm
  var layers: [BertLayer]
  var pooler: AdaptedLinear
  var classifier: AdaptedLinear?

  /// The model whose weights `source` holds under the names of `BertForSequenceClassification`, or of `BertModel`, which
  /// has no head and whose names lack the prefix `bert.`.
  ///
  /// - Throws: what is missing from `source`, or has another shape than the configuration says.
  public init(_ configuration: BertConfiguration, from source: any WeightSource) throws {
    let c = configuration, names = Set(source.unused)
    let prefix = names.contains("embeddings.word_embeddings.weight") ? "" : "bert."
    self.configuration = c
    let table = "\(prefix)embeddings"
    words = AdaptedEmbedding(
      FrozenEmbedding(try source.matrix("\(table).word_embeddings.weight", rows: c.vocabularySize, columns: c.width)))
    positions = .frozen(
      try source.tensor("\(table).position_embeddings.weight", shape: [c.contextLength, c.width]))
    segments = .frozen(try source.tensor("\(table).token_type_embeddings.weight", shape: [c.segments, c.width]))
    norm = try LayerNorm("\(table).LayerNorm", c.width, c.epsilon, from: source)
    layers = try (0..<c.layers).map { try BertLayer(c, prefix: "\(prefix)encoder.layer.\($0)", from: source) }
    pooler = try AdaptedLinear("\(prefix)pooler.dense", c.width, c.width, from: source)
    guard names.contains("classifier.weight") else {
      labels = []
      return
    }
    // A file without names has two classes, as the configuration's default says.
    labels = c.labels.isEmpty ? ["LABEL_0", "LABEL_1"] : c.labels
    classifier = try AdaptedLinear("classifier", labels.count, c.width, from: source)
  }

  /// The number of token ids it knows.
  public var vocabularySize: Int { configuration.vocabularySize }
  /// The longest sequence it was made for.
  public var contextLength: Int { configuration.contextLength }
  /// How many kinds of segment it knows.
  public var segmentKinds: Int { configuration.segments }
  /// Never: the head has a matrix of its own.
  public var tiesHead: Bool { false }
  /// Nothing: the head has a bias.
  public var frozenHead: FrozenWeight? { nil }

  /// Gives it a head for `labels`: small normal weights drawn from `random`, as BERT's own, and no bias.
  public mutating func setHead(labels: [String], random: RandomKey) {
    self.labels = labels
    classifier = AdaptedLinear(
      FrozenLinear(
        FrozenWeight(.normal([labels.count, configuration.width], deviation: 0.02, from: random)),
        bias: .filled(0, [labels.count])))
  }

  /// Names the classes of its head; nothing happens where these are not as many.
  public mutating func name(_ labels: [String]) { if labels.count == self.labels.count { self.labels = labels } }

  /// The number of blocks.
  public var blockCount: Int { layers.count }

  /// The normalised sum of each token's word, place and segment, `[tokens, width]`.
  public func embedded(_ batch: TokenBatch, _ context: Context) -> Tensor {
    let kinds = batch.segments.isEmpty ? [Int32](repeating: 0, count: batch.ids.count) : batch.segments
    let places = positions.value.gathered(batch.positions) + segments.value.gathered(kinds)
    return norm(words(batch.ids, context) + places)
  }

  /// The stream behind `blocks`.
  public func hidden(_ h: Tensor, through blocks: Range<Int>, of batch: TokenBatch, _ context: Context) -> Tensor {
    let pattern = AttentionPattern(lengths: batch.lengths, isCausal: false)
    return layers[blocks].reduce(h) { h, layer in
      context.recomputes ? checkpointed([h]) { layer($0[0], context, pattern) } : layer(h, context, pattern)
    }
  }

  /// What the last block says at each sequence's first token, `[sequences, width]`.
  public func states(_ batch: TokenBatch, _ context: Context) -> Tensor {
    hidden(batch, through: layers.count, context).gathered(batch.starts)
  }

  /// The first tokens behind the pooler, `[sequences, width]`.
  public func pooled(_ states: Tensor, _ context: Context) -> Tensor { pooler(states, context).tanh }

  /// The classifier's product with the pooled states, `[sequences, labels]`; these themselves, `[sequences, width]`, where
  /// there is no head.
  public func logits(_ states: Tensor, _ context: Context) -> Tensor {
    let pooled = pooled(states, context)
    return classifier.map { $0(pooled, context) } ?? pooled
  }

  /// A norm's output is the stream as well as a layer's input, so no factor can be hidden in it.
  public var inputGroups: [InputGroup] {
    [
      InputGroup(["attention.self.query", "attention.self.key", "attention.self.value"], from: .fixed),
      InputGroup(["attention.output.dense"], from: .rows(of: "attention.self.value")),
      InputGroup(["intermediate.dense"], from: .fixed), InputGroup(["output.dense"], from: .fixed),
    ]
  }

  /// The channels of a head, on both sides of attention.
  public var channelUnits: [String: Int] {
    ["self.query", "self.key", "self.value", "output.dense"].reduce(into: [:]) {
      $0["attention." + $1] = configuration.width / configuration.heads
    }
  }

  /// Presents all parts under the names of `BertForSequenceClassification`.
  public mutating func visit(_ visitor: Visitor) {
    visitor("bert.embeddings.word_embeddings", &words)
    visitor("bert.embeddings.position_embeddings.weight", &positions)
    visitor("bert.embeddings.token_type_embeddings.weight", &segments)
    visitor("bert.embeddings.LayerNorm", &norm)
    visitor("bert.encoder.layer", &layers)
    visitor("bert.pooler.dense", &pooler)
    visitor("classifier", &classifier)
  }
}

/// One block of the encoder.
struct BertLayer: Module {
  var query: AdaptedLinear, key: AdaptedLinear, value: AdaptedLinear
  var attentionOut: AdaptedLinear
  var attentionNorm: LayerNorm, outputNorm: LayerNorm
  var intermediate: AdaptedLinear, output: AdaptedLinear
  var attentionBlock: AdaptedBlock, feedForwardBlock: AdaptedBlock
  let heads: Int, width: Int
  let activation: BertConfiguration.Activation

  init(_ c: BertConfiguration, prefix: String, from source: any WeightSource) throws {
    query = try AdaptedLinear("\(prefix).attention.self.query", c.width, c.width, from: source)
    key = try AdaptedLinear("\(prefix).attention.self.key", c.width, c.width, from: source)
    value = try AdaptedLinear("\(prefix).attention.self.value", c.width, c.width, from: source)
    attentionOut = try AdaptedLinear("\(prefix).attention.output.dense", c.width, c.width, from: source)
    attentionNorm = try LayerNorm("\(prefix).attention.output.LayerNorm", c.width, c.epsilon, from: source)
    intermediate = try AdaptedLinear("\(prefix).intermediate.dense", c.hidden, c.width, from: source)
    output = try AdaptedLinear("\(prefix).output.dense", c.width, c.hidden, from: source)
    outputNorm = try LayerNorm("\(prefix).output.LayerNorm", c.width, c.epsilon, from: source)
    (heads, width, activation) = (c.heads, c.width, c.activation)
    (attentionBlock, feedForwardBlock) = (AdaptedBlock(width: c.width), AdaptedBlock(width: c.width))
  }

  func callAsFunction(_ h: Tensor, _ context: Context, _ pattern: AttentionPattern) -> Tensor {
    let middle = attentionNorm(
      attentionBlock(h, context) { h in
        let mixed = attention(
          query(h, context), key(h, context), value(h, context), heads: heads, kvHeads: heads, pattern: pattern,
          scale: 1 / Float(width / heads).squareRoot())
        return attentionOut(mixed, context)
      })
    return outputNorm(
      feedForwardBlock(middle, context) { output(activated(intermediate($0, context)), context) })
  }

  private func activated(_ x: Tensor) -> Tensor {
    switch activation {
    case .gelu: x.gelu
    case .geluNew: x.geluTanh
    case .relu: x.rectified
    }
  }

  mutating func visit(_ visitor: Visitor) {
    visitor("attention.self.query", &query)
    visitor("attention.self.key", &key)
    visitor("attention.self.value", &value)
    visitor("attention.output.dense", &attentionOut)
    visitor("attention.output.LayerNorm", &attentionNorm)
    visitor("attention", &attentionBlock)
    visitor("mlp", &feedForwardBlock)
    visitor("intermediate.dense", &intermediate)
    visitor("output.dense", &output)
    visitor("output.LayerNorm", &outputNorm)
  }
}

extension AdaptedLinear {
  /// The layer of that name, with its bias.
  init(_ name: String, _ outputs: Int, _ inputs: Int, from source: any WeightSource) throws {
    self.init(
      FrozenLinear(
        try source.matrix("\(name).weight", rows: outputs, columns: inputs),
        bias: try source.vector("\(name).bias", count: outputs)))
  }
}
