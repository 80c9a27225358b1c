import Autodiff
import Files
import Weights

/// The sizes of a GPT-2, read from `config.json`.
public struct GPT2Configuration: Sendable, Equatable {
  /// The number of token ids, blocks, heads, channels, and channels inside the feed-forward block.
  public var vocabularySize: Int, layers: Int, heads: Int, width: Int, hidden: Int
  /// The longest sequence, in tokens.
  public var contextLength: Int
  /// ε of the norms.
  public var epsilon: Float

  /// Reads a Hugging Face `config.json` of `model_type` gpt2.
  ///
  /// - Throws: a ``FileError`` naming the key that is missing or asks for what is not supported.
  public init(json: JSON, path: String) throws {
    let reader = ConfigurationReader(json: json, path: path)
    let activation = json["activation_function"]?.string ?? "gelu_new"
    guard activation == "gelu_new" else {
      throw FileError(
        path, at: "key 'activation_function'", "\(quoted(activation)) is not supported; expected gelu_new")
    }
    guard json["scale_attn_by_inverse_layer_idx"]?.bool != true else {
      throw FileError(path, at: "key 'scale_attn_by_inverse_layer_idx'", "true is not supported")
    }
    vocabularySize = try reader.size("vocab_size")
    layers = try reader.size("n_layer", atMost: 1024)
    heads = try reader.size("n_head", atMost: 4096)
    width = try reader.size("n_embd")
    hidden = json["n_inner"].map { !$0.isNull } == true ? try reader.size("n_inner") : 4 * width
    contextLength = try reader.size("n_positions", default: 1024)
    epsilon = Float(try reader.number("layer_norm_epsilon", default: 1e-5))
    guard epsilon > 0, epsilon < 1 else {
      throw FileError(path, at: "key 'layer_norm_epsilon'", "\(epsilon) is not between 0 and 1")
    }
    guard width % heads == 0 else {
      throw FileError(path, at: "key 'n_head'", "\(heads) heads do not divide \(width) channels")
    }
  }
}

/// GPT-2: learned positions, layer norm, GELU, and a head tied to the embedding.
///
///     h ← h + proj(attention(c_attn(layer_norm(h))))
///     h ← h + proj(gelu(fc(layer_norm(h))))
public struct GPT2: LanguageModel {
  /// The sizes of this model.
  public let configuration: GPT2Configuration
  var embedding: AdaptedEmbedding
  var positions: Parameter
  var layers: [GPT2Layer]
  var norm: LayerNorm

  /// The model whose weights `source` holds under Hugging Face's names.
  public init(_ configuration: GPT2Configuration, from source: any WeightSource) throws {
    let c = configuration
    self.configuration = c
    embedding = AdaptedEmbedding(
      FrozenEmbedding(try source.matrix("transformer.wte.weight", rows: c.vocabularySize, columns: c.width)))
    positions = .frozen(try source.tensor("transformer.wpe.weight", shape: [c.contextLength, c.width]))
    layers = try (0..<c.layers).map { try GPT2Layer(c, prefix: "transformer.h.\($0)", from: source) }
    norm = try LayerNorm("transformer.ln_f", c.width, c.epsilon, from: source)
  }

  /// The number of token ids it knows.
  public var vocabularySize: Int { configuration.vocabularySize }
  /// The longest sequence it was made for.
  public var contextLength: Int { configuration.contextLength }

  /// Always: GPT-2's head is its embedding table.
  public var tiesHead: Bool { true }

  /// The final states, `[tokens, width]`.
  public func states(_ batch: TokenBatch, _ context: Context) -> Tensor {
    norm(hidden(embedded(batch, context), through: 0..<layers.count, of: batch, context))
  }

  /// The number of decoder blocks.
  public var blockCount: Int { layers.count }

  /// The embeddings of the tokens and of their places.
  public func embedded(_ batch: TokenBatch, _ context: Context) -> Tensor {
    embedding(batch.ids, context) + positions.value.gathered(batch.positions)
  }

  /// The stream behind the named blocks.
  public func hidden(
    _ h: Tensor, through blocks: Range<Int>, of batch: TokenBatch, _ context: Context
  ) -> Tensor {
    let pattern = AttentionPattern(lengths: batch.lengths, isCausal: true)
    var h = h
    for layer in layers[blocks] {
      h =
        context.recomputes
        ? checkpointed([h]) { layer($0[0], context, .batch(pattern)) } : layer(h, context, .batch(pattern))
    }
    return h
  }

