import Files

/// A network of images as it lies on disk: a folder with `config.json`, `*.safetensors` and, where it has one,
/// `preprocessor_config.json`.
public struct ImageCheckpoint: Sendable {
  /// The folder.
  public let path: String
  /// What `config.json` holds.
  public let configuration: JSON

  /// Opens the folder at `path`, reading its configuration only.
  ///
  /// - Throws: a ``FileError`` when nothing is there, or what is there is no model.
  public init(_ path: String) throws {
    self.path = path
    guard Folder.isFolder(path), Folder.exists(path + "/config.json") else {
      throw FileError(
        path, Folder.exists(path) ? "holds no config.json" : "is not there",
        remedy: "expected a folder with config.json and *.safetensors")
    }
    configuration = try JSON.read(path + "/config.json")
  }

  /// A network that lies nowhere, such as one to be made of ``RandomWeights``; `path` is for messages.
  public init(configuration: JSON, path: String) { (self.configuration, self.path) = (configuration, path) }

  /// The architectures it knows, by `model_type`.
  public static let architectures =
    ["resnet", "vit", "deit", "dinov2", "clip_vision_model", "clip"] + MobileNetConfiguration.families + ["cifar-cnn"]

  /// The architecture, as the model names it.
  public var architecture: String { configuration["model_type"]?.string ?? "unknown" }

  /// Whether the folder holds a network of images rather than one of text.
  public var isKnown: Bool { Self.architectures.contains(architecture) }

  /// The network, its filters in the packing they have on disk and mapped rather than read.
  ///
  /// - Throws: a ``FileError`` when the architecture is not known, or weights are missing, left over or of other shapes.
  public func network() throws -> any ImageNetwork {
    let source = try SafetensorsSource(folder: path, configuration: configuration)
    let network = try network(from: source)
    try source.requireAllUsed(by: architecture)
    return network
  }

  /// The same with weights from elsewhere, such as ``RandomWeights``.
  ///
  /// - Throws: as ``network()``, but does not ask whether anything is left over.
  public func network(from source: any WeightSource) throws -> any ImageNetwork {
    let file = path + "/config.json", beside = path + "/preprocessor_config.json"
    let preprocessor = Folder.exists(beside) ? try JSON.read(beside) : nil
    switch architecture {
    case "resnet":
      return try ResNet(ResNetConfiguration(json: configuration, preprocessor: preprocessor, path: file), from: source)
    case "vit", "deit", "dinov2", "clip_vision_model", "clip":
      return try VisionTransformer(
        VisionTransformerConfiguration(json: configuration, preprocessor: preprocessor, path: file), from: source)
    case "efficientnet-lite", "mobilenet_v2":
      return try MobileNet(
        MobileNetConfiguration(json: configuration, preprocessor: preprocessor, path: file), from: source)
    case "cifar-cnn":
      return try PlainCNN(
        PlainCNNConfiguration(json: configuration, preprocessor: preprocessor, path: file), from: source)
    default:
      throw FileError(
        file, at: "key 'model_type'",
        "\(quoted(architecture)) is not supported; expected one of \(Self.architectures.joined(separator: ", "))")
    }
  }
}
