import Recipes

extension LoadedModel {
  /// The model at `path`, with an adapter where one is given, as the given task sees it; refused where it is to be folded
  /// and cannot be.
  init(_ path: String, adapter: String?, task: String?, anyBase: Bool, folds: Bool = false) throws {
    guard adapter != nil || task == nil else { throw UsageError(description: "--task belongs to --adapter") }
    try self.init(path)
    guard let adapter else { return }
    let configuration = try attach(adapter, anyBase: anyBase, task: task), plan = configuration.plan
    if !anyBase, let doubt = try doubt(configuration, of: adapter) { Console.error(doubt) }
    if folds && task == nil { try plan.requireFolding() }
  }
}
