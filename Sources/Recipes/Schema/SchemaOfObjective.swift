extension Recipe {
  /// What training makes small. Both weights are of nats a supervised token.
  ///
  /// Code of INT2.1 adds the divergence up over the 2,048 tokens of a row and averages the cross-entropy: its weights
  /// 1 and 120 are `divergence: 1` and `cross_entropy: 0.0586` (120 / 2048) here.
  public struct Objective: Sendable, Equatable {
    /// The kind.
    public var type = ObjectiveType.crossEntropy
    /// The model to follow; nil for the base as it lies on disk, before any rounding.
    public var teacher: RecipePath?
    /// What KL(teacher ‖ model) is multiplied by.
    public var divergence = 1.0
    /// What −log p(label) is multiplied by.
    public var crossEntropy = 1.0
    /// Decoder blocks that learn together.
    public var blocks = 4

    /// Every default.
    public init() {}
  }

  /// The kinds of objective.
  public enum ObjectiveType: String, Sendable, CaseIterable {
    /// −log p(label).
    case crossEntropy = "cross_entropy"
    /// `divergence` · KL(teacher ‖ model) + `cross_entropy` · −log p(label).
    case distillation
    /// The squared distance of hidden states from the teacher's, a few blocks at a time.
    case blocks
  }
}

extension Schema {
  static let objective: [Key] = [
    Key("objective.type", \.objective.type, .choice, "what training makes small"),
    Key(
      "objective.teacher", \.objective.teacher, Codec.model.or("base"),
      "the model to follow; base for the base as it lies on disk, before quantization", unless: teaching),
    Key(
      "objective.divergence", \.objective.divergence, .number("≥ 0") { $0 >= 0 },
      "what KL(teacher ‖ model) is multiplied by, in nats a supervised token", unless: distillation),
    Key(
      "objective.cross_entropy", \.objective.crossEntropy, .number("≥ 0") { $0 >= 0 },
      "what −log p(label) is multiplied by, in nats a supervised token", unless: distillation),
    Key(
      "objective.blocks", \.objective.blocks, .integer(1...65536), "decoder blocks that learn together, a round each",
      unless: blocks),
  ]

  @Sendable private static func distillation(_ recipe: Recipe) -> String? { belongs(to: [.distillation], recipe) }
  @Sendable private static func blocks(_ recipe: Recipe) -> String? { belongs(to: [.blocks], recipe) }
  @Sendable private static func teaching(_ recipe: Recipe) -> String? {
    belongs(to: [.distillation, .blocks], recipe)
  }

  private static func belongs(to types: [Recipe.ObjectiveType], _ recipe: Recipe) -> String? {
    guard !types.contains(recipe.objective.type) else { return nil }
    let names = types.map(\.rawValue).joined(separator: " or ")
    return "belongs to objective \(names); this recipe trains by \(recipe.objective.type.rawValue)"
  }
}
