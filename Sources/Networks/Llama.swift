import Autodiff
import Files
import Weights

/// The decoder of the Llama family: Llama 2 and 3, Mistral, Qwen 2 and 3, SmolLM2.
///
///     h ← h + o(attention(rotary(q(n)), rotary(k(n)), v(n)))   n = rms_norm(h)
///     h ← h + down(silu(gate(n)) ⊙ up(n))                      n = rms_norm(h)
///
/// What differs between members is read from the configuration: grouped key heads, biases on q, k, v (Qwen 2), a norm
/// of each head's q and k (Qwen 3), a sliding window (Mistral), scaled rotary frequencies (Llama 3), a tied head.
public struct Llama: LanguageModel {
  /// The sizes and choices of this member of the family.
  public let configuration: LlamaConfiguration
  var embedding: AdaptedEmbedding
  var layers: [LlamaLayer]
  var norm: Parameter
  var head: AdaptedLinear?
  private let frequencies: [Double]

  /// The model whose weights `source` holds under Hugging Face's names.
  ///
  /// - Throws: what is missing from `source`, or has another shape than the configuration says.
  public init(_ configuration: LlamaConfiguration, from source: any WeightSource) throws {
    let c = configuration
    self.configuration = c
    embedding = AdaptedEmbedding(
      FrozenEmbedding(try source.matrix("model.embed_tokens.weight", rows: c.vocabularySize, columns: c.width)))
    layers = try (0..<c.layers).map { try LlamaLayer(c, index: $0, from: source) }
    norm = .frozen(try source.vector("model.norm.weight", count: c.width))
    // A checkpoint may carry a copy of a tied head; the configuration decides.
    head =
      c.tiesHead
      ? nil
      : AdaptedLinear(
        FrozenLinear(try source.matrix("lm_head.weight", rows: c.vocabularySize, columns: c.width)))
    frequencies = c.rotary.frequencies(headSize: c.headSize)
  }

  /// The number of token ids it knows.
  public var vocabularySize: Int { configuration.vocabularySize }
  /// The longest sequence it was made for.
  public var contextLength: Int { configuration.contextLength }

  /// Whether the head is the embedding table.
  public var tiesHead: Bool { configuration.tiesHead }

  /// The final states, `[tokens, width]`.
  public func states(_ batch: TokenBatch, _ context: Context) -> Tensor {
    let h = hidden(embedded(batch, context), through: 0..<layers.count, of: batch, context)
    return rmsNorm(h, weight: norm.value, epsilon: configuration.epsilon)
  }

  /// The number of decoder blocks.
  public var blockCount: Int { layers.count }

  /// The embeddings of the tokens.
  public func embedded(_ batch: TokenBatch, _ context: Context) -> Tensor { embedding(batch.ids, context) }

  /// The stream behind the named blocks.
  public func hidden(
    _ h: Tensor, through blocks: Range<Int>, of batch: TokenBatch, _ context: Context
  ) -> Tensor {
    let pattern = AttentionPattern(lengths: batch.lengths, isCausal: true, window: configuration.window)
    let positions = batch.positions
    let table = RotaryTable(frequencies: frequencies, positions: 0..<(batch.lengths.max() ?? 0))
    var h = h
    for layer in layers[blocks] {
      if context.recomputes {
        h = checkpointed([h]) { layer($0[0], table, positions, context, .batch(pattern)) }
      } else {
        h = layer(h, table, positions, context, .batch(pattern))
      }
    }
    return h
  }

  /// The final states of tokens that follow what `cache` has seen.
  public func states(_ ids: [Int32], cache: KeyValueCache) -> Tensor {
    cache.reserve(ids.count)
    let positions = (cache.count..<cache.count + ids.count).map(Int32.init)
    let table = RotaryTable(frequencies: frequencies, positions: cache.count..<cache.count + ids.count)
    var h = embedding(ids, Context())
    for (index, layer) in layers.enumerated() {
      h = layer(h, table, positions, Context(), .cached(cache, layer: index))
    }
    cache.advance(ids.count)
    return rmsNorm(h, weight: norm.value, epsilon: configuration.epsilon)
  }

  /// The channels of a head, on both sides of attention.
  public var channelUnits: [String: Int] {
    ["q_proj", "k_proj", "v_proj", "o_proj"].reduce(into: [:]) { $0["self_attn." + $1] = configuration.headSize }
  }

  /// Queries, keys and values read the first norm, gate and up the second; a value's rows pass through attention to
  /// `o_proj` one to one where every head has keys of its own.
  public var inputGroups: [InputGroup] {
    let c = configuration
    return [
      InputGroup(
        ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        from: .norm(weight: "input_layernorm.weight", bias: nil)),
      InputGroup(["self_attn.o_proj"], from: c.heads == c.kvHeads ? .rows(of: "self_attn.v_proj") : .fixed),
      InputGroup(
        ["mlp.gate_proj", "mlp.up_proj"], from: .norm(weight: "post_attention_layernorm.weight", bias: nil)),
      InputGroup(["mlp.down_proj"], from: .rows(of: "mlp.up_proj")),
    ]
  }

  /// An empty cache for generating with this model.
  public func makeCache() -> KeyValueCache {
    KeyValueCache(layers: layers.count, width: configuration.kvHeads * configuration.headSize)
  }

  /// The head's product with `states`.
  public func logits(_ states: Tensor, _ context: Context) -> Tensor {
    head.map { $0(states, context) } ?? embedding.logits(states, context)
  }

  /// The head's matrix where nothing is grafted onto it.
  public var frozenHead: FrozenWeight? {
    if let head { return head.adapter == nil && head.base.bias == nil ? head.base.weight : nil }
    return embedding.adapter == nil ? embedding.base.weight : nil
  }

