import Networks

/// Every family, one line each: what recipes, help texts and the laws enumerate.
public enum Catalogue {
  /// The families that change a linear layer.
  public static let linear: [any Adapter<FrozenLinear>.Type] = [
    LoRA.self,
    DoRA.self,
    Full.self,
  ]
  /// The families that change an embedding table, under the names of their kin above.
  public static let embedding: [any EmbeddingAdapter.Type] = [
    LoRAEmbedding.self,
    FullEmbedding.self,
  ]

  /// The names recipes may use.
  public static var methods: [String] { linear.map { $0.method } }
  /// Each family's recipe keys besides the common ones.
  public static var options: [String: [String]] {
    Dictionary(uniqueKeysWithValues: linear.map { ($0.method, $0.options) })
  }
}
