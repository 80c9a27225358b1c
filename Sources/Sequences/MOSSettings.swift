/// What can be chosen about ``SequenceStrategy/mos``; the authors' values, where they give any.
public struct MOSSettings: Sendable, Equatable {
  /// What is kept of the spread of a class's features.
  public enum Covariance: String, Sendable, CaseIterable {
    /// All of it, features² numbers a class.
    case full
    /// Each feature's own, as many numbers as features.
    case diagonal
  }

  /// α: how far each step moves the adapter towards the mean of the earlier tasks'.
  public var merging = 0.1
  /// The weight of the term that keeps features apart, and the temperature of their similarities.
  public var orthogonality = 0.1, temperature = 0.8
  /// The most rounds of refining an image's task.
  public var rounds = 4
  /// See ``Covariance``.
  public var covariance = Covariance.full
  /// Passes over sampled features in which the output layer is aligned, their first learning rate, and batches a class.
  public var alignmentEpochs = 30, alignmentRate = 0.005, samples = 5

  /// The defaults.
  public init() {}

  var mark: String {
    "\(merging) \(orthogonality) \(temperature) \(rounds) \(covariance) \(alignmentEpochs) \(alignmentRate) \(samples)"
  }
}
