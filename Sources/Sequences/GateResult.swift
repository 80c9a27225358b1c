/// What the gate of ``SequenceStrategy/ear`` let pass.
public struct GateResult: Sendable, Equatable {
  /// What it found of a data set that no task was cut from.
  public struct HeldOut: Sendable, Equatable {
    /// What it is called.
    public let name: String
    /// The chance that one of its images seems stranger than a test image of the tasks.
    public let area: Double
    /// The share of its images taken for strange.
    public let strange: Double
  }

  /// What a task looked like before it was learned.
  public struct Arrival: Sendable, Equatable {
    /// The share of its first images that were strange.
    public let strange: Double
    /// The earlier task whose adapter it uses; nil where it was given one of its own.
    public let host: Int?
  }

  /// The score below which an image is strange, at the end.
  public var threshold = 0.0
  /// The share of the tasks' test images taken for strange.
  public var falseAlarms = 0.0
  /// One a task.
  public var arrivals: [Arrival] = []
  /// One a data set.
  public var heldOut: [HeldOut] = []
}
