import Files
import Networks
import Text
import Weights

/// Folding an adapter into its base, writing the result, and proving it by what lies on disk.
public struct MergeJob: Sendable {
  /// What becomes of the changed weights.
  public var format: MergeFormat
  /// What the result is held to.
  public var bounds = MergeBounds()
  /// A packing for the layers whose change their own packing would lose.
  public var raise: Packing?
  /// Packings of layers by name, whatever survives there.
  public var raising: [String: Packing] = [:]

  /// A job with the default bounds.
  public init(format: MergeFormat) { self.format = format }

  /// Folds the adapter that `model` carries, writes a GGUF file if `path` ends in `.gguf`, else a Hugging Face folder,
  /// reads it back and compares it with `model` on `probe`, and only then gives it its name.
  ///
  /// - Throws: an ``OutputError`` where it may not be written; a ``FileError`` when there is nothing to compare on, what
  ///   `model` computes is not finite, or the result cannot be written or has no form in the kind of file asked for; a
  ///   ``MergeError`` for a layer that cannot be raised.
  public func write(_ model: LoadedModel, to path: String, probe: [[Int32]]) throws -> MergeReport {
    let output = try ModelOutput(path, of: model)
    try ProbeText.check(probe, on: model)
    var folded = try model.folded(format, raising: raising)
    if let raise {
      let lost = folded.layers.filter { !($0.survival >= bounds.minSurvival) }.map(\.name)
      if !lost.isEmpty {
        let raised = try model.raising(lost, to: raise)
        folded = try model.folded(format, raising: raising.merging(raised) { $1 })
      }
    }
    func proof(_ written: String) throws -> MergeProof {
      MergeProof(reference: model.network, candidate: try LoadedModel(written).network, on: probe)
    }
    // Before it has its name: what is there under it has been compared, also when the process is killed.
    var found: MergeProof?
    if output.isFile {
      try GGUFExport.write(folded.network, of: model, type: nil, to: output.path) { found = try proof($0) }
    } else {
      let form: ModelFolderExport.Form = format == .requantize ? .packed : .plain
      try ModelFolderExport.write(folded.network, of: model, to: output.path, as: form) { found = try proof($0) }
    }
    return MergeReport(
      path: output.path, format: format, proof: try found ?? proof(output.path), layers: folded.layers, bounds: bounds)
  }
}

extension LoadedModel {
  /// Whether any matrix lies in blocks rather than as plain numbers.
  var isPacked: Bool { packings.contains { !["F32", "F16", "BF16"].contains($0.name) } }
}

/// The texts on which two models are compared.
public enum ProbeText {
  /// Enough to see a difference, little enough to wait for.
  private static let tokens = 512

  /// Sequences until there are enough tokens, each cut to a moderate length.
  public static func limited(_ sequences: [[Int32]]) -> [[Int32]] {
    var left = tokens
    var chosen: [[Int32]] = []
    for sequence in sequences where left > 0 && !sequence.isEmpty {
      let part = Array(sequence.prefix(min(left, 256)))
      chosen.append(part)
      left -= part.count
    }
    return chosen
  }

  /// The same of a file, which must hold a token.
  private static func limited(_ sequences: [[Int32]], of path: String) throws -> [[Int32]] {
    let chosen = limited(sequences)
    guard !chosen.isEmpty else {
      throw FileError(path, "has no tokens, on which nothing can be compared", remedy: "give a text that is not empty")
    }
    return chosen
  }

  /// Refuses sequences without a token, and a model whose logits on them are not finite: nothing could be compared.
  ///
  /// - Throws: a ``FileError`` that says so.
  static func check(_ sequences: [[Int32]], on model: LoadedModel) throws {
    guard sequences.contains(where: { !$0.isEmpty }) else {
      throw FileError(
        model.checkpoint.path, "cannot be compared on a probe of no tokens", remedy: "give a text that is not empty")
    }
    for ids in sequences where !ids.isEmpty { try model.require(finite: model.network.logits(TokenBatch([ids]))) }
  }

  /// The sequences of a text file, or of a JSON Lines file of examples, in the model's ids.
  public static func sequences(_ path: String, for model: LoadedModel) throws -> [[Int32]] {
    let tokenizer = try model.requireTokenizer()
    if model.network is any Classifier { return try texts(path, for: model, tokenizer) }
    if path.hasSuffix(".jsonl") || path.hasSuffix(".json") {
      var options = ExampleOptions()
      options.maxSequenceLength = model.network.contextLength
      options.tooLong = .truncateRight
      let reader = try ExampleReader(tokenizer: tokenizer, template: model.template, options: options)
      return try limited(try reader.read(path).examples.map(\.ids), of: path)
    }
    let ids = tokenizer.encodePlain(try TextFile.read(path)).map(Int32.init)
    return try limited(
      stride(from: 0, to: ids.count, by: 256).map { Array(ids[$0..<min(ids.count, $0 + 256)]) }, of: path)
  }

  /// The texts of a JSON Lines file of texts with their classes, or the lines of a text file, as a classifier reads them.
  private static func texts(_ path: String, for model: LoadedModel, _ tokenizer: Tokenizer) throws -> [[Int32]] {
    if path.hasSuffix(".jsonl") || path.hasSuffix(".json") {
      var options = ExampleOptions()
      (options.format, options.tooLong) = (.classification, .truncateRight)
      options.maxSequenceLength = model.network.contextLength
      options.classes.labels = try ExampleReader(tokenizer: tokenizer, options: options).classes(in: path).sorted()
      return try limited(
        try ExampleReader(tokenizer: tokenizer, options: options).read(path).examples.map(\.ids), of: path)
    }
    return try limited(classified(try TextFile.read(path).split(separator: "\n"), for: model, tokenizer), of: path)
  }

  private static func classified(_ texts: [Substring], for model: LoadedModel, _ tokenizer: Tokenizer) -> [[Int32]] {
    texts.map { text in
      tokenizer.encode(String(text), pair: nil, limit: model.network.contextLength).ids.map(Int32.init)
    }
  }

  /// A passage that comes with Graft, for when no other is given.
  public static func standard(for model: LoadedModel) throws -> [[Int32]] {
    let text = """
      A merge is faithful when the file that was written does what the base and its adapter did together. The way to \
      know is to read the file back, run both on the same words, and compare what they predict: the largest difference \
      of a logit, how far the two distributions lie apart, and how often they would choose the same next word. Question: \
      what is the capital of France? Answer: the capital of France is Paris. 1, 2, 3, 5, 8, 13, 21. for i in 0..<10 { \
      print(i) }
      """
    let tokenizer = try model.requireTokenizer()
    // A classifier reads a sentence at a time and says one thing of each.
    if model.network is any Classifier { return classified(text.split(separator: "."), for: model, tokenizer) }
    return [tokenizer.encodePlain(text).map(Int32.init)]
  }
}
