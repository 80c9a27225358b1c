import Adapters
import Files
import Networks

/// Turning an adapter of any family into plain LoRA, which every tool reads, or one that routes by task into PEFT's Poly.
public struct ConvertJob: Sendable {
  /// The largest rank of a layer; nil for the factors' own, or the adapter's.
  public var rank: Int?
  /// The base, needed by families whose change depends on it.
  public var base: String?
  /// The task whose change is wanted, for families that have one a task.
  public var task: String?
  /// Whether a base of another digest is accepted.
  public var anyBase = false
  /// Whether an adapter that is at the output already may be replaced.
  public var overwrites = false

  /// A job without a base.
  public init() {}

  /// Reads the adapter in `folder`, converts it and writes the result, whole or not at all.
  ///
  /// - Throws: a ``FileError`` when the base is needed and missing, or is another; a ``GraftError`` for what plain LoRA
  ///   cannot hold.
  public func write(_ folder: String, to output: String) throws -> ConversionReport {
    let output = try AdapterOutput.checked(output, overwrites: overwrites)
    let path = folder + "/adapter_config.json"
    let plan = try PEFTConfiguration(json: try JSON.read(path), path: path).plan
    let context = try context(plan, path)
    let (adapter, report) = try converted(folder, plan, path, context)
    try AdapterOutput.write(try AdapterBinding.read(folder), to: output, adapter.write)
    return report
  }

  /// Reads the routed adapter in `folder` and writes it in the form of PEFT's Poly, whole or not at all; its base is not
  /// needed. Returns what was written.
  ///
  /// - Throws: a ``FileError`` when it is no routed adapter, or one that PEFT's Poly has no place for.
  public func writePoly(_ folder: String, to output: String) throws -> PolyFolder {
    let output = try AdapterOutput.checked(output, overwrites: overwrites)
    let adapter = try PolyFolder(folder)
    try AdapterOutput.write(try AdapterBinding.read(folder), to: output, adapter.write)
    return adapter
  }

  private func converted(
    _ folder: String, _ plan: GraftPlan, _ path: String, _ context: Context
  ) throws -> (adapter: LoRAFolder, report: ConversionReport) {
    if plan.method == LoRA.method, plan.modulesToSave.isEmpty { return try LoRAFolder(folder).converted(atMost: rank) }
    guard let base else {
      throw FileError(
        path,
        "what '\(plan.method)'\(plan.modulesToSave.isEmpty ? "" : " with modules_to_save") changes depends on the base",
        remedy: "name the model it was trained on with --base")
    }
    var model = try LoadedModel(base)
    let configuration = try model.attach(folder, anyBase: anyBase)
    return try model.network.convertedToLoRA(configuration, atMost: rank, context)
  }

  private func context(_ plan: GraftPlan, _ path: String) throws -> Context {
    guard let task else { return Context() }
    guard let index = plan.settings.task(named: task) else {
      let known = plan.settings.tasks
      throw FileError(
        path, "knows no task '\(task)'\(known.isEmpty ? "" : "; expected one of \(known.joined(separator: ", "))")")
    }
    return Context(task: index)
  }
}

extension ConversionReport {
  /// A line a layer, and one for all.
  public var text: String {
    var lines = layers.map { layer in
      "  \(layer.name)  rank \(layer.rank)  " + (layer.isExact ? "exact" : "relative error \(number(layer.error))")
    }
    let exact = layers.count(where: \.isExact)
    lines.append("\(layers.count) layers, \(exact) exact; relative error \(number(error)) in total")
    return lines.joined(separator: "\n")
  }
}

extension PolyFolder {
  /// What was written, in a line.
  public var text: String {
    let settings = configuration.plan.settings
    let (skills, heads) = (settings.options["skills"] ?? "8", settings.options["heads"] ?? "1")
    let inventory = "\(skills) skills of rank \(settings.rank) in \(heads) heads"
    return "\(layerCount) layers: \(inventory), for \(settings.tasks.count) tasks"
  }
}
