import Recipes

extension LoadedModel {
  /// The model at `path`, with an adapter where one is given, as the given task sees it.
  init(_ path: String, adapter: String?, task: String?, anyBase: Bool) throws {
    guard adapter != nil || task == nil else { throw UsageError(description: "--task belongs to --adapter") }
    try self.init(path)
    if let adapter { try attach(adapter, anyBase: anyBase, task: task) }
  }
}
