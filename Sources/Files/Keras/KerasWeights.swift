/// The weights of a Keras model in an HDF5 file, as they are stored: kernels `[height, width, inputs, outputs]`, dense
/// matrices `[inputs, outputs]`. ``KernelLayout`` turns kernels round.
///
/// Two layouts are read. Models and weights in the older one (`.h5`, still what Keras 3 writes under that name) list their
/// layers and each layer's weights; names are those below `model_weights`, as in `conv2d/conv2d/kernel:0` or, of a model
/// in a model, `mobilenetv2/block_1_expand/kernel`. Files of weights in the newer one (`.weights.h5`) are groups in groups
/// with numbered variables, as in `layers/conv2d/vars/0`; any other HDF5 file is read in the same way. The state of an
/// optimiser is left out.
///
/// The structure of the file is read by the HDF5 library, and versions of it that are in use crash on structures damaged
/// on purpose. Files of its newer form, which Keras does not write, truncated ones and damaged texts are refused before it
/// sees them, and nothing of a file is ever run; still, a file from an unknown source deserves a comparison of digests, or
/// a process of its own: see ``HDF5Trial``.
public struct KerasWeights: NamedArrays {
  /// A layer, and the names of its arrays in the order in which Keras made them.
  public struct Layer: Sendable, Equatable {
    /// The layer's own name.
    public let name: String
    /// The arrays, by their names in this file.
    public let arrays: [String]
  }

  /// The file, as the caller named it.
  public let path: String

  /// The arrays' names, layer after layer.
  public let names: [String]

  /// The layers in the model's order, those without weights too; of the newer layout, which does not say it, by name.
  public let layers: [Layer]

  /// The version of Keras that wrote the file, where it says so.
  public let version: String?

  private let text: String?
  private let entries: [String: HDF5Entry]

  /// Opens one file.
  ///
  /// - Throws: `FileError` when it is missing or damaged, a listed array is missing, or one leads out of the file.
  public init(_ path: String) throws {
    try HDF5Heaps.check(path)
    let reader = try HDF5Reader(path)
    self.path = path
    text = try reader.texts("model_config", at: "").map { $0.joined() }
    let root = reader.has("model_weights") ? "model_weights" : ""
    var survey = KerasSurvey(reader)
    if let listed = try reader.texts("layer_names", at: root) {
      try survey.read(listed, under: root)
      version = try reader.texts("keras_version", at: root)?.first
    } else {
      try survey.walk()
      version = nil
    }
    guard !survey.names.isEmpty else { throw FileError(path, "holds no arrays") }
    (layers, names, entries) = (survey.layers, survey.names, survey.entries)
  }

  /// The version and the number of layers.
  public var note: String? {
    (version.map { "Keras \($0)" } ?? "HDF5") + ", \(layers.count) layers"
      + (text == nil ? "" : ", with a configuration")
  }

  /// The array of this name, if there is one.
  public subscript(_ name: String) -> HDF5Entry? { entries[name] }

  /// What the model is made of, as Keras describes it; nil in a file of weights alone.
  ///
  /// - Throws: `FileError` when the description is not JSON.
  public func configuration() throws -> JSON? {
    do { return try text.map { try JSON(parsing: $0, path: path) } } catch let error as FileError {
      throw FileError(path, at: "attribute 'model_config'", error.problem, remedy: error.remedy)
    }
  }
}

/// Finds the arrays of a file.
private struct KerasSurvey {
  private(set) var layers: [KerasWeights.Layer] = []
  private(set) var names: [String] = []
  private(set) var entries: [String: HDF5Entry] = [:]
  private let reader: HDF5Reader
  private var visits = 0

  /// How deep groups may lie in one another: a group may be a member of itself.
  private static let depth = 24

  init(_ reader: HDF5Reader) { self.reader = reader }

  private mutating func add(_ place: String, called name: String) throws {
    guard entries.updateValue(try reader.array(place, called: name), forKey: name) == nil else {
      throw FileError(reader.path, at: "dataset \(quoted(place))", "is listed twice")
    }
    names.append(name)
    guard names.count <= HDF5Reader.mostMembers else {
      throw FileError(reader.path, "holds more than \(HDF5Reader.mostMembers) arrays")
    }
  }

  /// The older layout: layers are listed at `root`, and at each layer's group its weights.
  mutating func read(_ listed: [String], under root: String) throws {
    func whole(_ name: String) -> String { root.isEmpty ? name : root + "/" + name }
    var listed = listed
    // Weights of the model itself, which belong to none of its layers.
    let own = "top_level_model_weights"
    if reader.has(whole(own)) { listed.append(own) }
    for layer in listed {
      guard let weights = try reader.texts("weight_names", at: whole(layer)) else {
        throw FileError(reader.path, at: "group \(quoted(whole(layer)))", "does not list its weights")
      }
      if layer == own, weights.isEmpty { continue }
      let arrays = weights.map { "\(layer)/\($0)" }
      for array in arrays { try add(whole(array), called: array) }
      layers.append(KerasWeights.Layer(name: layer, arrays: arrays))
    }
  }

  /// The newer layout, or any other: all datasets, in the order of their names.
  mutating func walk(_ group: String = "", _ depth: Int = 0) throws {
    visits += 1
    guard depth <= Self.depth, visits <= HDF5Reader.mostMembers else {
      throw FileError(
        reader.path, at: "group \(quoted(group))", "is nested deeper than \(Self.depth), or one of too many groups")
    }
    var arrays: [String] = []
    for (name, isGroup) in try reader.members(of: group) {
      if group.isEmpty, name == "optimizer" || name == "optimizer_weights" { continue }
      let whole = group.isEmpty ? name : group + "/" + name
      if isGroup {
        try walk(whole, depth + 1)
      } else {
        try add(whole, called: whole)
        arrays.append(whole)
      }
    }
    guard !arrays.isEmpty else { return }
    layers.append(KerasWeights.Layer(name: try reader.texts("name", at: group)?.first ?? group, arrays: arrays))
  }
}
