import Files

/// A model as it lies on disk: a Hugging Face folder, or a GGUF file that carries everything itself.
public struct Checkpoint: Sendable {
  /// The folder or file.
  public let path: String
  /// What it is.
  public let form: Form

  /// The forms a model can have on disk.
  public enum Form: Sendable {
    /// A folder with `config.json` and safetensors.
    case folder(configuration: JSON)
    /// One GGUF file.
    case gguf(GGUF)
  }

  /// Opens the model at `path`, reading headers only.
  ///
  /// - Throws: a ``FileError`` when nothing is there, or what is there is no model.
  public init(_ path: String) throws {
    self.path = path
    if Folder.isFolder(path) {
      let configuration = path + "/config.json"
      guard Folder.exists(configuration) else {
        throw FileError(
          path, "holds no config.json",
          remedy: "expected a Hugging Face folder with config.json, *.safetensors, tokenizer.json")
      }
      form = .folder(configuration: try JSON.read(configuration))
    } else if Folder.exists(path) {
      form = .gguf(try GGUF(path))
    } else {
      throw FileError(path, "is not there", remedy: "expected a Hugging Face folder or a .gguf file")
    }
  }

  /// The architecture, as the model names it.
  public var architecture: String {
    switch form {
    case .folder(let configuration): configuration["model_type"]?.string ?? "unknown"
    case .gguf(let file): file.metadata["general.architecture"]?.string ?? "unknown"
    }
  }

  /// The model, its weights in the packing they have on disk and mapped rather than read.
  ///
  /// - Throws: a ``FileError`` when the architecture is not known, or weights are missing, left over or of other shapes.
  public func model() throws -> any TextNetwork {
    switch form {
    case .folder(let configuration):
      let source = try SafetensorsSource(folder: path, configuration: configuration)
      let file = path + "/config.json"
      let model: any TextNetwork
      if architecture == "gpt2" {
        model = try GPT2(GPT2Configuration(json: configuration, path: file), from: source)
      } else if LlamaConfiguration.families.contains(architecture) {
        model = try Llama(LlamaConfiguration(json: configuration, path: file), from: source)
      } else if architecture == "bert" {
        model = try Bert(BertConfiguration(json: configuration, path: file), from: source)
        // Heads of pre-training, and a buffer of positions that older files carry.
        source.ignore(where: { $0.hasPrefix("cls.") || $0.hasSuffix("embeddings.position_ids") })
      } else {
        let known = (LlamaConfiguration.families + ["gpt2", "bert"]).joined(separator: ", ")
        throw FileError(
          file, at: "key 'model_type'", "\(quoted(architecture)) is not supported; expected one of \(known)")
      }
      if model.tiesHead { source.ignore("lm_head.weight") }
      try source.requireAllUsed(by: architecture)
      return model
    case .gguf(let file):
      let configuration = try LlamaConfiguration(gguf: file)
      let source = GGUFSource(file, configuration)
      let model = try Llama(configuration, from: source)
      try source.requireAllUsed(by: architecture)
      return model
    }
  }
}
