import Autodiff
import Networks
import Weights

/// LoRA over an embedding table: row i becomes Eᵢ + s B Aᵢ.
///
/// `A` is `[r, entries]` and here it is `A` that starts at zero while `B` `[width, r]` is drawn from a normal of
/// deviation 1, as PEFT does. A head tied to the table is changed with it; PEFT changes the lookup alone and lets the
/// two drift apart when merged.
public struct LoRAEmbedding: EmbeddingAdapter {
  /// What recipes call it.
  public static let method = "lora"
  /// Always.
  public static func merging(_ configuration: LoRA.Configuration) -> Merging { .exact }

  /// What `settings` choose for the table named `site`.
  public static func configuration(_ settings: AdapterSettings, at site: String) throws -> LoRA.Configuration {
    let configuration = try LoRA.configuration(settings, at: site)
    guard configuration.start.isBlank else {
      throw GraftError("init '\(settings.start)' has no form for the embedding '\(site)'; leave it out of the targets")
    }
    return configuration
  }

  var a: Parameter
  var b: Parameter
  let scale: Float

  /// A fresh adapter, which changes nothing.
  public init(on base: inout FrozenEmbedding, _ configuration: LoRA.Configuration, _ setup: Setup) {
    a = Parameter(.zeros([configuration.rank, base.weight.rows]), role: .factorA)
    b = Parameter(
      .normal([base.weight.columns, configuration.rank], from: setup.random["lora_embedding_B"]), role: .factorB)
    scale = configuration.scale
  }

  /// The rows of `ids` with their change.
  public func rows(_ ids: [Int32], over base: FrozenEmbedding, _ context: Context) -> Tensor {
    let change = matmul(a.value.transposed.gathered(ids), b.value, transposingB: true)
    return gathered(base.weight, ids) + scale * change
  }

  /// The product of `x` with every changed row.
  public func callAsFunction(_ x: Tensor, over base: FrozenEmbedding, _ context: Context) -> Tensor {
    linear(x, base.weight) + scale * matmul(matmul(x, b.value), a.value)
  }

  /// The table with the change added.
  public func merged(into base: FrozenEmbedding, _ context: Context) -> FrozenEmbedding {
    let change = scale * matmul(a.value.detached, b.value.detached, transposingA: true, transposingB: true)
    return FrozenEmbedding(FrozenWeight(base.weight.unpacked() + change))
  }

  /// Presents the factors under PEFT's names.
  public mutating func visit(_ visitor: Visitor) {
    visitor("lora_embedding_A", &a)
    visitor("lora_embedding_B", &b)
  }
}
