/// Arrays of numbers under names: what a checkpoint holds, whichever program wrote it.
///
/// A consumer that takes `any NamedArrays` reads safetensors, PyTorch checkpoints, Keras HDF5 files and ONNX models:
///
///     let file: any NamedArrays = try ArrayFile.open("efficientnet-lite0.pth")
///     let stem = try file.floats("_conv_stem.weight", shape: [32, 3, 3, 3])
public protocol NamedArrays: Sendable {
  /// What is known of an array before it is read.
  associatedtype Entry: ArrayEntry

  /// The file, or the folder, as the caller named it.
  var path: String { get }

  /// The arrays' names, each once, in the file's order.
  var names: [String] { get }

  /// A few words on the file's form, for lists; nil when its kind says everything.
  var note: String? { get }

  /// The array of this name, if there is one.
  subscript(_ name: String) -> Entry? { get }
}

extension NamedArrays {
  /// Nil: the kind says everything.
  public var note: String? { nil }

  /// The array of this name.
  ///
  /// - Throws: `FileError` when there is none, with the name most like it.
  public func entry(_ name: String) throws -> Entry {
    if let entry = self[name] { return entry }
    let remedy = nearest(to: name, among: names).map { "did you mean \(quoted($0))?" }
    throw FileError(path, at: "tensor \(quoted(name))", "is not in the file", remedy: remedy)
  }

  /// The elements of the array of this name, row-major, once it has the shape that is needed.
  ///
  /// - Throws: `FileError` when there is none, or it has another shape, or its bytes cannot be read.
  public func floats(_ name: String, shape: [Int]) throws -> [Float] {
    let entry = try entry(name)
    guard entry.shape == shape else {
      throw FileError(
        path, at: "tensor \(quoted(name))",
        "has shape \(described(shape: entry.shape)); expected \(described(shape: shape))")
    }
    return try entry.floats()
  }

  /// Writes all arrays, as they are stored, to a safetensors file; one at a time is in memory.
  ///
  /// - Throws: `FileError` when an array cannot be read or the file cannot be written; then nothing of that name changed.
  public func writeSafetensors(to path: String, metadata: [String: String] = [:]) throws {
    let tensors = try names.map { name in
      let entry = try entry(name)
      return TensorToWrite(name: name, type: entry.type, shape: entry.shape) { writer in
        try entry.withBytes { try writer.write($0) }
      }
    }
    try Safetensors.write(tensors, metadata: metadata, to: path)
  }
}

/// Files of named arrays, told apart by how they begin.
public enum ArrayFile {
  /// Opens a safetensors file, a PyTorch checkpoint, an HDF5 file or an ONNX model.
  ///
  /// - Throws: `FileError` when the file is none of these, or is damaged.
  public static func open(_ path: String) throws -> any NamedArrays {
    if path.hasSuffix(".safetensors") { return try Safetensors(path) }
    guard Folder.exists(path) else { throw FileError(path, "is not there") }
    guard let foreign = try openForeign(path) else {
      throw FileError(
        path, "is no file of arrays that can be read",
        remedy: "expected .safetensors, .pth, .pt, .bin, .h5, .hdf5 or .onnx")
    }
    return foreign
  }

  /// The same for files that other programs than Hugging Face's write; nil for whatever is none of them.
  ///
  /// HDF5 files and PyTorch's are known by their first bytes. An ONNX model has no such mark: its name must end in `.onnx`.
  public static func openForeign(_ path: String) throws -> (any NamedArrays)? {
    guard isFile(path) else { return nil }
    let start = try MappedFile(path).withBytes { Array($0.prefix(8)) }
    if start == [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a] { return try KerasWeights(path) }
    let isArchive = start.starts(with: [0x50, 0x4b, 0x03, 0x04])
    let isStream = start.count > 3 && start[0] == 0x80 && start[2...3] == [0x8a, 0x0a]
    if isArchive || isStream || [".pth", ".pt"].contains(where: path.hasSuffix) { return try PyTorchCheckpoint(path) }
    return path.hasSuffix(".onnx") ? try ONNXModel(path) : nil
  }
}
