import Networks

// What a run can ask of a family by its name, before there is a model.
extension Catalogue {
  /// How adapters of `method` leave the model they were trained in: the strictest answer of the kinds of layer the
  /// method has a family for.
  ///
  /// - Throws: what the family refuses about `settings`.
  public static func merging(of method: String, _ settings: AdapterSettings) throws -> Merging {
    func ask<A: Adapter>(_ family: A.Type) throws -> Merging {
      A.merging(try A.configuration(settings, at: ""))
    }
    func ask<A: BlockAdapter>(around family: A.Type) throws -> Merging {
      A.merging(try A.configuration(settings, at: ""))
    }
    var answers: [Merging] = []
    for family in linear where family.method == method { answers.append(try ask(family)) }
    for family in convolution where family.method == method { answers.append(try ask(family)) }
    for family in block where family.method == method { answers.append(try ask(around: family)) }
    let refusal = answers.first { if case .never = $0 { true } else { false } }
    return refusal ?? (answers.contains(.perTask) ? .perTask : .exact)
  }

  /// The weight with which a run of `method` pulls two passes of a step together; nil for one pass.
  ///
  /// - Throws: what the family refuses about `settings`.
  public static func consistency(of method: String, _ settings: AdapterSettings) throws -> Double? {
    if let family = linear.first(where: { $0.method == method }) { return try family.consistency(settings) }
    if let family = convolution.first(where: { $0.method == method }) { return try family.consistency(settings) }
    return try block.first { $0.method == method }?.consistency(settings)
  }
}

extension GraftPlan {
  /// Why adapters of this plan cannot be folded into their base; nil where they can.
  public var foldingObjection: String? {
    switch try? Catalogue.merging(of: method, settings) {
    case .never(let reason): "adapter '\(method)' cannot be merged: \(reason)"
    case .perTask: "adapter '\(method)' cannot be merged before one of its tasks is chosen"
    case .exact, nil: nil
    }
  }

  /// Refuses what cannot be folded.
  ///
  /// - Throws: a ``GraftError`` that says why.
  public func requireFolding() throws {
    if let objection = foldingObjection { throw GraftError(objection + "; keep it beside its base") }
  }
}
