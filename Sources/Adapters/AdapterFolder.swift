import Autodiff
import Files
import Networks

/// An adapter on disk, as PEFT lays it out: `adapter_config.json` and `adapter_model.safetensors`.
public enum AdapterFolder {
  private static let prefix = "base_model.model."

  /// Grafts the adapter in `folder` onto `model`, which must carry none.
  ///
  /// - Throws: a ``FileError`` when a file is missing or malformed, when the file holds a tensor the model has no place
  ///   for or lacks one it needs, and for a plan, shapes or numbers that do not fit.
  @discardableResult
  public static func load(_ folder: String, onto model: inout any TextNetwork) throws -> PEFTConfiguration {
    let path = folder + "/adapter_config.json"
    var configuration = try PEFTConfiguration(json: try JSON.read(path), path: path)
    let tensors = folder + "/adapter_model.safetensors"
    let file = try Safetensors(tensors)
    try giveHead(to: &model, by: file)
    // PEFT names both spellings of a classifier's head, whichever the model has.
    if model is any Classifier {
      configuration.plan.modulesToSave.removeAll { ["classifier", "score"].contains($0) && $0 != model.headName }
    }
    if isPlain(file, configuration.plan, on: model) {
      (configuration.plan.method, configuration.plan.settings.options) = (LoRA.method, [:])
    }
    try graft(configuration, path, tensors, file, onto: &model)
    return configuration
  }

  /// Whether the file holds plain factors though its configuration speaks of groups: PEFT passes over `use_qalora` at
  /// layers that are not packed by GPTQ.
  private static func isPlain(_ file: Safetensors, _ plan: GraftPlan, on model: any TextNetwork) -> Bool {
    guard plan.method == QALoRA.method, plan.settings.options["group"] != "1" else { return false }
    var copy = model, isPlain = false
    copy.forEachLinear { name, layer in
      if file["\(prefix)\(name).lora_A.weight"]?.shape.last == layer.base.inputs { isPlain = true }
    }
    return isPlain
  }

  /// The same for a network of images; one with another number of classes than the file has is given a head for these.
  @discardableResult
  public static func load(_ folder: String, onto model: inout any ImageNetwork) throws -> PEFTConfiguration {
    let path = folder + "/adapter_config.json", tensors = folder + "/adapter_model.safetensors"
    let configuration = try PEFTConfiguration(json: try JSON.read(path), path: path)
    let file = try Safetensors(tensors)
    if let head = file["\(prefix)\(model.headName).weight"], head.shape.count == 2, head.shape[0] > 0,
      head.shape[0] != model.labels.count
    {
      model.setHead(labels: (0..<head.shape[0]).map { "LABEL_\($0)" }, random: RandomKey(seed: 0))
    }
    try graft(configuration, path, tensors, file, onto: &model)
    return configuration
  }

  private static func graft(
    _ configuration: PEFTConfiguration, _ path: String, _ tensors: String, _ file: Safetensors,
    onto model: inout some AdaptableNetwork
  ) throws {
    // What the file does not hold cannot be needed: a rank it does not bear out takes no memory.
    let held = file.names.reduce(0) { $0 + (file[$1]?.count ?? 0) }, bare = model
    do {
      try model.graft(configuration.plan, random: RandomKey(seed: 0), atMost: held)
    } catch let error as GraftError {
      // What is only a little more is made after all, so that the tensor that is missing or too small can be named.
      if error.key == "rank" {
        model = bare
        if (try? model.graft(configuration.plan, random: RandomKey(seed: 0), atMost: 4 * held + 4096)) != nil {
          try restore(tensors, into: &model)
        }
      }
      let isForeign = error.entry != nil || error.key == "layers" || error.key == "rank"
      throw FileError(
        path, error.description, remedy: isForeign ? "check that the adapter belongs to this base" : nil)
    }
    try restore(tensors, into: &model)
  }

  /// Gives a classifier a head of as many classes as the file holds, where its own has not as many.
  private static func giveHead(to model: inout any TextNetwork, by file: Safetensors) throws {
    guard var classifier = model as? any Classifier, let head = file["\(prefix)\(model.headName).weight"],
      head.shape.count == 2, head.shape[0] != classifier.labels.count
    else { return }
    classifier.setHead(labels: (0..<head.shape[0]).map { "LABEL_\($0)" }, random: RandomKey(seed: 0))
    model = classifier
  }

