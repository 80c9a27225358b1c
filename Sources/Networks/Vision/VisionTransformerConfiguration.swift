import Files

/// The sizes of a vision transformer, read from `config.json` as transformers writes it (`model_type` vit, deit, dinov2,
/// clip_vision_model, and clip, whose images' side is in a section).
public struct VisionTransformerConfiguration: Sendable, Equatable {
  /// The kinds of vision transformer.
  public enum Family: String, Sendable, CaseIterable {
    /// The original.
    case vit
    /// With one more token, which a teacher taught.
    case deit
    /// With a factor a channel on each branch, taught without labels.
    case dinov2
    /// The images' side of CLIP, with a norm before the blocks, taught by texts.
    case clip
  }

  /// What stands between the matrices of a feed-forward block.
  public enum Activation: String, Sendable, CaseIterable {
    /// x Φ(x).
    case gelu
    /// x σ(1.702 x).
    case quickGELU = "quick_gelu"
  }

  /// What the head reads of the last block's tokens.
  public enum Pooling: Sendable {
    /// The class token behind the final norm.
    case classToken
    /// The same beside the mean of the patches'.
    case classTokenAndMean
    /// The mean of the patches, before the final norm.
    case patchMean
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
  /// See ``Activation``.
  public var activation: Activation
  /// See ``Pooling``.
  public var pooling: Pooling
  /// The names of the classes.
  public var labels: [String]

  /// Reads the configuration; `preprocessor` is `preprocessor_config.json`, where there is one.
  ///
  /// - Throws: a ``FileError`` naming the key that is missing or asks for what is not supported.
  public init(json: JSON, preprocessor: JSON? = nil, path: String) throws {
    let kind = try ConfigurationReader(json: json, path: path).string("model_type"), isWholeCLIP = kind == "clip"
    guard let family = kind == "clip_vision_model" ? .clip : Family(rawValue: kind) else {
      throw FileError(
        path, at: "key 'model_type'", "is no vision transformer; expected vit, deit, dinov2, clip or clip_vision_model")
    }
    guard let sizes = isWholeCLIP ? json["vision_config"] : json, sizes.object != nil else {
      throw FileError(path, at: "key 'vision_config'", "is missing; a CLIP has the sizes of its images' side there")
    }
    let reader = ConfigurationReader(json: sizes, path: path), isCLIP = family == .clip
    self.family = family
    let named = sizes["hidden_act"]?.string ?? (isCLIP ? Activation.quickGELU : .gelu).rawValue
    guard let activation = Activation(rawValue: named), isCLIP || activation == .gelu else {
      throw FileError(
        path, at: "key 'hidden_act'",
        "\(quoted(named)) is not supported; expected \(isCLIP ? "quick_gelu or " : "")gelu")
    }
    self.activation = activation
    if sizes["use_swiglu_ffn"]?.bool == true {
      throw FileError(path, at: "key 'use_swiglu_ffn'", "true is not supported; the giant model alone has it")
    }
    layers = try reader.size("num_hidden_layers", atMost: 1024, default: 12)
    heads = try reader.size("num_attention_heads", atMost: 4096, default: 12)
    width = try reader.size("hidden_size", atMost: 1 << 16, default: 768)
    let ratio = try reader.size("mlp_ratio", atMost: 64, default: 4)
    hidden =
      family == .dinov2 ? ratio * width : try reader.size("intermediate_size", atMost: 1 << 18, default: 4 * width)
    patch = try reader.size("patch_size", atMost: 1024, default: isCLIP ? 32 : family == .dinov2 ? 14 : 16)
    let side = try reader.size("image_size", atMost: 4096, default: 224)
    tableSide = side / patch
    let scaling: PixelScaling =
      isCLIP ? .clip : family == .vit ? PixelScaling(mean: 0.5, deviation: 0.5) : .imageNet
    preparation = try ImageFormat(
      reader, preprocessor: preprocessor, standard: ImageFormat(side: side, scaling))
    let usual = isCLIP ? 1e-5 : family == .dinov2 ? 1e-6 : 1e-12
    epsilon = Float(try reader.number("layer_norm_eps", default: usual))
    hasQueryBias = sizes["qkv_bias"]?.bool ?? true
    labels = try ConfigurationReader(json: json, path: path).classLabels()
    let isClassifier = json["architectures"]?.array?.contains(.string("CLIPForImageClassification")) == true
    pooling = family == .dinov2 ? .classTokenAndMean : isCLIP && isClassifier ? .patchMean : .classToken
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
