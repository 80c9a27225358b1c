import Adapters
import Files
import Networks
import Quantizing

/// What can be refused before a model is packed.
extension QuantizationPlan {
  /// Refuses layers to be skipped that are not there, and a plan that skips all.
  ///
  /// - Throws: a `QuantizationError` naming the entry, with the nearest name there is.
  func checkSkips(of model: any TextNetwork) throws {
    var copy = model, all: [String] = []
    copy.forEachLinear { name, _ in all.append(name) }
    // A head that shares its matrix with the table has no layer of its own, and is not packed either way.
    all.append(model.headName)
    for entry in skip where !all.contains(where: { $0.isNamed(entry) }) {
      let ends = Set(
        all.flatMap { name in
          let parts = name.split(separator: ".")
          return parts.indices.map { parts[$0...].joined(separator: ".") }
        })
      let hint = NearestName.of(entry, among: ends.sorted()).map { "did you mean '\($0)'?" }
      throw QuantizationError(
        "no layer is called \(quoted(entry)), which was to be skipped",
        remedy: hint
          ?? "name a layer or its end, such as '\(ends.filter { !$0.contains(".") && Int($0) == nil }.min() ?? "")'")
    }
    let packed = Self.layers(of: model)
    guard packed.contains(where: { name in !skip.contains { name.isNamed($0) } }) else {
      throw QuantizationError("every layer is to be skipped, so nothing would be packed", remedy: "skip fewer layers")
    }
  }
}

extension QuantizeSettings {
  /// Refuses what cannot be done whatever the model holds: the same for a recipe that is only read.
  ///
  /// - Throws: a `QuantizationError` that says what is missing, or means nothing.
  public func check() throws {
    guard model != nil else {
      throw QuantizationError("no model is named", remedy: "give it as 'model' in the recipe")
    }
    guard output != nil else {
      throw QuantizationError(
        "--output is missing", remedy: "name the folder or .gguf file to write, here or as 'output' in the recipe")
    }
    let plan = try plan()
    try plan.check()
    try plan.check(isCalibrated: calibration != nil)
    for (name, isGiven) in [("--sequences", sequences != nil), ("--length", length != nil)]
    where isGiven && calibration == nil {
      throw QuantizationError(
        "\(name) means nothing without a text", remedy: "give one with --calibration, or leave it out")
    }
    if activationBits != nil, case .outliers = plan.scaling { return }
    guard activationBits == nil else {
      throw QuantizationError(
        "--activation-bits belongs to os+, which is not asked for", remedy: "add --method os+, or leave it out")
    }
  }
}

extension QuantizeJob {
  /// What an error in packing `model` means to its owner: in which file, and what to do.
  static func explained(_ error: any Error, _ model: LoadedModel) -> any Error {
    switch error {
    case let error as LayerError:
      FileError(model.checkpoint.path, at: "layer '\(error.layer)'", error.problem, remedy: error.remedy)
    // What layers read was not finite, though all weights were.
    case let error as GraftError:
      FileError(
        model.checkpoint.path, error.description, remedy: "its numbers are too large to compute with: mend the model")
    default: error
    }
  }
}
