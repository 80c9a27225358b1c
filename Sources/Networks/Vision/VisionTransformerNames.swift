import Autodiff
import Weights

/// The two spellings of a vision transformer's names: that of transformers 5 in memory, which adapters of PEFT have too,
/// and that of files, which is older.
struct VisionTransformerNames: Sendable {
  let family: VisionTransformerConfiguration.Family

  init(_ family: VisionTransformerConfiguration.Family) { self.family = family }

  /// What all names of the network without its head begin with.
  var root: String { family == .clip ? "vision_model" : family.rawValue }
  /// What the names of the blocks begin with.
  var blocks: String {
    switch family {
    case .vit, .deit: "\(root).layers"
    case .dinov2: "\(root).encoder.layer"
    case .clip: "\(root).encoder.layers"
    }
  }
  /// The attention of a block and the projection that leaves it.
  var attention: (name: String, out: String) {
    family == .clip ? ("self_attn", "self_attn.out_proj") : ("attention", "attention.o_proj")
  }
  /// The norms of a block, and that behind the last one.
  var norms: (before: String, after: String, final: String) {
    switch family {
    case .vit, .deit: ("layernorm_before", "layernorm_after", "\(root).layernorm")
    case .dinov2: ("norm1", "norm2", "\(root).layernorm")
    case .clip: ("layer_norm1", "layer_norm2", "\(root).post_layernorm")
    }
  }
  /// The norm before the blocks, spelt as transformers spells it.
  var first: String? { family == .clip ? "\(root).pre_layrnorm" : nil }
  /// The filters that read patches, the tokens that are none, and the table of positions.
  var embeddings: (patches: String, extras: [String], positions: String) {
    switch family {
    case .vit, .dinov2: ("patch_embeddings.projection", ["cls_token"], "position_embeddings")
    case .deit: ("patch_embeddings.projection", ["cls_token", "distillation_token"], "position_embeddings")
    case .clip: ("patch_embedding", ["class_embedding"], "position_embedding.weight")
    }
  }

  /// The file's name of what is called `name` in memory.
  func stored(_ name: String) -> String {
    guard family != .clip else { return name }
    var pairs = [
      ("attention.q_proj.", "attention.attention.query."), ("attention.k_proj.", "attention.attention.key."),
      ("attention.v_proj.", "attention.attention.value."), ("attention.o_proj.", "attention.output.dense."),
    ]
    if family != .dinov2 { pairs += [("mlp.fc1.", "intermediate.dense."), ("mlp.fc2.", "output.dense.")] }
    var text = name
    if text.hasPrefix("\(root).layers.") { text = "\(root).encoder.layer." + text.dropFirst(root.count + 8) }
    for (new, old) in pairs {
      if let range = text.firstRange(of: new) { text.replaceSubrange(range, with: old) }
    }
    return text
  }

  /// `source` under the names of memory, whichever of its spellings it has, with its root or without.
  func source(_ source: any WeightSource) -> any WeightSource { Renamed(base: source, names: self) }

  private struct Renamed: WeightSource {
    let base: any WeightSource
    let names: VisionTransformerNames
    private let held: Set<String>

    init(base: any WeightSource, names: VisionTransformerNames) {
      (self.base, self.names, held) = (base, names, Set(base.unused))
    }

    var path: String { base.path }
    var unused: [String] { base.unused }

    /// The first spelling the source has; the file's usual one in messages about what it has not.
    private func name(_ name: String) -> String {
      if held.isEmpty { return name }
      let old = names.stored(name), bare = names.root.count + 1
      let spellings =
        [old, name] + [old, name].filter { $0.hasPrefix(names.root + ".") }.map { String($0.dropFirst(bare)) }
      return spellings.first(where: held.contains) ?? old
    }

    func matrix(_ name: String, rows: Int, columns: Int) throws -> FrozenWeight {
      try base.matrix(self.name(name), rows: rows, columns: columns)
    }
    func filters(_ name: String, shape: Shape) throws -> FrozenWeight {
      try base.filters(self.name(name), shape: shape)
    }
    func vector(_ name: String, count: Int) throws -> Tensor { try base.vector(self.name(name), count: count) }
    func tensor(_ name: String, shape: Shape) throws -> Tensor { try base.tensor(self.name(name), shape: shape) }
    func ignore(_ name: String) { base.ignore(self.name(name)) }
  }
}
