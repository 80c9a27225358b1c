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

    /// Every default.
    public init() {}
  }

  /// The kinds of objective.
  public enum ObjectiveType: String, Sendable, CaseIterable {
    /// −log p(label).
    case crossEntropy = "cross_entropy"
    /// `divergence` · KL(teacher ‖ model) + `cross_entropy` · −log p(label).
    case distillation
  }
}

extension Schema {
  static let objective: [Key] = [
    Key("objective.type", \.objective.type, .choice, "what training makes small"),
    Key(
      "objective.teacher", \.objective.teacher, Codec.model.or("base"),
      "the model to follow; base for the base as it lies on disk, before quantization", unless: distillation),
    Key(
      "objective.divergence", \.objective.divergence, .number("≥ 0") { $0 >= 0 },
      "what KL(teacher ‖ model) is multiplied by, in nats a supervised token", unless: distillation),
    Key(
      "objective.cross_entropy", \.objective.crossEntropy, .number("≥ 0") { $0 >= 0 },
      "what −log p(label) is multiplied by, in nats a supervised token", unless: distillation),
  ]

  @Sendable private static func distillation(_ recipe: Recipe) -> String? {
    recipe.objective.type == .distillation
      ? nil : "belongs to objective distillation; this recipe trains by \(recipe.objective.type.rawValue)"
  }
}
