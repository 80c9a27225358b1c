/// What can be chosen about ``SequenceStrategy/ear``.
public struct EARSettings: Sendable, Equatable {
  /// The stages of the frozen network whose pooled outputs describe an image, evenly spaced, the last one among them.
  public var stages = 4
  /// Numbers of a description; nil for 2000, or the channels of the widest stage where these are more.
  public var width: Int?
  /// The share of in-distribution images that the gate takes for strange.
  public var falseAlarms = 0.05
  /// The share of each class's images that is kept from its description, for setting the gate.
  public var validation = 0.2
  /// The images of a new task that decide whether it needs an adapter of its own: more than half must be strange.
  public var window = 64

  /// The defaults.
  public init() {}

  var mark: String { "\(stages) \(width ?? 0) \(falseAlarms) \(validation) \(window)" }
}
