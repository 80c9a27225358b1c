import Files

/// The sizes of a ResNet, read from `config.json` as transformers writes it (`model_type` resnet).
public struct ResNetConfiguration: Sendable, Equatable {
  /// The images it was made for and how it reads them.
  public var preparation: ImageFormat
  /// Channels behind the first convolution.
  public var embedding: Int
  /// Channels of each group of layers, and the layers in each.
  public var widths: [Int], depths: [Int]
  /// Whether a layer is 1 × 1, 3 × 3, 1 × 1 through a quarter of the channels, and not two of 3 × 3.
  public var hasBottlenecks: Bool
  /// Whether the first group halves the image too, and whether a bottleneck's first convolution does the halving.
  public var halvesFirst = false, halvesInFirstConvolution = false
  /// The names of the classes.
  public var labels: [String]

  /// Reads the configuration; `preprocessor` is `preprocessor_config.json`, where there is one.
  ///
  /// - Throws: a ``FileError`` naming the key that is missing or asks for what is not supported.
  public init(json: JSON, preprocessor: JSON? = nil, path: String) throws {
    let reader = ConfigurationReader(json: json, path: path)
    try reader.require("hidden_act", is: "relu")
    preparation = try ImageFormat(
      reader, preprocessor: preprocessor, standard: ImageFormat(side: 224, .imageNet))
    embedding = try reader.size("embedding_size", atMost: 1 << 16, default: 64)
    widths = try reader.sizes("hidden_sizes", atMost: 1 << 16, default: [256, 512, 1024, 2048])
    depths = try reader.sizes("depths", atMost: 1024, default: [3, 4, 6, 3])
    let kind = json["layer_type"]?.string ?? "bottleneck"
    guard ["basic", "bottleneck"].contains(kind) else {
      throw FileError(path, at: "key 'layer_type'", "\(quoted(kind)) is not supported; expected basic or bottleneck")
    }
    hasBottlenecks = kind == "bottleneck"
    guard widths.count == depths.count else {
      throw FileError(path, at: "key 'depths'", "\(depths.count) depths for \(widths.count) hidden_sizes")
    }
    if hasBottlenecks, let width = widths.first(where: { $0 % 4 != 0 }) {
      throw FileError(
        path, at: "key 'hidden_sizes'", "a bottleneck has a quarter of \(width) channels, no whole number")
    }
    halvesFirst = json["downsample_in_first_stage"]?.bool ?? false
    halvesInFirstConvolution = json["downsample_in_bottleneck"]?.bool ?? false
    labels = try reader.classLabels()
  }
}
