import Files
import Networks

// Which layers, tables, branches and parameters a plan names.
extension AdaptableNetwork {
  /// What the plan names.
  ///
  /// - Throws: a ``GraftError`` for an entry that matches nothing, with the nearest name.
  func choose(_ plan: GraftPlan) throws -> Choice {
    var copy = self
    var linears: [String] = [], tables: [String] = [], filters: [String] = [], parameters: [String] = []
    copy.forEachLinear { name, _ in linears.append(name) }
    copy.forEachEmbedding { name, _ in tables.append(name) }
    copy.forEachConvolution { name, _ in filters.append(name) }
    copy.forEachParameter { name, _ in parameters.append(name) }
    var choice = Choice()
    // Full fine-tuning of all there is: head, tables, norms and biases too.
    if plan.method == Full.method, plan.targets == .allLinear, plan.layers == .all {
      choice.learnsAll = true
      (choice.linears, choice.embeddings, choice.convolutions) = (linears, tables, filters)
      choice.matches = [("everything", linears.count + tables.count + filters.count)]
      return choice
    }
    for entry in plan.modulesToSave {
      let all = linears + tables + filters + parameters.map(moduleName)
      var modules = all.filter { GraftPlan.Targets.ends($0, entry) }
      // A module of several layers, as a head behind a flattening is.
      if modules.isEmpty { modules = all.filter { isInside($0, entry) } }
      guard !modules.isEmpty else { throw unmatched("modules_to_save", entry, among: linears + tables, "modules") }
      choice.saved.formUnion(modules)
    }
    // Nothing but what learns whole, as an output layer on a frozen body.
    if plan.targets == .names([]), !choice.saved.isEmpty { return choice }
    let wanted = try blocks(plan.layers, linears)
    if Catalogue.block.contains(where: { $0.method == plan.method }) {
      return try chooseBlocks(plan, wanted, choice)
    }
    if !Catalogue.linear.contains(where: { $0.method == plan.method }) {
      return try chooseConvolutions(plan, wanted, choice)
    }
    let (isTarget, isExcluded) = (
      try plan.targets.matcher("target_modules", head: headName),
      try plan.excluded?.matcher("exclude_modules", head: headName)
    )
    func isChosen(_ name: String) -> Bool {
      guard isTarget(name), !choice.saved.contains(name), isExcluded?(name) != true else { return false }
      return isIn(wanted, name)
    }
    choice.linears = linears.filter(isChosen)
    if plan.targets != .allLinear {
      choice.embeddings = tables.filter(isChosen)
      if Catalogue.convolution.contains(where: { $0.method == plan.method }) {
        choice.convolutions = filters.filter(isChosen)
      }
    }
    let chosen = choice.linears + choice.embeddings + choice.convolutions
    try checkEmbeddings(choice.embeddings, plan)
    switch plan.targets {
    case .names(let entries):
      for entry in entries {
        let count = chosen.filter { GraftPlan.Targets.ends($0, entry) }.count
        guard count > 0 else {
          if !filters.isEmpty, !Catalogue.convolution.contains(where: { $0.method == plan.method }) {
            guard !filters.contains(where: { GraftPlan.Targets.ends($0, entry) }) else {
              throw GraftError(
                "adapter type '\(plan.method)' has no form for convolutions, which target_modules entry \(quoted(entry)) names",
                key: "target_modules", entry: entry)
            }
            throw unmatched("target_modules", entry, among: linears + tables, "linear layers")
          }
          let kinds = filters.isEmpty ? "linear layers" : "linear layers and convolutions"
          throw unmatched("target_modules", entry, among: linears + tables + filters, kinds)
        }
        choice.matches.append((entry, count))
      }
    case .pattern(let pattern): choice.matches = [(pattern, chosen.count)]
    case .allLinear: choice.matches = [("all-linear", choice.linears.count)]
    }
    guard !chosen.isEmpty else {
      let names = linears.prefix(7).joined(separator: ", ") + (linears.count > 7 ? ", …" : "")
      let filter = filters.first.map { String($0.split(separator: ".").last ?? "") }
      let hint = filter.map { "; its \(filters.count) convolutions are named in target_modules, as in [\($0)]" } ?? ""
      throw GraftError("the targets match none of the model's \(linears.count) linear layers (\(names))\(hint)")
    }
    return choice
  }

