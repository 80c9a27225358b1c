import Autodiff
import Files
import Networks
import Weights

extension AdaptableNetwork {
  /// Puts a fresh adapter of the plan's family on every layer the plan names, and lets what else it names learn.
  ///
  /// Everything else is frozen. Initial numbers derive from `random` and each layer's name. `statistics` hold what was
  /// measured of the layers' inputs, for families that ask for it; `originals` are matrices as they were before rounding.
  ///
  /// - Parameter limit: how many numbers the adapters may have.
  /// - Throws: a ``GraftError`` for an entry that matches nothing, with the nearest name; what the family refuses.
  @discardableResult
  public mutating func graft(
    _ plan: GraftPlan, random: RandomKey, statistics: [String: SiteStatistics] = [:],
    originals: [String: FrozenWeight] = [:], atMost limit: Int = .max
  ) throws -> GraftReport {
    guard Catalogue.methods.contains(plan.method) else {
      throw GraftError("adapter type '\(plan.method)' is not one of \(Catalogue.methods.joined(separator: ", "))")
    }
    do { try plan.settings.checkPatterns(path: "rank_pattern or alpha_pattern") } catch {
      throw GraftError("\(error)", key: "rank_pattern")
    }
    forEachParameter { $1.isTrainable = false }
    let choice = try choose(plan)
    if [LoRA.method, DoRA.method, MHR.method, QLLM.method].contains(plan.method) {
      try checkSize(choice, plan, limit)
    }
    let grafter = Grafter(plan.settings, random, statistics, originals, head: headName)
    var settings = plan.settings
    if let family = Catalogue.linear.first(where: { $0.method == plan.method }) {
      let sites = Set(choice.linears)
      settings.channels = try self.channels(of: family, on: sites, grafter)
      let chosen = grafter.with(settings)
      try forEachLinear(throwing: { name, layer in
        if choice.saved.contains(name) {
          try chosen.put(Full.self, on: &layer, name)
        } else if sites.contains(name) {
          try chosen.put(family, on: &layer, name)
        }
      })
    } else if !choice.saved.isEmpty {
      try forEachLinear(throwing: { name, layer in
        if choice.saved.contains(name) { try grafter.put(Full.self, on: &layer, name) }
      })
    }
    if !choice.saved.isEmpty {
      try forEachConvolution(throwing: { name, layer in
        if choice.saved.contains(name) { try grafter.put(FullConvolution.self, on: &layer, name) }
      })
    }
    let tableFamily = Catalogue.embedding.first { $0.method == plan.method }
    try forEachEmbedding(throwing: { name, table in
      if choice.saved.contains(name) {
        try grafter.put(FullEmbedding.self, on: &table, name)
      } else if choice.embeddings.contains(name), let tableFamily {
        try grafter.put(tableFamily, on: &table, name)
      }
    })
    if let family = Catalogue.block.first(where: { $0.method == plan.method }) {
      try forEachBlock(throwing: { name, block in
        if choice.blocks.contains(name) { try grafter.put(family, on: &block, name) }
      })
    }
    if let family = Catalogue.convolution.first(where: { $0.method == plan.method }) {
      try forEachConvolution(throwing: { name, layer in
        if choice.convolutions.contains(name) { try grafter.put(family, on: &layer, name) }
      })
    }
    let sites = Set(choice.linears + choice.convolutions)
    forEachParameter { name, parameter in
      if choice.learnsAll || choice.saved.contains(where: { name.hasPrefix($0 + ".") || name == $0 }) {
        parameter.isTrainable = true
      } else if name.hasSuffix(".bias") {
        let owner = String(name.dropLast(5))
        if plan.bias == .all || (plan.bias == .adapted && sites.contains(owner)) { parameter.isTrainable = true }
      }
    }
    return GraftReport(
      sites: choice.linears + choice.embeddings + choice.blocks + choice.convolutions, matches: choice.matches,
      channels: settings.channels)
  }

  /// What the family's plan chooses over all sites, unless the settings name it already.
  private func channels<A: Adapter<FrozenLinear>>(
    of family: A.Type, on names: Set<String>, _ grafter: Grafter
  ) throws -> [String: [Int]] {
    guard grafter.settings.channels.isEmpty else { return grafter.settings.channels }
    var copy = self
    var sites: [Site<FrozenLinear>] = []
    let units = channelUnits
    copy.forEachLinear { name, layer in
      guard names.contains(name) else { return }
      let unit = units.first { name.hasSuffix($0.key) }?.value ?? 1
      sites.append(
        Site(
          name: name, base: layer.base, statistics: grafter.statistics[name], unit: unit,
          original: grafter.originals[name]))
    }
    return try A.plan(sites, grafter.settings, random: grafter.random)
  }

