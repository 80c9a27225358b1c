import Autodiff
import Files
import Networks

/// A plain LoRA adapter on its own, without the model it belongs to: each layer's factors, and PEFT's configuration.
public struct LoRAFolder: Sendable {
  /// Where it was read; empty for one that was made here.
  public let path: String
  /// What its `adapter_config.json` says; ranks and scales are written as the factors have them.
  public var configuration: PEFTConfiguration
  /// The changes of linear layers, by name.
  public var layers: [String: LowRankFactors]
  /// The changes of embedding tables, by name: `A` is `[rank, entries]`, `B` `[width, rank]`, the table's change
  /// (s B A)ᵀ.
  public var tables: [String: LowRankFactors]

  private static let prefix = "base_model.model."

  /// An adapter of the given changes.
  public init(
    _ configuration: PEFTConfiguration, layers: [String: LowRankFactors], tables: [String: LowRankFactors] = [:]
  ) {
    (path, self.configuration, self.layers, self.tables) = ("", configuration, layers, tables)
  }

  /// Reads the adapter in `folder`.
  ///
  /// - Throws: a ``FileError`` when it is no plain LoRA, also learned whole modules or biases of its base, or its
  ///   tensors are malformed.
  public init(_ folder: String) throws {
    let path = folder + "/adapter_config.json"
    configuration = try PEFTConfiguration(json: try JSON.read(path), path: path)
    let plan = configuration.plan
    guard plan.method == LoRA.method else {
      throw FileError(
        path, "is of type '\(plan.method)', not plain LoRA", remedy: "turn it into plain LoRA first: graft convert")
    }
    guard plan.bias == .none, plan.modulesToSave.isEmpty else {
      throw FileError(
        path, at: plan.bias == .none ? "key 'modules_to_save'" : "key 'bias'",
        "the adapter also holds weights of its base, which are no low-rank change")
    }
    self.path = folder
    (layers, tables) = try Self.read(folder + "/adapter_model.safetensors", plan.settings)
  }

  private static func read(
    _ path: String, _ settings: AdapterSettings
  ) throws -> ([String: LowRankFactors], [String: LowRankFactors]) {
    let file = try Safetensors(path)
    var layers: [String: LowRankFactors] = [:], tables: [String: LowRankFactors] = [:]
    for stored in file.names {
      func error(_ problem: String) -> FileError { FileError(path, at: "tensor '\(stored)'", problem) }
      // PEFT writes an unchanged copy of a table beside an adapter on it.
      if stored.hasSuffix(".base_layer.weight") { continue }
      guard stored.hasPrefix(prefix), let (site, part) = parts(stored) else {
        throw error("is no factor of a plain LoRA")
      }
      let isTable = part.contains("embedding")
      let (first, second) = isTable ? ("lora_embedding_A", "lora_embedding_B") : ("lora_A.weight", "lora_B.weight")
      let name = prefix + site + "."
      let a = try tensor(file, name + first, axes: 2), b = try tensor(file, name + second, axes: 2)
      let bias = file[name + "lora_B.bias"] == nil ? nil : try tensor(file, name + "lora_B.bias", axes: 1)
      guard a.shape[0] == b.shape[1], bias.map({ $0.count == b.shape[0] }) ?? true else {
        throw error("\(a.shape) and \(b.shape) are no pair of factors")
      }
      guard a.shape[0] == settings.rank(at: site) else {
        throw error("has rank \(a.shape[0]), but adapter_config.json says \(settings.rank(at: site)) for this layer")
      }
      let factors = LowRankFactors(a: a, b: b, scale: settings.scale(at: site), bias: bias)
      if isTable { tables[site] = factors } else { layers[site] = factors }
    }
    guard !layers.isEmpty || !tables.isEmpty else { throw FileError(path, "holds no adapter") }
    return (layers, tables)
  }

  /// The layer and the factor that a tensor's name tells.
  private static func parts(_ stored: String) -> (site: String, part: String)? {
    for part in ["lora_A.weight", "lora_B.weight", "lora_B.bias", "lora_embedding_A", "lora_embedding_B"]
    where stored.hasSuffix("." + part) {
      return (String(stored.dropFirst(prefix.count).dropLast(part.count + 1)), part)
    }
    return nil
  }

  private static func tensor(_ file: Safetensors, _ name: String, axes: Int) throws -> Tensor {
    let entry = try file.entry(name)
    guard entry.shape.count == axes, entry.count > 0 else {
      throw FileError(file.path, at: "tensor '\(name)'", "has shape \(entry.shape), where \(axes) axes are expected")
    }
    let value = Tensor(try entry.floats(), shape: Shape(entry.shape))
    guard value.isFinite else {
      throw FileError(file.path, at: "tensor '\(name)'", "holds numbers that are not finite")
    }
    return value
  }

  /// Writes `adapter_config.json` and `adapter_model.safetensors` into `folder`, each whole or not at all.
  ///
  /// - Throws: a ``FileError`` when a number is not finite, or a file cannot be written.
  public func write(to folder: String) throws {
    var stored = configuration.naming(Array(layers.keys) + tables.keys)
    stored.plan.settings = settings
    let hasBias = stored.plan.settings.hasBias
    var tensors: [TensorToWrite] = []
    func add(_ name: String, _ value: Tensor) throws {
      guard value.isFinite else {
        throw FileError(folder, at: "tensor '\(name)'", "would hold numbers that are not finite")
      }
      tensors.append(
        TensorToWrite(name: Self.prefix + name, floats: value.values, shape: value.shape.dimensions))
    }
    for (name, change) in layers.sorted(by: { $0.key < $1.key }) {
      try add(name + ".lora_A.weight", change.a)
      try add(name + ".lora_B.weight", change.b)
      if hasBias { try add(name + ".lora_B.bias", change.bias ?? .zeros([change.b.shape[0]])) }
    }
    for (name, change) in tables.sorted(by: { $0.key < $1.key }) {
      try add(name + ".lora_embedding_A", change.a)
      try add(name + ".lora_embedding_B", change.b)
    }
    try Folder.create(folder)
    try AtomicFile.write(stored.json.text(pretty: true) + "\n", to: folder + "/adapter_config.json")
    try Safetensors.write(tensors, metadata: ["format": "pt"], to: folder + "/adapter_model.safetensors")
  }

  /// The ranks and scales of the factors: those of most layers, and patterns for the others.
  ///
  /// Patterns are whole names, so that it does not matter which of several a reader tries first.
  private var settings: AdapterSettings {
    var settings = configuration.plan.settings
    settings.isRankStabilised = false
    settings.hasBias = layers.values.contains { $0.bias != nil }
    (settings.rankPattern, settings.alphaPattern) = ([:], [:])
    let all = layers.merging(tables) { first, _ in first }
    func alpha(_ change: LowRankFactors) -> Double { Double(change.scale) * Double(change.rank) }
    settings.rank = Self.commonest(all.values.map(\.rank)) ?? settings.rank
    settings.alpha = Self.commonest(all.values.map(alpha)) ?? settings.alpha
    for (name, change) in all {
      if change.rank != settings.rank { settings.rankPattern[name] = change.rank }
      if alpha(change) != settings.alpha { settings.alphaPattern[name] = alpha(change) }
    }
    return settings
  }

  private static func commonest<Value: Hashable & Comparable>(_ values: [Value]) -> Value? {
    Dictionary(values.map { ($0, 1) }, uniquingKeysWith: +).max { ($0.value, $0.key) < ($1.value, $1.key) }?.key
  }
}
