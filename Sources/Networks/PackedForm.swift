import Files
import Weights

/// How a checkpoint packs its matrices, as the `quantization_config` of its `config.json` says.
protocol PackedForm: Sendable {
  /// The matrix called `name`, such as `model.layers.0.mlp.up_proj.weight`; nil where it is stored plain.
  ///
  /// - Throws: a ``FileError`` when its tensors are missing, or of types or shapes that do not belong together.
  func matrix(_ name: String, rows: Int, columns: Int, in tensors: PackedTensors) throws -> FrozenWeight?
}

/// The tensors of a checkpoint, by the names its form has for them; those asked for count as used.
struct PackedTensors: Sendable {
  let file: Safetensors
  let markUsed: @Sendable (String) -> Void

  /// The tensor of that name.
  func callAsFunction(_ name: String) throws -> TensorEntry {
    markUsed(name)
    return try file.entry(name)
  }

  /// Whether there is one.
  func has(_ name: String) -> Bool { file[name] != nil }

  /// The tensor of that name, which must be of that type and shape.
  func checked(_ name: String, _ type: ElementType, _ shape: [Int]) throws -> TensorEntry {
    let entry = try self(name)
    guard entry.type == type, entry.shape == shape else {
      throw FileError(
        entry.file.path, at: "tensor '\(name)'",
        "is \(entry.type.rawValue) \(described(shape: entry.shape)); expected \(type.rawValue) \(shape)")
    }
    return entry
  }

  /// The numbers of a tensor of that type and shape, such as scales, which must be finite.
  func finite(_ name: String, _ type: ElementType, _ shape: [Int]) throws -> [Float] {
    let values = try checked(name, type, shape).floats()
    if let index = values.firstIndex(where: { !$0.isFinite }) {
      throw FileError(
        file.path, at: "tensor '\(name)'",
        "holds \(values[index].isNaN ? "nan" : "\(values[index])") in place \(index), where only finite numbers belong",
        remedy: "fetch or make the model again")
    }
    return values
  }

  /// Tells at which matrix a layout does not fit.
  func placed<R>(_ name: String, _ body: () throws -> R) throws -> R {
    do { return try body() } catch let error as PackingError {
      throw FileError(file.path, at: "tensor '\(name)'", "\(error)")
    }
  }
}

/// The form that a model's configuration names; nil where its weights are plain.
///
/// - Parameter path: the configuration's file, for messages.
/// - Throws: a ``FileError`` for a form that is not known, or wrongly described.
func packedForm(_ configuration: JSON, path: String) throws -> (any PackedForm)? {
  guard let section = configuration["quantization_config"], section != .null else { return nil }
  let method = section["quant_method"]?.string
  switch method {
  case GraftForm.method: return try GraftForm(section, path: path)
  case GPTQForm.method: return try GPTQForm(section, path: path)
  case AWQForm.method: return try AWQForm(section, path: path)
  case BitsAndBytesForm.method: return try BitsAndBytesForm(section, path: path)
  case MicroscalingForm.method: return MicroscalingForm()
  default:
    throw FileError(
      path, at: "key 'quantization_config.quant_method'", "\(quoted(method ?? "")) is not read",
      remedy:
        "expected \(GraftForm.method), \(GPTQForm.method), \(AWQForm.method), \(BitsAndBytesForm.method) or \(MicroscalingForm.method)"
    )
  }
}
