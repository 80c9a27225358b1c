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
