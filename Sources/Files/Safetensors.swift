/// The tensors of a safetensors file, or of a model split over several.
///
/// A file is an 8-byte header length, a JSON header naming each tensor's type, shape and bytes, then the bytes of all
/// tensors without gap or overlap. Opening reads the header only; elements are read from the mapped file when asked for.
///
/// Format: <https://github.com/huggingface/safetensors>
public struct Safetensors: NamedArrays {
  /// The file, or the folder of a model.
  public let path: String

  /// The text a writer attached, such as `format: pt`; of several files that use a key, the first counts.
  public let metadata: [String: String]

  /// The tensors' names in the order of their bytes, file after file.
  public let names: [String]

  private let entries: [String: TensorEntry]

  /// Opens one file.
  ///
  /// - Throws: `FileError` when the file is missing or departs from the format in any way.
  public init(_ path: String) throws {
    let file = try MappedFile(path)
    let header = try SafetensorsHeader(file)
    self.path = path
    metadata = header.metadata
    names = header.entries.map(\.name)
    entries = Dictionary(header.entries.map { ($0.name, $0) }) { first, _ in first }
  }

  /// Opens the weights in a model's folder: `model.safetensors`, or the files listed in
  /// `model.safetensors.index.json`, all of which must lie in the folder itself.
  ///
  /// - Throws: `FileError` when a file is missing or wrong, when a tensor is in two files, or when a file lacks a tensor
  ///   the index says it has.
  public init(folder: String) throws {
    let single = folder + "/model.safetensors"
    let index = folder + "/model.safetensors.index.json"
    guard !isFile(single), isFile(index) else {
      guard isFile(single) else {
        throw FileError(folder, "holds neither 'model.safetensors' nor 'model.safetensors.index.json'")
      }
      self = try Safetensors(single)
      return
    }
    let shards = try ShardIndex(index)
    var metadata: [String: String] = [:]
    var names: [String] = []
    var entries: [String: TensorEntry] = [:]
    for shard in shards.files {
      let part = try Safetensors("\(folder)/\(shard)")
      metadata.merge(part.metadata) { first, _ in first }
      for (name, entry) in part.entries {
        if let other = entries.updateValue(entry, forKey: name) {
          throw FileError(part.path, at: "tensor \(quoted(name))", "is also in file \(quoted(other.file.path))")
        }
      }
      names += part.names
    }
    try shards.check(entries)
    path = folder
    self.metadata = metadata
    self.names = names
    self.entries = entries
  }

  /// The tensor of this name, if there is one.
  public subscript(_ name: String) -> TensorEntry? { entries[name] }
}
