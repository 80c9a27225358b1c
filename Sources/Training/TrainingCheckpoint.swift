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
      step >= 0, (0...step).contains(steps)
    else { throw FileError(path, "is no checkpoint of this version") }
    guard step <= run.totalSteps else {
      throw FileError(path, "was written after step \(step), but the run has \(run.totalSteps)")
    }
    let parameters = try read(folder + "/parameters.safetensors")
    let expected = run.model.trainableParameters
    if let extra = Set(parameters.keys).subtracting(expected.map(\.name)).sorted().first {
      throw FileError(folder, at: "tensor \(quoted(extra))", "is not trained by this run")
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
    let memory = folder + "/optimizer.safetensors", remembered = try read(memory)
    try check(remembered, against: expected, memory)
    run.optimizer.restore(remembered, steps: steps)
    run.step = step
    return state
  }

  /// Refuses what an optimiser could not remember: its steps trust that the shapes are those of the parameters.
  private static func check(
    _ memory: [String: Tensor], against parameters: [TrainableParameter], _ path: String
  ) throws {
    let shapes = Dictionary(parameters.map { ($0.name, $0.value.shape) }) { first, _ in first }
    for (name, value) in memory.sorted(by: { $0.key < $1.key }) {
      // An optimiser with more than one memory puts a word and a point in front of the parameter's name.
      let owner = shapes[name] ?? shapes[String(name.drop { $0 != "." }.dropFirst())]
      guard value.shape == owner else {
        throw FileError(
          path, at: "tensor \(quoted(name))", "has shape \(value.shape), which no parameter of that name has")
      }
    }
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
