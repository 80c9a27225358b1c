import Autodiff
import CZlib
import Files
import Networks
import Weights

/// Finished blocks, each in a safetensors file with its length and checksum beside it, so that a run that was ended goes on
/// where it was, and packs anew what was damaged since.
struct BlockStore {
  let folder: String

  private func path(_ block: Int) -> String { "\(folder)/block-\(block).safetensors" }

  private func sum(_ block: Int) -> String { "\(folder)/block-\(block).sum" }

  /// The length and checksum of a block's file.
  private func measured(_ block: Int) throws -> String {
    try MappedFile(path(block)).withBytes { bytes in
      "\(bytes.count) \(crc32_z(0, bytes.bindMemory(to: UInt8.self).baseAddress, bytes.count))\n"
    }
  }

  /// Writes what a block has become: packed layers, biases and norms.
  func save(_ block: Int, of model: any TextNetwork, _ layers: [LayerReport]) throws {
    var copy = model
    var tensors: [TensorToWrite] = [], metadata: [String: String] = [:]
    copy.forEachLinear { name, layer in
      guard blockIndex(name) == block, layer.base.weight.packing.isRounded else { return }
      tensors += GraftForm.tensors(name + ".weight", layer.base.weight)
      metadata[name] = layer.base.weight.packing.name
    }
    copy.forEachParameter { name, parameter in
      guard blockIndex(name) == block else { return }
      tensors.append(
        TensorToWrite(name: name, floats: parameter.value.values, shape: parameter.value.shape.dimensions))
    }
    for layer in layers {
      let figures = [layer.bytesBefore, layer.bytes].map(String.init)
      let errors = [layer.weightError, layer.outputError ?? -1].map { "\($0)" }
      metadata["report " + layer.name] = (figures + errors).joined(separator: " ")
    }
    metadata["order"] = layers.map(\.name).joined(separator: " ")
    try Safetensors.write(tensors, metadata: metadata, to: path(block))
    try AtomicFile.write(try measured(block), to: sum(block))
  }

  /// Puts a finished block into `model` and returns what was reported of it; nil where it is not finished, or damaged.
  func restore(_ block: Int, into model: inout any TextNetwork) throws -> [LayerReport]? {
    guard Folder.exists(path(block)), Folder.exists(sum(block)),
      try MappedFile(sum(block)).withBytes({ String(decoding: $0, as: UTF8.self) }) == measured(block)
    else { return nil }
    let file = try Safetensors(path(block))
    try model.forEachLinear(throwing: { name, layer in
      guard blockIndex(name) == block, let packing = file.metadata[name] else { return }
      layer.base.weight = try GraftForm.matrix(
        name + ".weight", try Packing(parsing: packing), rows: layer.base.outputs, columns: layer.base.inputs, in: file)
    })
    var failure: (any Error)?
    model.forEachParameter { name, parameter in
      guard blockIndex(name) == block, failure == nil else { return }
      do {
        parameter.value = Tensor(try file.entry(name).floats(), shape: parameter.value.shape)
      } catch { failure = error }
    }
    if let failure { throw failure }
    return (file.metadata["order"] ?? "").split(separator: " ").compactMap { name in
      let numbers = (file.metadata["report " + name] ?? "").split(separator: " ").compactMap { Double($0) }
      guard numbers.count == 4 else { return nil }
      return LayerReport(
        name: String(name), packing: file.metadata[String(name)] ?? "", bytesBefore: Int(numbers[0]),
        bytes: Int(numbers[1]), weightError: numbers[2], outputError: numbers[3] < 0 ? nil : numbers[3])
    }
  }
}
