import Adapters
import Autodiff
import Images
import Networks

// Training on images that are changed anew in each pass.
extension SequenceRun {
  /// Whether stages that never learn are run anew on training images although what they make of images is kept: changed
  /// images are new each time, so that only what is made of images as they are can be kept.
  ///
  /// - Throws: a `GraftError` for an adapter that does not fit the network.
  public func augmentsBelowKeptFeatures() throws -> Bool {
    guard settings.keepsFeatures, preparation.augmentation != nil, strategy != .probe else { return false }
    return try learner(classes: tasks[0].classNames, key: random).firstLearningStage > 0
  }

  /// What a body whose first `stage` stages do not learn is trained on.
  func trainingSource(of task: ImageTask, before stage: Int) throws -> BatchSource {
    guard preparation.augmentation == nil else { return .images(preparation) }
    return try source(of: task.train, task, "train", before: stage)
  }
}

extension ImagePreparation {
  /// The same with this augmentation in place of its own, with none where it changes nothing.
  ///
  /// - Throws: a `GraftError` for an augmentation that could move images of this size out of sight.
  func augmented(by augmentation: ImageAugmentation?) throws -> ImagePreparation {
    var copy = self
    copy.augmentation = augmentation?.changesNothing == true ? nil : augmentation
    guard let padding = copy.augmentation?.padding, !(0..<min(height, width)).contains(padding) else { return copy }
    throw GraftError(
      "images of \(height) × \(width) cannot be moved by up to \(padding) pixels; expected 0 to \(min(height, width) - 1)",
      key: "augment.crop_padding")
  }
}