  /// Counts the numbers of low-rank adapters before any is made: a rank may ask for more memory than there is.
  private func checkSize(_ choice: Choice, _ plan: GraftPlan, _ limit: Int) throws {
    var copy = self
    let (linears, tables, settings) = (Set(choice.linears), Set(choice.embeddings), plan.settings)
    let convolutions = Set(choice.convolutions)
    let inventory = plan.method == MHR.method ? try MHR.configuration(settings, at: "") : nil
    var count = 0, logits = 0
    copy.forEachLinear { name, layer in
      guard linears.contains(name) else { return }
      let factors = settings.rank(at: name) * (layer.base.inputs + layer.base.outputs)
      count += factors * (inventory?.skills ?? 1)
      if let inventory { logits += settings.tasks.count * inventory.skills * inventory.heads }
    }
    copy.forEachEmbedding { name, table in
      guard tables.contains(name) else { return }
      count += settings.rank(at: name) * (table.base.weight.rows + table.base.weight.columns)
    }
    copy.forEachConvolution { name, layer in
      guard convolutions.contains(name) else { return }
      count += settings.rank(at: name) * (layer.base.weight.rows + layer.base.weight.columns)
    }
    guard logits <= limit else {
      throw GraftError(
        "\(settings.tasks.count) tasks ask for \(logits) logits where \(limit) numbers can be had", key: "skills")
    }
    guard count <= limit else {
      throw GraftError(
        "\(inventory.map { "\($0.skills) skills with " } ?? "")ranks of up to \(settings.largestRank) ask for \(count) numbers where \(limit) can be had",
        key: "rank")
    }
  }

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
      return wanted.map { blocks in blockIndex(name).map(blocks.contains) ?? false } ?? true
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
          let kinds = filters.isEmpty ? "linear layers" : "linear layers and convolutions"
          throw unmatched("target_modules", entry, among: linears + tables + filters, kinds)
        }
        choice.matches.append((entry, count))
      }
    case .pattern(let pattern): choice.matches = [(pattern, chosen.count)]
    case .allLinear: choice.matches = [("all-linear", choice.linears.count)]
    }
    guard !chosen.isEmpty else {
      let names = linears.prefix(7).joined(separator: ", ")
      throw GraftError("the targets match none of the model's \(linears.count) linear layers (\(names), …)")
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
      return isNamed && (wanted.map { blocks in blockIndex(name).map(blocks.contains) ?? false } ?? true)
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
    choice.convolutions = names.filter { name in
      isTarget(name)
        && (wanted.map { blocks in blockIndex(name).map(blocks.contains) ?? false } ?? true)
    }
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

/// Starts adapters on layers, all by the same settings.
private struct Grafter {
  var settings: AdapterSettings
  let random: RandomKey
  let statistics: [String: SiteStatistics]
  let originals: [String: FrozenWeight]
  let head: String

  init(
    _ settings: AdapterSettings, _ random: RandomKey, _ statistics: [String: SiteStatistics],
    _ originals: [String: FrozenWeight], head: String
  ) {
    (self.settings, self.random, self.statistics, self.originals) = (settings, random, statistics, originals)
    self.head = head
  }

  func with(_ settings: AdapterSettings) -> Grafter {
    Grafter(settings, random, statistics, originals, head: head)
  }

  private func setup(_ name: String) -> Setup {
    var setup = Setup(
      site: name, random: random, statistics: statistics[name], channels: settings.channels[name],
      tasks: max(1, settings.tasks.count), original: originals[name])
    setup.isHead = name == head
    return setup
  }

  func put<A: Adapter<FrozenLinear>>(_ family: A.Type, on layer: inout AdaptedLinear, _ name: String) throws {
    layer.adapter = try A(on: &layer.base, A.configuration(settings, at: name), setup(name))
  }

  func put<A: EmbeddingAdapter>(_ family: A.Type, on table: inout AdaptedEmbedding, _ name: String) throws {
    table.adapter = try A(on: &table.base, A.configuration(settings, at: name), setup(name))
  }

  func put<A: Adapter<FrozenConvolution>>(
    _ family: A.Type, on layer: inout AdaptedConvolution, _ name: String
  ) throws {
    layer.adapter = try A(on: &layer.base, A.configuration(settings, at: name), setup(name))
  }

  func put<A: BlockAdapter>(_ family: A.Type, on block: inout AdaptedBlock, _ name: String) throws {
    block.adapter = try A(width: block.width, A.configuration(settings, at: name), setup(name))
  }
}

extension Module {
  /// Calls `body` with every adaptable linear layer, until it throws.
  package mutating func forEachLinear(throwing body: (String, inout AdaptedLinear) throws -> Void) throws {
    var failure: (any Error)?
    forEachLinear { name, layer in
      guard failure == nil else { return }
      do { try body(name, &layer) } catch { failure = error }
    }
    if let failure { throw failure }
  }

  /// The same for embeddings.
  package mutating func forEachEmbedding(throwing body: (String, inout AdaptedEmbedding) throws -> Void) throws {
    var failure: (any Error)?
    forEachEmbedding { name, table in
      guard failure == nil else { return }
      do { try body(name, &table) } catch { failure = error }
    }
    if let failure { throw failure }
  }

  /// The same for residual branches.
  mutating func forEachBlock(throwing body: (String, inout AdaptedBlock) throws -> Void) throws {
    var failure: (any Error)?
    forEachBlock { name, block in
      guard failure == nil else { return }
      do { try body(name, &block) } catch { failure = error }
    }
    if let failure { throw failure }
  }

  /// The same for convolutions.
  package mutating func forEachConvolution(throwing body: (String, inout AdaptedConvolution) throws -> Void) throws {
    var failure: (any Error)?
    forEachConvolution { name, layer in
      guard failure == nil else { return }
      do { try body(name, &layer) } catch { failure = error }
    }
    if let failure { throw failure }
  }
}

extension Module {
  /// The model with every adapter folded into its base; the receiver is unchanged.
  public func merged(_ context: Context = Context()) -> Self {
    var copy = self
    copy.forEachLinear { _, linear in linear = linear.merged(context) }
    copy.forEachEmbedding { _, table in table = table.merged(context) }
    copy.forEachConvolution { _, layer in layer = layer.merged(context) }
    return copy
  }
}
