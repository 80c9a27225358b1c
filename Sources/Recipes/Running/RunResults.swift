import Adapters
import Autodiff
import Files
import Networks
import Text
import Weights

/// The files a recipe asks for besides the adapter itself.
struct RunResults {
  private let plan: RunPlan
  private let trained: LoadedModel
  private let adapter: String?

  init(_ plan: RunPlan, _ trained: LoadedModel, adapter: String?) {
    (self.plan, self.trained, self.adapter) = (plan, trained, adapter)
  }

  /// Looks at the places they go to: what may not be replaced is better known before training.
  ///
  /// - Parameter base: the model's folder or file.
  /// - Returns: the places.
  /// - Throws: a ``RecipeError`` for what may not be replaced.
  @discardableResult
  static func checkPlaces(for recipe: Recipe, base: String) throws -> [String] {
    var places: [String] = []
    func check(_ key: String, _ path: String?, isFile: Bool? = nil) throws {
      guard let path else { return }
      places.append(path)
      do { _ = try ModelOutput(path, sources: [base], isFile: isFile) } catch let error as OutputError {
        let problem = recipe.problem(key, "'\(displayed(error.path))' \(error.problem)", hint: error.remedy)
        throw RecipeError([problem], path: recipe.origin)
      }
    }
    try check("merge.output", recipe.merge.flatMap { $0.format == .adapterOnly ? nil : $0.output.path })
    try check("export.gguf", recipe.export?.gguf?.path, isFile: true)
    try check("export.gguf_lora", recipe.export?.ggufLora?.path, isFile: true)
    if let path = recipe.export?.peft?.path { places.append(try adapterFolder(path)) }
    return places
  }

  /// Looks at the places they go to, and makes the folders these lie in.
  ///
  /// - Throws: what ``checkPlaces(for:base:)`` does, a `FileError` for a folder that cannot be made.
  static func createFolders(for recipe: Recipe, base: String) throws {
    for path in try checkPlaces(for: recipe, base: base) { try Folder.createParent(of: path) }
  }

  /// The folder of an exported adapter, which replaces no more than another adapter.
  private static func adapterFolder(_ path: String) throws -> String {
    try AdapterOutput.checked(path, overwrites: true)
  }

  /// Writes them, each proved by reading it back, and returns their paths and the merge's report.
  func write(_ say: (String) -> Void) throws -> (paths: [String], merge: MergeReport?) {
    var paths: [String] = []
    var report: MergeReport?
    let recipe = plan.recipe
    if let merge = recipe.merge, merge.format != .adapterOnly {
      var job = MergeJob(format: merge.format == .full ? .full : .requantize)
      job.raise = try merge.raise.map(Packing.init(parsing:))
      job.bounds.maxDivergence = merge.verify.maxKL
      job.bounds.minAgreement = merge.verify.minTop1Agreement
      job.bounds.minSurvival = merge.verify.minSurvival
      let result = try job.write(trained, to: merge.output.path, probe: try probe())
      say(result.text)
      report = result
      paths.append(merge.output.path)
    }
    guard let export = recipe.export else { return (paths, report) }
    if let path = export.peft?.path, let adapter, plan.configuration.plan.method == MHR.method {
      let binding = try AdapterBinding.read(adapter)
      try AdapterOutput.write(binding, to: try Self.adapterFolder(path), try PolyFolder(adapter).write)
      paths.append(path)
    } else if let path = export.peft?.path, let adapter {
      try Folder.replace(try Self.adapterFolder(path)) { temporary in
        for name in Folder.names(in: adapter) {
          let file = try MappedFile(adapter + "/" + name)
          try AtomicFile.write(temporary + "/" + name) { try $0.write(file.bytes) }
        }
      }
      paths.append(path)
    }
    if let path = export.gguf?.path {
      let folded = try trained.folded(.full)
      let type = export.ggufType == .keep ? nil : try Packing(parsing: export.ggufType.rawValue)
      try GGUFExport.write(folded.network, of: trained, type: type, to: path)
      paths.append(path)
    }
    if let path = export.ggufLora?.path {
      try GGUFExport.writeAdapter(trained.network, of: trained, to: path)
      paths.append(path)
    }
    return (paths, report)
  }

  /// What merged and unmerged model are compared on: the prompts of the recipe, or held-out examples.
  private func probe() throws -> [[Int32]] {
    if let path = plan.recipe.merge?.verify.prompts?.path {
      return try ProbeText.sequences(path, for: trained)
    }
    return ProbeText.limited((plan.data.heldOut.isEmpty ? plan.data.train : plan.data.heldOut).map(\.ids))
  }
}
