import Files
import Networks
import Weights

/// Writing a network of images as the folder it came from was, but for the layers that are packed otherwise now.
///
/// Every other tensor keeps its bytes, also those that the network does not read, such as the side of a CLIP that reads
/// texts.
struct ImageFolderExport {
  private let base: ImageCheckpoint
  private let output: ModelOutput
  private let preprocessor: String?
  private static let beside = "preprocessor_config.json"

  /// - Throws: an ``OutputError`` where `folder` may not be written.
  init(of base: ImageCheckpoint, to folder: String) throws {
    self.base = base
    output = try ModelOutput(folder, sources: [base.path], isFile: false)
    let file = "\(base.path)/\(Self.beside)"
    preprocessor = Folder.exists(file) ? try TextFile.read(file) : nil
  }

  /// Writes the folder, whole or not at all; returns the bytes of the weights' files before and now.
  ///
  /// - Parameter add: adds to what was written, told those bytes, before the folder takes its name.
  /// - Throws: a ``FileError`` for what cannot be written, and what `add` throws. An earlier folder is then untouched.
  func write(
    _ stored: StoredImageNetwork, adding add: (_ temporary: String, _ bytes: (before: Int, now: Int)) throws -> Void
  ) throws {
    let (tensors, packings) = tensors(of: stored)
    var keys = base.configuration.object ?? [:], metadata = stored.file.metadata
    keys["quantization_config"] = packings.isEmpty ? nil : GraftForm.section(packings)
    metadata["format"] = metadata["format"] ?? "pt"
    metadata[ModelOutput.mark.0] = ModelOutput.mark.1
    let configuration = JSON.object(keys).text(pretty: true) + "\n"
    let before = try Set(stored.file.names.compactMap { stored.file[$0]?.path }).reduce(0) {
      $0 + (try MappedFile($1).count)
    }
    try output.fill { temporary in
      let weights = temporary + "/model.safetensors"
      try Safetensors.write(tensors, metadata: metadata, to: weights)
      if let preprocessor { try AtomicFile.write(preprocessor, to: "\(temporary)/\(Self.beside)") }
      try AtomicFile.write(configuration, to: temporary + "/config.json")
      try add(temporary, (before, try MappedFile(weights).count))
    }
  }

  /// What is written, and the packings of what is no plain numbers.
  private func tensors(of stored: StoredImageNetwork) -> ([TensorToWrite], [String: Packing]) {
    let plain: [Packing: ElementType] = [.float32: .f32, .float16: .f16, .bfloat16: .bf16]
    var network = stored.network, packings: [String: Packing] = [:], tensors: [TensorToWrite] = []
    var replaced: Set<String> = []
    func add(_ layer: String, _ weight: FrozenWeight, _ shape: [Int]) {
      guard let name = stored.tensorNames[layer] else { return }
      replaced.insert(name)
      // What was packed in whatever form may have had scales and orders of its own.
      if stored.file[name].map({ plain.values.contains($0.type) }) != true {
        replaced.formUnion(stored.companions(of: name))
      }
      guard let type = plain[weight.packing] else {
        packings[name] = weight.packing
        return tensors += GraftForm.tensors(name, weight)
      }
      tensors.append(
        TensorToWrite(name: name, type: type, shape: shape) { writer in try weight.withBytes { try writer.write($0) } })
    }
    network.forEachConvolution { name, layer in
      let base = layer.base, area = base.kernelHeight * base.kernelWidth
      add(name, base.weight, [base.outputs, base.weight.columns / area, base.kernelHeight, base.kernelWidth])
    }
    network.forEachLinear { name, layer in add(name, layer.base.weight, [layer.base.outputs, layer.base.inputs]) }
    let others = stored.file.names.filter { !replaced.contains($0) }.compactMap { stored.file[$0] }
    tensors += others.map { entry in
      TensorToWrite(name: entry.name, type: entry.type, shape: entry.shape) { writer in
        try entry.withBytes { try writer.write($0) }
      }
    }
    return (tensors, packings)
  }
}
