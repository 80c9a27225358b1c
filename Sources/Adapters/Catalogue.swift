import Networks

/// Every family, one line each: what recipes, help texts and the laws enumerate.
public enum Catalogue {
  /// The families that change a linear layer.
  public static let linear: [any Adapter<FrozenLinear>.Type] = [
    LoRA.self,
    DoRA.self,
    Hydra.self,
    MHR.self,
    CorDA.self,
    S2FT.self,
    INT21.self,
    QLLM.self,
    Full.self,
    MoSA.self,
    QALoRA.self,
    LRQAT.self,
  ]
  /// The families that change an embedding table, under the names of their kin above.
  public static let embedding: [any EmbeddingAdapter.Type] = [
    LoRAEmbedding.self,
    FullEmbedding.self,
  ]
  /// The families that change a convolution, of CLR's own name and under those of their kin above.
  public static let convolution: [any Adapter<FrozenConvolution>.Type] = [
    CLR.self,
    LoRAConvolution.self,
    DoRAConvolution.self,
    FullConvolution.self,
  ]
  /// The families that stand beside or behind a residual branch.
  public static let block: [any BlockAdapter.Type] = [
    Bottleneck.self
  ]

  /// The names recipes may use.
  public static var methods: [String] {
    var names: [String] = []
    for name in linear.map({ $0.method }) + convolution.map({ $0.method }) + block.map({ $0.method })
    where !names.contains(name) { names.append(name) }
    return names
  }
  /// Each family's recipe keys besides the common ones.
  public static var options: [String: [String]] {
    let all =
      linear.map { ($0.method, $0.options) } + convolution.map { ($0.method, $0.options) }
      + block.map { ($0.method, $0.options) }
    return Dictionary(all) { $0 + $1 }
  }
}
