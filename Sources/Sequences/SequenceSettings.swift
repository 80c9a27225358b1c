import Images
import Networks

/// The numbers by which a sequence is learned.
public struct SequenceSettings: Sendable, Equatable {
  /// What is asked of the learner.
  public var scenario = Scenario.task
  /// Passes over a task's images, and images a step.
  public var epochs = 5, batchSize = 32
  /// The first learning rate; it falls along half a cosine.
  public var learningRate = 1e-3
  /// By what the learning rate of a role is multiplied; a router's logits move too little at the rate of its skills.
  public var roleRates: [Role: Double] = [.router: 100]
  /// Which convolutions get filters: see ``CLR/Variant``.
  public var variant = "reduced"
  /// Whether batch norms measure their moments anew on each task, as the authors of CLR have it. Otherwise they keep the
  /// body's, so that training begins at the frozen network itself; few steps then reach further.
  public var learnsMoments = true
  /// λ of ``SequenceStrategy/ewc``.
  public var fisherWeight = 100.0
  /// Images of each task that ``SequenceStrategy/ewc`` measures and ``SequenceStrategy/replay`` keeps.
  public var memory = 200
  /// C of ``SequenceStrategy/probe``: the larger, the weaker its pull to zero.
  public var probeStrength = 1.0
  /// Of ``SequenceStrategy/mos``, and of ``SequenceStrategy/ear``.
  public var mos = MOSSettings(), ear = EARSettings()
  /// How training images are changed, anew in each pass over them; whatever is measured sees images as they are.
  public var augmentation: ImageAugmentation?
  /// Whether what stages that never learn make of images is kept and read back, or made anew each time.
  public var keepsFeatures = true
  /// Everything that is drawn derives from it and from the tasks' names.
  public var seed: UInt64 = 42

  /// The defaults.
  public init() {}

  /// A text that changes whenever something else would be learned.
  public var mark: String {
    let rates = roleRates.sorted { $0.key.rawValue < $1.key.rawValue }.map { "\($0.key.rawValue)=\($0.value)" }
    return
      "\(scenario.rawValue) \(epochs) \(batchSize) \(learningRate) \(rates) \(variant) \(learnsMoments) \(fisherWeight) \(memory) "
      + "\(probeStrength) \(seed) \(keepsFeatures) \(mos.mark) \(ear.mark)"
      + augmentationMark
  }

  /// Empty where nothing is changed, so that folders of sequences without augmentation are gone on with.
  private var augmentationMark: String {
    guard let augmentation, !augmentation.changesNothing else { return "" }
    let (rotation, padding, flips) = (augmentation.rotation, augmentation.padding, augmentation.flips)
    return " augmented \(rotation) \(padding) \(flips) \(augmentation.brightness) \(augmentation.contrast)"
  }
}
