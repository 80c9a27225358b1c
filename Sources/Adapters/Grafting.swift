import Autodiff
import Files
import Networks

extension LanguageModel {
  /// Puts a fresh adapter of the plan's family on every layer the plan names, and lets what else it names learn.
  ///
  /// Everything else is frozen. Initial numbers derive from `random` and each layer's name.
  ///
  /// - Throws: a ``GraftError`` for an entry that matches nothing, with the nearest name; what the family refuses.
  @discardableResult
  public mutating func graft(_ plan: GraftPlan, random: RandomKey) throws -> GraftReport {
    guard let family = Catalogue.linear.first(where: { $0.method == plan.method }) else {
      throw GraftError("adapter type '\(plan.method)' is not one of \(Catalogue.methods.joined(separator: ", "))")
    }
    forEachParameter { $1.isTrainable = false }
    let choice = try choose(plan)
    var failure: (any Error)?
    forEachLinear { name, layer in
      guard failure == nil else { return }
      do {
        if choice.saved.contains(name) {
          try put(Full.self, on: &layer, name, plan.settings, random)
        } else if choice.linears.contains(name) {
          try put(family, on: &layer, name, plan.settings, random)
        }
      } catch { failure = error }
    }
    let tableFamily = Catalogue.embedding.first { $0.method == plan.method }
    forEachEmbedding { name, table in
      guard failure == nil else { return }
      do {
        if choice.saved.contains(name) {
          try put(FullEmbedding.self, on: &table, name, plan.settings, random)
        } else if choice.embeddings.contains(name), let tableFamily {
          try put(tableFamily, on: &table, name, plan.settings, random)
        }
      } catch { failure = error }
    }
    if let failure { throw failure }
    let sites = Set(choice.linears)
    forEachParameter { name, parameter in
      if choice.learnsAll || choice.saved.contains(where: { name.hasPrefix($0 + ".") || name == $0 }) {
        parameter.isTrainable = true
      } else if name.hasSuffix(".bias") {
        let owner = String(name.dropLast(5))
        if plan.bias == .all || (plan.bias == .adapted && sites.contains(owner)) { parameter.isTrainable = true }
      }
    }
    return GraftReport(sites: choice.linears + choice.embeddings, matches: choice.matches)
  }

  private func choose(_ plan: GraftPlan) throws -> Choice {
    var copy = self
    var linears: [String] = [], tables: [String] = [], parameters: [String] = []
    copy.forEachLinear { name, _ in linears.append(name) }
    copy.forEachEmbedding { name, _ in tables.append(name) }
    copy.forEachParameter { name, _ in parameters.append(name) }
    var choice = Choice()
    // Full fine-tuning of all there is: head, tables, norms and biases too.
    if plan.method == Full.method, plan.targets == .allLinear, plan.layers == .all {
      choice.learnsAll = true
      (choice.linears, choice.embeddings) = (linears, tables)
      choice.matches = [("everything", linears.count + tables.count)]
      return choice
    }
    for entry in plan.modulesToSave {
      let modules = (linears + tables + parameters.map(moduleName)).filter { GraftPlan.Targets.ends($0, entry) }
      guard !modules.isEmpty else { throw unmatched("modules_to_save", entry, among: linears + tables, "modules") }
      choice.saved.formUnion(modules)
    }
    let wanted = try blocks(plan.layers, linears)
    func isChosen(_ name: String) throws -> Bool {
      guard try plan.targets.matches(name), !choice.saved.contains(name) else { return false }
      if let excluded = plan.excluded, try excluded.matches(name) { return false }
      return wanted.map { blocks in blockIndex(name).map(blocks.contains) ?? false } ?? true
    }
    choice.linears = try linears.filter(isChosen)
    if plan.targets != .allLinear { choice.embeddings = try tables.filter(isChosen) }
    try checkEmbeddings(choice.embeddings, plan)
    switch plan.targets {
    case .names(let entries):
      for entry in entries {
        let count = (choice.linears + choice.embeddings).filter { GraftPlan.Targets.ends($0, entry) }.count
        guard count > 0 else { throw unmatched("target_modules", entry, among: linears + tables, "linear layers") }
        choice.matches.append((entry, count))
      }
    case .pattern(let pattern): choice.matches = [(pattern, choice.linears.count + choice.embeddings.count)]
    case .allLinear: choice.matches = [("all-linear", choice.linears.count)]
    }
    guard !choice.linears.isEmpty || !choice.embeddings.isEmpty else {
      let names = linears.prefix(7).joined(separator: ", ")
      throw GraftError("the targets match none of the model's \(linears.count) linear layers (\(names), …)")
    }
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
      "\(key) entry '\(entry)' matches none of the model's \(names.count) \(kind)\(hint ?? "")", entry: entry)
  }

  private func blocks(_ layers: GraftPlan.Layers, _ names: [String]) throws -> Set<Int>? {
    let all = Set(names.compactMap(blockIndex))
    switch layers {
    case .all: return nil
    case .last(let count): return Set(all.sorted().suffix(count))
    case .indices(let indices):
      if let missing = indices.first(where: { !all.contains($0) }) {
        throw GraftError("layers names block \(missing), but the model has blocks 0 to \((all.max() ?? 0))")
      }
      return Set(indices)
    }
  }
}

/// Where a plan's parts go.
private struct Choice {
  var linears: [String] = []
  var embeddings: [String] = []
  var saved: Set<String> = []
  var learnsAll = false
  var matches: [(entry: String, count: Int)] = []
}

/// The first number in a dotted name: the block a layer belongs to.
private func blockIndex(_ name: String) -> Int? { name.split(separator: ".").lazy.compactMap { Int($0) }.first }

/// A parameter's name without its last part.
private func moduleName(_ parameter: String) -> String {
  parameter.split(separator: ".").dropLast().joined(separator: ".")
}

private func put<A: Adapter<FrozenLinear>>(
  _ family: A.Type, on layer: inout AdaptedLinear, _ name: String, _ settings: AdapterSettings, _ random: RandomKey
) throws {
  let setup = Setup(site: name, random: random)
  layer.adapter = try A(on: &layer.base, A.configuration(settings, at: name), setup)
}

private func put<A: EmbeddingAdapter>(
  _ family: A.Type, on table: inout AdaptedEmbedding, _ name: String, _ settings: AdapterSettings, _ random: RandomKey
) throws {
  let setup = Setup(site: name, random: random)
  table.adapter = try A(on: &table.base, A.configuration(settings, at: name), setup)
}

extension Module {
  /// The model with every adapter folded into its base; the receiver is unchanged.
  public func merged(_ context: Context = Context()) -> Self {
    var copy = self
    copy.forEachLinear { _, linear in linear = linear.merged(context) }
    copy.forEachEmbedding { _, table in table = table.merged(context) }
    return copy
  }
}
