/// Where rows of texts and their classes hold which.
public struct ClassFields: Sendable, Equatable {
  /// The key of the text.
  public var text = "text"
  /// The key of the second text of a pair; nil for texts alone.
  public var pair: String?
  /// The key of the class.
  public var label = "label"
  /// Whether a row may leave its class out.
  public var mayBeUnknown = false
  /// The names of the classes, in the order of a model's logits.
  public var labels: [String] = []

  /// `text` and `label`, and no classes yet.
  public init() {}
}
