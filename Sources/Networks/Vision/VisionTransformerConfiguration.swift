import Files

/// The sizes of a vision transformer, read from `config.json` as transformers writes it (`model_type` vit, deit, dinov2).
public struct VisionTransformerConfiguration: Sendable, Equatable {
  /// The kinds of vision transformer.
  public enum Family: String, Sendable, CaseIterable {
    /// The original.
    case vit
    /// With one more token, which a teacher taught.
    case deit
    /// With a factor a channel on each branch, taught without labels.
    case dinov2
  }

  /// Which kind it is.
  public var family: Family
  /// The images it was made for and how it reads them.
  public var preparation: ImageFormat
  /// The blocks, the heads, the channels, the channels inside a feed-forward block.
  public var layers: Int, heads: Int, width: Int, hidden: Int
  /// The side of a patch in pixels, and the patches along a side of the table of positions.
  public var patch: Int, tableSide: Int
  /// ε of the norms.
  public var epsilon: Float
  /// Whether queries, keys and values have a bias.
  public var hasQueryBias: Bool
  /// The names of the classes.
  public var labels: [String]

  /// Reads the configuration; `preprocessor` is `preprocessor_config.json`, where there is one.
  ///
  /// - Throws: a ``FileError`` naming the key that is missing or asks for what is not supported.
  public init(json: JSON, preprocessor: JSON? = nil, path: String) throws {
    let reader = ConfigurationReader(json: json, path: path)
    guard let family = Family(rawValue: try reader.string("model_type")) else {
      throw FileError(path, at: "key 'model_type'", "is no vision transformer; expected vit, deit or dinov2")
    }
    self.family = family
    try reader.require("hidden_act", is: "gelu")
    if json["use_swiglu_ffn"]?.bool == true {
      throw FileError(path, at: "key 'use_swiglu_ffn'", "true is not supported; the giant model alone has it")
    }
    layers = try reader.size("num_hidden_layers", atMost: 1024, default: 12)
    heads = try reader.size("num_attention_heads", atMost: 4096, default: 12)
    width = try reader.size("hidden_size", atMost: 1 << 16, default: 768)
    let ratio = try reader.size("mlp_ratio", atMost: 64, default: 4)
    hidden =
      family == .dinov2 ? ratio * width : try reader.size("intermediate_size", atMost: 1 << 18, default: 4 * width)
    patch = try reader.size("patch_size", atMost: 1024, default: family == .dinov2 ? 14 : 16)
    let side = try reader.size("image_size", atMost: 4096, default: 224)
    tableSide = side / patch
    let scaling: PixelScaling = family == .vit ? PixelScaling(mean: 0.5, deviation: 0.5) : .imageNet
    preparation = try ImageFormat(
      reader, preprocessor: preprocessor, standard: ImageFormat(side: side, scaling))
    epsilon = Float(try reader.number("layer_norm_eps", default: family == .dinov2 ? 1e-6 : 1e-12))
    hasQueryBias = json["qkv_bias"]?.bool ?? true
    labels = try reader.classLabels()
    guard width % heads == 0 else {
      throw FileError(path, at: "key 'num_attention_heads'", "\(heads) heads do not divide \(width) channels")
    }
    guard tableSide > 0, epsilon > 0, epsilon < 1 else {
      throw FileError(path, at: "key 'patch_size'", "patches of \(patch) pixels for images of \(side), ε \(epsilon)")
    }
    guard preparation.input.height >= patch, preparation.input.width >= patch else {
      throw FileError(path, at: "key 'patch_size'", "an image is smaller than one patch of \(patch) pixels")
    }
  }
}
