import Networks

/// Ranks that no change of a matrix can have.
extension LanguageModel {
  /// Refuses a plan whose rank is above min(inputs, outputs) of a layer it names.
  ///
  /// Such a rank changes nothing that a lower one could not: it takes memory and time alone, and a start by singular
  /// values has no more components to give. Adapters that others made are taken as they are.
  ///
  /// - Throws: a ``GraftError`` that names the layer with the least room and the most that is of use there; and as
  ///   ``linearSites(of:)`` for targets that match nothing.
  public func checkRanks(of plan: GraftPlan) throws {
    let methods = [
      LoRA.method, DoRA.method, Hydra.method, MHR.method, CorDA.method, MoSA.method, INT21.method,
    ]
    // INT2.1 refuses patterns, whatever they ask.
    guard methods.contains(plan.method), plan.method != INT21.method || plan.settings.rankPattern.isEmpty else {
      return
    }
    let choice = try choose(plan), settings = plan.settings
    let (linears, tables) = (Set(choice.linears), Set(choice.embeddings))
    var worst: (site: String, shape: [Int], rank: Int, most: Int, key: String)?
    func note(_ site: String, _ shape: [Int], _ rank: Int, _ most: Int, _ key: String) {
      guard rank > most, worst.map({ most < $0.most }) ?? true else { return }
      worst = (site, shape, rank, most, key)
    }
    var copy = self
    try copy.forEachLinear(throwing: { name, layer in
      guard linears.contains(name) else { return }
      let shape = [layer.base.outputs, layer.base.inputs], rank = settings.rank(at: name)
      note(name, shape, rank, shape.min() ?? 0, rank == settings.rank ? "rank" : "rank_pattern")
      // Hydra's second head reads what the layer writes.
      guard plan.method == Hydra.method, settings.options["sequential_rank"] != nil else { return }
      let sequential = try Hydra.configuration(settings, at: name).sequentialRank
      note(name, shape, sequential, shape[0], "sequential_rank")
    })
    copy.forEachEmbedding { name, table in
      guard tables.contains(name) else { return }
      let shape = [table.base.weight.rows, table.base.weight.columns], rank = settings.rank(at: name)
      note(name, shape, rank, shape.min() ?? 0, rank == settings.rank ? "rank" : "rank_pattern")
    }
    guard let worst else { return }
    throw GraftError(
      "\(worst.key == "sequential_rank" ? "sequential rank" : "rank") \(worst.rank) is above \(worst.most), the most that a change of '\(worst.site)' \(worst.shape) can have",
      key: worst.key)
  }
}
