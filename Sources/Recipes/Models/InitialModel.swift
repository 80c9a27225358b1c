import Autodiff
import Files
import Networks
import Text

/// A Llama that starts from nothing: every weight drawn from the seed.
struct InitialModel {
  let recipe: Recipe
  let shape: Recipe.Initial

  /// Writes the model as a Hugging Face folder and returns the folder; the same seed and shape give the same bytes.
  ///
  /// - Throws: a ``RecipeError`` when memory cannot hold it, a ``FileError`` when the tokenizer cannot be read or the
  ///   folder not be written.
  func write(to folder: String) throws -> String {
    let source = Folder.isFolder(shape.tokenizer.path) ? shape.tokenizer.path : parent(of: shape.tokenizer.path)
    let vocabulary = try Tokenizer.read(source + "/tokenizer.json").vocabularySize
    let count = shape.parameterCount(vocabulary: vocabulary)
    guard count <= recipe.memoryLimit / 4 else {
      throw RecipeError(
        [
          recipe.problem(
            "model.init.hidden_size",
            "a model of this shape has \(count) weights, which take more than the \(megabytes(recipe.memoryLimit)) there are",
            hint: "make it smaller")
        ], path: recipe.origin)
    }
    let configuration = configuration(vocabulary: vocabulary)
    let network = try Llama(
      LlamaConfiguration(json: configuration, path: "model.init"),
      from: RandomWeights(RandomKey(seed: UInt64(bitPattern: Int64(recipe.seed)))["model"]))
    try Folder.create(folder)
    for name in ["tokenizer.json", "tokenizer_config.json"] where Folder.exists(source + "/" + name) {
      try AtomicFile.write(try TextFile.read(source + "/" + name), to: folder + "/" + name)
    }
    try AtomicFile.write(configuration.text(pretty: true) + "\n", to: folder + "/config.json")
    try Safetensors.write(
      try ModelFolderExport.tensors(of: network), metadata: ["format": "pt"], to: folder + "/model.safetensors")
    return folder
  }

  private func parent(of path: String) -> String {
    path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
  }

  private func configuration(vocabulary: Int) -> JSON {
    .object([
      "architectures": .array([.string("LlamaForCausalLM")]), "model_type": .string("llama"),
      "vocab_size": .integer(vocabulary), "hidden_size": .integer(shape.hiddenSize),
      "intermediate_size": .integer(shape.intermediateSize), "num_hidden_layers": .integer(shape.hiddenLayers),
      "num_attention_heads": .integer(shape.attentionHeads), "num_key_value_heads": .integer(shape.keyValueHeads),
      "max_position_embeddings": .integer(shape.maxPositionEmbeddings),
      "rms_norm_eps": .number(shape.rmsNormEpsilon), "rope_theta": .number(shape.ropeTheta),
      "tie_word_embeddings": .bool(shape.tieWordEmbeddings), "hidden_act": .string("silu"),
      "torch_dtype": .string("float32"),
    ])
  }
}
