import Autodiff
import Files
import Networks

/// A run on disk: what it has learned, what its optimiser remembers, and how far it has come.
///
/// `parameters.safetensors`, `optimizer.safetensors`, `state.json`. Nothing else is needed to go on exactly: the order of
/// the data and all random numbers derive from the seed and the step.
public enum TrainingCheckpoint {
  /// Writes the state of `run`, with `extra` entries beside it, whole or not at all.
  public static func save(_ run: TrainingRun, extra: [String: JSON] = [:], to folder: String) throws {
    try Folder.replace(folder) { temporary in
      try write(run.model.trainableParameters.map { ($0.name, $0.value) }, to: temporary + "/parameters.safetensors")
      try write(run.optimizer.memory, to: temporary + "/optimizer.safetensors")
      var state = extra
      state["step"] = .integer(run.step)
      state["optimizer_steps"] = .integer(run.optimizer.steps)
      state["format"] = .integer(1)
      try AtomicFile.write(JSON.object(state).text(pretty: true) + "\n", to: temporary + "/state.json")
    }
  }

  /// Puts `run` where a checkpoint left off and returns what was saved beside it.
  ///
  /// - Throws: a ``FileError`` when a file is missing or malformed, or holds other parameters than the run trains.
  public static func restore(_ run: inout TrainingRun, from folder: String) throws -> JSON {
    let path = folder + "/state.json"
    let state = try JSON.read(path)
    guard state["format"]?.int == 1, let step = state["step"]?.int, let steps = state["optimizer_steps"]?.int,
      step >= 0, steps >= 0
    else { throw FileError(path, "is no checkpoint of this version") }
    let parameters = try read(folder + "/parameters.safetensors")
    let expected = run.model.trainableParameters
    if let extra = Set(parameters.keys).subtracting(expected.map(\.name)).sorted().first {
      throw FileError(folder, at: "tensor '\(extra)'", "is not trained by this run")
    }
    var failure: FileError?
    run.model.forEachParameter { name, parameter in
      guard parameter.isTrainable else { return }
      guard let value = parameters[name], value.shape == parameter.value.shape else {
        failure = failure ?? FileError(folder, at: "tensor '\(name)'", "is missing or of another shape")
        return
      }
      parameter.value = value
    }
    if let failure { throw failure }
    run.optimizer.restore(try read(folder + "/optimizer.safetensors"), steps: steps)
    run.step = step
    return state
  }

  private static func write(_ tensors: [(name: String, value: Tensor)], to path: String) throws {
    try Safetensors.write(
      tensors.map { TensorToWrite(name: $0.name, floats: $0.value.values, shape: $0.value.shape.dimensions) }, to: path)
  }

  private static func read(_ path: String) throws -> [String: Tensor] {
    let file = try Safetensors(path)
    var tensors: [String: Tensor] = [:]
    for name in file.names {
      let entry = try file.entry(name)
      guard entry.shape.count <= 4, entry.shape.allSatisfy({ $0 <= Int(Int32.max) }) else {
        throw FileError(
          path, at: "tensor '\(name)'", "has shape \(described(shape: entry.shape)), which none of a run's has")
      }
      tensors[name] = Tensor(try entry.floats(), shape: Shape(entry.shape))
    }
    return tensors
  }
}