  /// Sets the trainable parameters of `model` from a file that must hold exactly them.
  public static func restore(_ path: String, into model: inout some AdaptableNetwork) throws {
    let file = try Safetensors(path)
    var failure: (any Error)?
    var used: Set<String> = []
    let adapted = model.adaptedLayers
    model.forEachParameter { name, parameter in
      guard parameter.isTrainable, failure == nil else { return }
      do {
        let stored = storedName(name, adapted)
        used.insert(stored)
        let entry = try file.entry(stored)
        guard entry.shape == parameter.value.shape.dimensions else {
          throw FileError(
            path, at: "tensor '\(stored)'",
            "has shape \(described(shape: entry.shape)) but the model needs \(parameter.value.shape); was it trained on another model?"
          )
        }
        let value = Tensor(try entry.floats(), shape: parameter.value.shape)
        guard value.isFinite else {
          throw FileError(path, at: "tensor '\(stored)'", "holds numbers that are not finite")
        }
        parameter.value = value
      } catch { failure = error }
    }
    if let failure { throw failure }
    // PEFT writes an unchanged copy of a table beside an adapter on it.
    if let extra = file.names.first(where: { !used.contains($0) && !$0.hasSuffix(".base_layer.weight") }) {
      throw FileError(
        path, at: "tensor \(quoted(extra))", "has no place in the model",
        remedy: "check that the adapter belongs to this base")
    }
  }

  /// Writes the trainable parameters of `model` and the configuration, each file whole or not at all.
  ///
  /// Each adapter is stored in the form its family says, for the base as it lies on disk.
  public static func save(_ model: any AdaptableNetwork, _ configuration: PEFTConfiguration, to folder: String) throws {
    try Folder.create(folder)
    var stored = configuration
    if model is any Classifier { stored.task = "SEQ_CLS" }
    if let family = Catalogue.linear.first(where: { $0.method == configuration.plan.method }) {
      (stored.plan.method, stored.plan.settings) = family.stored(configuration.plan.settings)
    } else if let family = Catalogue.block.first(where: { $0.method == configuration.plan.method }) {
      stored.plan.settings = family.stored(configuration.plan.settings)
    }
    let json = stored.naming(model.adaptedSites).json
    try AtomicFile.write(json.text(pretty: true) + "\n", to: folder + "/adapter_config.json")
    try saveParameters(of: model.withStoredAdapters, to: folder + "/adapter_model.safetensors")
  }

  /// Writes the trainable parameters of `model` under PEFT's names.
  public static func saveParameters(of model: any AdaptableNetwork, to path: String) throws {
    let adapted = model.adaptedLayers
    let tensors = try model.trainableParameters.map { parameter in
      let (name, value) = (parameter.name, parameter.value)
      guard value.isFinite else {
        throw FileError(path, at: "tensor '\(name)'", "would hold numbers that are not finite")
      }
      return TensorToWrite(name: storedName(name, adapted), floats: value.values, shape: value.shape.dimensions)
    }
    try Safetensors.write(tensors, metadata: ["format": "pt"], to: path)
  }

  /// PEFT's name of a parameter: an adapted layer's own bias stands one level deeper.
  private static func storedName(_ name: String, _ adapted: Set<String>) -> String {
    if name.hasSuffix(".bias"), case let owner = String(name.dropLast(5)), adapted.contains(owner) {
      return prefix + owner + ".base_layer.bias"
    }
    return prefix + name
  }
}

extension AdaptableNetwork {
  /// The same with adapters that are trained in modules merged: what computes outside training, on the same bases.
  public var settled: Self {
    var copy = self
    copy.forEachLinear { _, layer in
      if let modules = layer.adapter as? MoSA { layer.adapter = modules.stored }
    }
    copy.forEachBlock { _, block in block.adapter = block.adapter.map { withoutModules($0) } }
    return copy
  }

  /// The same with every adapter in the form in which it is stored.
  var withStoredAdapters: any AdaptableNetwork {
    var copy = self
    copy.forEachLinear { _, layer in layer.adapter = layer.adapter.map { $0.stored } }
    copy.forEachBlock { _, block in block.adapter = block.adapter.map { withoutModules($0) } }
    return copy
  }

  /// The names of the layers, tables and branches that carry an adapter of the literature.
  fileprivate var adaptedSites: Set<String> {
    var copy = self
    var names = adaptedLayers
    copy.forEachEmbedding { if let adapter = $1.adapter, !(adapter is FullEmbedding) { names.insert($0) } }
    copy.forEachBlock { if $1.adapter != nil { names.insert($0) } }
    copy.forEachConvolution { if $1.adapter != nil { names.insert($0) } }
    return names
  }

  /// The names of the linear layers and convolutions that carry an adapter of the literature.
  var adaptedLayers: Set<String> {
    var copy = self
    var names: Set<String> = []
    copy.forEachLinear { name, layer in
      if let adapter = layer.adapter, !(adapter is Full) { names.insert(name) }
    }
    copy.forEachConvolution { name, layer in
      if let adapter = layer.adapter, !(adapter is FullConvolution) { names.insert(name) }
    }
    return names
  }
}

private func withoutModules(_ adapter: some BlockAdapter) -> any BlockAdapter { adapter.settled }