  /// Presents all parts under Hugging Face's names.
  public mutating func visit(_ visitor: Visitor) {
    visitor("model.embed_tokens", &embedding)
    visitor("model.layers", &layers)
    visitor("model.norm.weight", &norm)
    visitor("lm_head", &head)
  }
}

/// Where a layer's attention finds its keys.
enum AttentionScope {
  /// Within each sequence of a batch.
  case batch(AttentionPattern)
  /// In what was seen before, and in the new tokens themselves.
  case cached(KeyValueCache, layer: Int)
}

/// One block of the decoder.
struct LlamaLayer: Module {
  var inputNorm: Parameter
  var q: AdaptedLinear, k: AdaptedLinear, v: AdaptedLinear, o: AdaptedLinear
  var qNorm: Parameter?, kNorm: Parameter?
  var postNorm: Parameter
  var gate: AdaptedLinear, up: AdaptedLinear, down: AdaptedLinear
  var attentionBlock: AdaptedBlock, feedForwardBlock: AdaptedBlock
  private let configuration: LlamaConfiguration

  init(_ c: LlamaConfiguration, index: Int, from source: any WeightSource) throws {
    let prefix = "model.layers.\(index)"
    func linear(_ name: String, _ outputs: Int, _ inputs: Int, bias: Bool) throws -> AdaptedLinear {
      let weight = try source.matrix("\(prefix).\(name).weight", rows: outputs, columns: inputs)
      return AdaptedLinear(
        FrozenLinear(weight, bias: bias ? try source.vector("\(prefix).\(name).bias", count: outputs) : nil))
    }
    func norm(_ name: String, _ count: Int) throws -> Parameter {
      .frozen(try source.vector("\(prefix).\(name).weight", count: count))
    }
    let (queries, keys) = (c.heads * c.headSize, c.kvHeads * c.headSize)
    configuration = c
    (attentionBlock, feedForwardBlock) = (AdaptedBlock(width: c.width), AdaptedBlock(width: c.width))
    inputNorm = try norm("input_layernorm", c.width)
    q = try linear("self_attn.q_proj", queries, c.width, bias: c.hasQueryBias)
    k = try linear("self_attn.k_proj", keys, c.width, bias: c.hasQueryBias)
    v = try linear("self_attn.v_proj", keys, c.width, bias: c.hasQueryBias)
    o = try linear("self_attn.o_proj", c.width, queries, bias: c.hasOutputBias)
    qNorm = c.normalisesHeads ? try norm("self_attn.q_norm", c.headSize) : nil
    kNorm = c.normalisesHeads ? try norm("self_attn.k_norm", c.headSize) : nil
    postNorm = try norm("post_attention_layernorm", c.width)
    gate = try linear("mlp.gate_proj", c.hidden, c.width, bias: c.hasMLPBias)
    up = try linear("mlp.up_proj", c.hidden, c.width, bias: c.hasMLPBias)
    down = try linear("mlp.down_proj", c.width, c.hidden, bias: c.hasMLPBias)
  }

  /// `h` `[tokens, width]` through attention and the feed-forward block.
  func callAsFunction(
    _ h: Tensor, _ table: RotaryTable, _ positions: [Int32], _ context: Context, _ scope: AttentionScope
  ) -> Tensor {
    let middle = attentionBlock(h, context) { mixed($0, table, positions, context, scope) }
    return feedForwardBlock(middle, context) { h in
      let m = rmsNorm(h, weight: postNorm.value, epsilon: configuration.epsilon)
      return down(siluProduct(gate(m, context), up(m, context)), context)
    }
  }

  /// The attention branch.
  private func mixed(
    _ h: Tensor, _ table: RotaryTable, _ positions: [Int32], _ context: Context, _ scope: AttentionScope
  ) -> Tensor {
    let c = configuration
    let n = rmsNorm(h, weight: inputNorm.value, epsilon: c.epsilon)
    let queries = rotary(perHead(q(n, context), qNorm), table, positions: positions, headSize: c.headSize)
    let keys = rotary(perHead(k(n, context), kNorm), table, positions: positions, headSize: c.headSize)
    let values = v(n, context)
    let scale = 1 / Float(c.headSize).squareRoot()
    switch scope {
    case .batch(let pattern):
      return o(
        attention(queries, keys, values, heads: c.heads, kvHeads: c.kvHeads, pattern: pattern, scale: scale), context)
    case .cached(let cache, let layer):
      let (allKeys, allValues) = cache.append(keys, values, layer: layer)
      let mixed = attention(
        ofLast: queries, allKeys, allValues, heads: c.heads, kvHeads: c.kvHeads, window: c.window, scale: scale)
      return o(mixed, context)
    }
  }

  /// Qwen 3 normalises each head's queries and keys on their own.
  private func perHead(_ x: Tensor, _ norm: Parameter?) -> Tensor {
    guard let norm else { return x }
    let heads = x.reshaped([x.count / configuration.headSize, configuration.headSize])
    return rmsNorm(heads, weight: norm.value, epsilon: configuration.epsilon).reshaped(x.shape)
  }

  mutating func visit(_ visitor: Visitor) {
    visitor("input_layernorm.weight", &inputNorm)
    visitor("self_attn.q_proj", &q)
    visitor("self_attn.k_proj", &k)
    visitor("self_attn.v_proj", &v)
    visitor("self_attn.o_proj", &o)
    visitor("self_attn.q_norm.weight", &qNorm)
    visitor("self_attn.k_norm.weight", &kNorm)
    visitor("post_attention_layernorm.weight", &postNorm)
    visitor("self_attn", &attentionBlock)
    visitor("mlp", &feedForwardBlock)
    visitor("mlp.gate_proj", &gate)
    visitor("mlp.up_proj", &up)
    visitor("mlp.down_proj", &down)
  }
}