  /// A family of blocks stands around feed-forward branches, unless the targets name others.
  private func chooseBlocks(_ plan: GraftPlan, _ wanted: Set<Int>?, _ choice: Choice) throws -> Choice {
    var choice = choice, copy = self
    var names: [String] = []
    copy.forEachBlock { name, _ in names.append(name) }
    let isTarget = try plan.targets.matcher("target_modules", head: headName)
    choice.blocks = names.filter { name in
      let isNamed = plan.targets == .allLinear ? name.hasSuffix("mlp") : isTarget(name)
      return isNamed && isIn(wanted, name)
    }
    guard !names.isEmpty else {
      throw GraftError(
        "adapter type '\(plan.method)' stands around residual branches, of which this model has none that can carry one; choose a type for its layers, such as lora",
        key: "type")
    }
    guard !choice.blocks.isEmpty else {
      throw GraftError(
        "adapter type '\(plan.method)' stands around whole branches, and the targets name none of the model's \(names.count) (\(names.prefix(4).joined(separator: ", ")), …)"
      )
    }
    if case .names(let entries) = plan.targets {
      for entry in entries where !choice.blocks.contains(where: { GraftPlan.Targets.ends($0, entry) }) {
        throw unmatched("target_modules", entry, among: names, "branches")
      }
    }
    choice.matches = [(plan.targets == .allLinear ? "mlp" : "branches", choice.blocks.count)]
    return choice
  }

  /// A family of convolutions stands behind all of them, unless the targets name some.
  private func chooseConvolutions(_ plan: GraftPlan, _ wanted: Set<Int>?, _ choice: Choice) throws -> Choice {
    var choice = choice, copy = self
    var names: [String] = []
    copy.forEachConvolution { name, _ in names.append(name) }
    let isTarget = try plan.targets.matcher("target_modules", head: headName)
    choice.convolutions = names.filter { isTarget($0) && isIn(wanted, $0) }
    guard !choice.convolutions.isEmpty else {
      throw GraftError(
        "adapter type '\(plan.method)' stands behind convolutions, and the targets match none of the model's \(names.count)",
        key: names.isEmpty ? "type" : "target_modules")
    }
    choice.matches = [(plan.targets == .allLinear ? "convolutions" : "targets", choice.convolutions.count)]
    return choice
  }

  private func checkEmbeddings(_ tables: [String], _ plan: GraftPlan) throws {
    guard let table = tables.first else { return }
    guard Catalogue.embedding.contains(where: { $0.method == plan.method }) else {
      throw GraftError("adapter type '\(plan.method)' has no form for the embedding '\(table)'", entry: table)
    }
    if tiesHead && plan.method != Full.method {
      throw GraftError(
        "'\(table)' is also the model's output head; a low-rank change of one side would separate them, so name it in modules_to_save or leave it out",
        entry: table)
    }
  }

  private func unmatched(_ key: String, _ entry: String, among names: [String], _ kind: String) -> GraftError {
    let ends = names.map { String($0.split(separator: ".").last ?? "") }
    let hint = nearest(to: entry, among: Set(ends).sorted()).map { near in
      "; did you mean '\(near)' (\(ends.count { $0 == near }) matches)?"
    }
    return GraftError(
      "\(key) entry \(quoted(entry)) matches none of the model's \(names.count) \(kind)\(hint ?? "")", key: key,
      entry: entry)
  }

  private func blocks(_ layers: GraftPlan.Layers, _ names: [String]) throws -> Set<Int>? {
    let all = Set(names.compactMap(blockIndex))
    switch layers {
    case .all: return nil
    case .last(let count): return Set(all.sorted().suffix(count))
    case .indices(let indices):
      if let missing = indices.first(where: { !all.contains($0) }) {
        throw GraftError(
          "layers names block \(missing), but the model has blocks 0 to \((all.max() ?? 0))", key: "layers")
      }
      return Set(indices)
    }
  }
}

/// Where a plan's parts go.
struct Choice {
  var linears: [String] = []
  var embeddings: [String] = []
  var blocks: [String] = [], convolutions: [String] = []
  var saved: Set<String> = []
  var learnsAll = false
  var matches: [(entry: String, count: Int)] = []
}

/// Whether what is called `name` lies in one of the blocks; in any where they are nil.
private func isIn(_ blocks: Set<Int>?, _ name: String) -> Bool {
  blocks.map { blocks in blockIndex(name).map(blocks.contains) ?? false } ?? true
}

/// Whether a module around the one called `name` ends as `entry` says.
private func isInside(_ name: String, _ entry: String) -> Bool {
  var outer = name[...]
  while let dot = outer.lastIndex(of: ".") {
    outer = outer[..<dot]
    if GraftPlan.Targets.ends(String(outer), entry) { return true }
  }
  return false
}

/// A parameter's name without its last part.
private func moduleName(_ parameter: String) -> String {
  parameter.split(separator: ".").dropLast().joined(separator: ".")
}
