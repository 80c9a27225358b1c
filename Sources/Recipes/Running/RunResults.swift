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

  /// Makes the folders they go to: what cannot be made is better known before training.
  ///
  /// - Throws: a `FileError` for a folder that cannot be made.
  static func createFolders(for recipe: Recipe) throws {
    let merged = recipe.merge.flatMap { $0.format == .adapterOnly ? nil : $0.output.path }
    let exported = [recipe.export?.peft?.path, recipe.export?.gguf?.path, recipe.export?.ggufLora?.path]
    for path in ([merged] + exported).compactMap({ $0 }) { try Folder.createParent(of: path) }
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
      try AdapterOutput.write(try AdapterBinding.read(adapter), to: path, try PolyFolder(adapter).write)
      paths.append(path)
    } else if let path = export.peft?.path, let adapter {
      try Folder.replace(path) { temporary in
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
