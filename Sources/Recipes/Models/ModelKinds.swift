import Files
import Networks

extension LoadedModel {
  /// The network as one that writes text.
  ///
  /// - Throws: a ``FileError`` when it is a classifier.
  public func requireLanguageModel() throws -> any LanguageModel {
    guard let model = network as? any LanguageModel else {
      throw FileError(
        checkpoint.path, "is an encoder (\(checkpoint.architecture)), which reads texts and writes none",
        remedy: "graft classify tells the class of a text")
    }
    return model
  }

  /// The network as one that tells classes, with a head.
  ///
  /// - Throws: a ``FileError`` when it is a decoder, or an encoder that has no head yet.
  public func requireClassifier() throws -> any Classifier {
    guard let model = network as? any Classifier else {
      throw FileError(
        checkpoint.path, "is a decoder (\(checkpoint.architecture)), which has no head for classes",
        remedy: "give an encoder such as BERT; graft generate writes text with a decoder")
    }
    guard !model.labels.isEmpty else {
      throw FileError(
        checkpoint.path, "is an encoder without a head for classes",
        remedy: "train one with data.format: classification, and give its folder with --adapter")
    }
    return model
  }

  /// Refuses pairs of texts where the model does not know the segments its tokenizer tells apart.
  ///
  /// - Throws: a ``FileError``.
  func requirePairs() throws {
    let (known, needed) = ((network as? any Classifier)?.segmentKinds ?? 0, try requireTokenizer().segmentKinds)
    guard known >= needed else {
      throw FileError(
        checkpoint.path, at: "key 'type_vocab_size'",
        "the model knows \(known) kinds of segment, and its tokenizer gives pairs of texts \(needed)",
        remedy: "give texts alone")
    }
  }
}
