import Files
import Foundation
import Networks
import Weights

/// Writing a network of images as the folder it came from was, but for the layers that are packed otherwise now.
///
/// Every other tensor keeps its bytes, also those that the network does not read, such as the side of a CLIP that reads
/// texts.
struct ImageFolderExport {
  private let base: ImageCheckpoint
  private let folder: String
  private let preprocessor: String?
  private static let beside = "preprocessor_config.json"

  /// - Throws: a ``FileError`` when `folder` is the network's own, is a file, or would keep how another network reads images.
  init(of base: ImageCheckpoint, to folder: String) throws {
    (self.base, self.folder) = (base, folder)
    func real(_ path: String) -> String { URL(fileURLWithPath: path).resolvingSymlinksInPath().path }
    guard real(folder) != real(base.path) else {
      throw FileError(folder, "is the base model's own folder", remedy: "choose another output")
    }
    guard Folder.isFolder(folder) || !Folder.exists(folder) else {
      throw FileError(folder, "is a file, where a folder is needed")
    }
    preprocessor =
      Folder.exists("\(base.path)/\(Self.beside)") ? try TextFile.read("\(base.path)/\(Self.beside)") : nil
    guard preprocessor != nil || !Folder.exists("\(folder)/\(Self.beside)") else {
      throw FileError(
        "\(folder)/\(Self.beside)", "is another network's: the one to be written has none",
        remedy: "remove it, or choose another output")
    }
  }

  /// Writes the folder, its weights first; returns the bytes of the weights' files before and now.
  ///
  /// - Throws: a ``FileError`` for what cannot be written; then no folder is left that was not there before.
  func write(_ stored: StoredImageNetwork) throws -> (before: Int, now: Int) {
    let isNew = !Folder.exists(folder)
    do {
      try Folder.create(folder)
      let (tensors, packings) = tensors(of: stored)
      let weights = folder + "/model.safetensors"
      try Safetensors.write(
        tensors, metadata: stored.file.metadata.merging(["format": "pt"]) { old, _ in old }, to: weights)
      if let preprocessor { try AtomicFile.write(preprocessor, to: "\(folder)/\(Self.beside)") }
      var keys = base.configuration.object ?? [:]
      keys["quantization_config"] = packings.isEmpty ? nil : GraftForm.section(packings)
      try AtomicFile.write(JSON.object(keys).text(pretty: true) + "\n", to: folder + "/config.json")
      let files = Set(stored.file.names.compactMap { stored.file[$0]?.path })
      return (try files.reduce(0) { $0 + (try MappedFile($1).count) }, try MappedFile(weights).count)
    } catch {
      if isNew { Folder.remove(folder) }
      throw error
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
