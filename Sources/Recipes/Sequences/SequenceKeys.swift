/// What recipes of sequences read beside the keys of a run.
enum SequenceKeys {
  /// Calls `body` for each key of a mapping that is among `known`, and tells of the others.
  static func each(
    _ node: RecipeNode, _ prefix: String, _ known: [String], _ context: inout ReadingContext,
    _ body: (String, RecipeNode, inout ReadingContext) -> Void
  ) {
    guard case .mapping(let pairs) = node.content else {
      context.expected("a mapping", node)
      return
    }
    for pair in pairs {
      guard known.contains(pair.key) else {
        let near = NearestName.of(pair.key, among: known).map { "did you mean '\($0)'?" }
        context.report(
          "'\(prefix)\(pair.key)' is no key of a sequence", at: pair.place,
          hint: near ?? "expected \(known.joined(separator: ", "))")
        continue
      }
      context.key = prefix + pair.key
      body(pair.key, pair.value, &context)
    }
  }

  /// The names in a list, with their places.
  static func names(_ node: RecipeNode, _ context: inout ReadingContext) -> [(text: String, place: Place)] {
    guard case .sequence(let items) = node.content, !items.isEmpty else {
      context.expected("a list of names", node)
      return []
    }
    return items.compactMap { item in
      guard case .scalar(let text, _) = item.content, !text.isEmpty else {
        context.expected("a list of names", item)
        return nil
      }
      return (text, item.place)
    }
  }
}