  /// The final states of tokens that follow what `cache` has seen.
  public func states(_ ids: [Int32], cache: KeyValueCache) -> Tensor {
    cache.reserve(ids.count)
    let places = (cache.count..<cache.count + ids.count).map(Int32.init)
    var h = embedding(ids, Context()) + positions.value.gathered(places)
    for (index, layer) in layers.enumerated() { h = layer(h, Context(), .cached(cache, layer: index)) }
    cache.advance(ids.count)
    return norm(h)
  }

  /// Each norm feeds one layer; what attention and the activation put out is no layer's output scaled.
  public var inputGroups: [InputGroup] {
    [
      InputGroup(["attn.c_attn"], from: .norm(weight: "ln_1.weight", bias: "ln_1.bias")),
      InputGroup(["attn.c_proj"], from: .fixed),
      InputGroup(["mlp.c_fc"], from: .norm(weight: "ln_2.weight", bias: "ln_2.bias")),
      InputGroup(["mlp.c_proj"], from: .fixed),
    ]
  }

  /// An empty cache for generating with this model.
  public func makeCache() -> KeyValueCache { KeyValueCache(layers: layers.count, width: configuration.width) }

  /// The head's product with `states`.
  public func logits(_ states: Tensor, _ context: Context) -> Tensor { embedding.logits(states, context) }

  /// The embedding's table, where nothing is grafted onto it.
  public var frozenHead: FrozenWeight? { embedding.adapter == nil ? embedding.base.weight : nil }

  /// Presents all parts under Hugging Face's names.
  public mutating func visit(_ visitor: Visitor) {
    visitor("transformer.wte", &embedding)
    visitor("transformer.wpe.weight", &positions)
    visitor("transformer.h", &layers)
    visitor("transformer.ln_f", &norm)
  }
}

/// One block of the decoder.
struct GPT2Layer: Module {
  var first: LayerNorm, second: LayerNorm
  var attentionIn: AdaptedLinear, attentionOut: AdaptedLinear
  var up: AdaptedLinear, down: AdaptedLinear
  var attentionBlock: AdaptedBlock, feedForwardBlock: AdaptedBlock
  let heads: Int, width: Int

  init(_ c: GPT2Configuration, prefix: String, from source: any WeightSource) throws {
    // GPT-2's checkpoints store matrices as [inputs, outputs], which they call Conv1D.
    func linear(_ name: String, _ outputs: Int, _ inputs: Int) throws -> AdaptedLinear {
      let full = "\(prefix).\(name).weight"
      let weight =
        try source.packed(full, rows: outputs, columns: inputs)
        ?? FrozenWeight(source.tensor(full, shape: [inputs, outputs]).transposed)
      return AdaptedLinear(
        FrozenLinear(weight, bias: try source.vector("\(prefix).\(name).bias", count: outputs), storesTransposed: true))
    }
    first = try LayerNorm("\(prefix).ln_1", c.width, c.epsilon, from: source)
    second = try LayerNorm("\(prefix).ln_2", c.width, c.epsilon, from: source)
    attentionIn = try linear("attn.c_attn", 3 * c.width, c.width)
    attentionOut = try linear("attn.c_proj", c.width, c.width)
    up = try linear("mlp.c_fc", c.hidden, c.width)
    down = try linear("mlp.c_proj", c.width, c.hidden)
    (heads, width) = (c.heads, c.width)
    (attentionBlock, feedForwardBlock) = (AdaptedBlock(width: c.width), AdaptedBlock(width: c.width))
  }

  func callAsFunction(_ h: Tensor, _ context: Context, _ scope: AttentionScope) -> Tensor {
    let middle = attentionBlock(h, context) { attentionOut(mixed($0, context, scope), context) }
    return feedForwardBlock(middle, context) { down(up(second($0), context).geluTanh, context) }
  }

  private func mixed(_ h: Tensor, _ context: Context, _ scope: AttentionScope) -> Tensor {
    let all = attentionIn(first(h), context)
    let (q, k, v) = (all.columns(0..<width), all.columns(width..<2 * width), all.columns(2 * width..<3 * width))
    let scale = 1 / Float(width / heads).squareRoot()
    switch scope {
    case .batch(let pattern):
      return attention(q, k, v, heads: heads, kvHeads: heads, pattern: pattern, scale: scale)
    case .cached(let cache, let layer):
      let (keys, values) = cache.append(k, v, layer: layer)
      return attention(ofLast: q, keys, values, heads: heads, kvHeads: heads, window: nil, scale: scale)
    }
  }

  mutating func visit(_ visitor: Visitor) {
    visitor("ln_1", &first)
    visitor("attn.c_attn", &attentionIn)
    visitor("attn.c_proj", &attentionOut)
    visitor("ln_2", &second)
    visitor("attn", &attentionBlock)
    visitor("mlp", &feedForwardBlock)
    visitor("mlp.c_fc", &up)
    visitor("mlp.c_proj", &down)
  }
}
