/// How a sequence of tasks is learned on one frozen network.
public enum SequenceStrategy: String, Sendable, CaseIterable {
  /// An output layer a task; nothing else learns.
  case head
  /// Channel-wise reprogramming, batch norms and an output layer a task: nothing is shared, so nothing is forgotten.
  case clr
  /// One set of filters and norms for all tasks, each learned after the other: what forgetting costs.
  case shared
  /// The same, pulled back to what earlier tasks needed by their Fisher information (Kirkpatrick et al. 2017).
  case ewc
  /// The same, each batch of a task together with kept images of earlier ones (Chaudhry et al. 2019).
  case replay
  /// The same on all tasks at once: what there is to reach.
  case joint

  /// Whether what serves a task never changes after it was learned.
  public var isIsolated: Bool { self == .head || self == .clr }
  /// Whether filters and norms learn, not the output layer alone.
  public var reprograms: Bool { self != .head }
}

/// The numbers by which a sequence is learned.
public struct SequenceSettings: Sendable, Equatable {
  /// Passes over a task's images, and images a step.
  public var epochs = 5, batchSize = 32
  /// The first learning rate; it falls along half a cosine.
  public var learningRate = 1e-3
  /// Which convolutions get filters: see ``CLR/Variant``.
  public var variant = "reduced"
  /// λ of ``SequenceStrategy/ewc``.
  public var fisherWeight = 100.0
  /// Images of each task that ``SequenceStrategy/ewc`` measures and ``SequenceStrategy/replay`` keeps.
  public var memory = 200
  /// Everything that is drawn derives from it and from the tasks' names.
  public var seed: UInt64 = 42

  /// The defaults.
  public init() {}
}
