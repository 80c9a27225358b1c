import Adapters
import Autodiff
import Files
import Networks
import Text
import Training

/// What a classifier says of one text.
public struct ClassifiedText: Sendable, Equatable {
  /// The likeliest class, and the probability of each in the order of the model's labels.
  public let label: String, probabilities: [Double]
  /// The class the row names; nil where it names none.
  public let truth: String?
}

/// Telling the classes of texts with a trained model.
public struct Classification: Sendable {
  private let model: LoadedModel
  private let network: any Classifier
  private let tokenizer: Tokenizer
  private var fields: ClassFields

  /// The names of the classes.
  public var labels: [String] { network.labels }

  /// By `model`, over rows laid out as `fields` say.
  ///
  /// - Throws: a ``FileError`` when the model tells no classes or has no tokenizer.
  public init(_ model: LoadedModel, fields: ClassFields = ClassFields()) throws {
    network = try model.requireClassifier()
    tokenizer = try model.requireTokenizer()
    self.model = model
    self.fields = fields
    self.fields.labels = network.labels
    self.fields.mayBeUnknown = true
  }

  private func reader(tooLong: ExampleOptions.TooLong) throws -> ExampleReader {
    var options = ExampleOptions()
    (options.format, options.classes, options.tooLong) = (.classification, fields, tooLong)
    options.maxSequenceLength = network.contextLength
    return try ExampleReader(tokenizer: tokenizer, options: options)
  }

  /// The class of one text, or of a pair.
  ///
  /// - Throws: a ``FileError`` when it is longer than the model reads, for a pair when it reads none, and for a model whose
  ///   logits are not finite.
  public func tell(_ text: String, pair: String?) throws -> ClassifiedText {
    if pair != nil { try model.requirePairs() }
    return try tell([try reader(tooLong: .error).example(text, pair, source: "the text")])[0]
  }

  /// The class of every row of a file; longer rows are cut at the right.
  ///
  /// Rows may name their classes as the model does, or by number.
  /// - Throws: a ``FileError`` for a row that is malformed or names a class the model does not know, and for pairs when it
  ///   reads none; and for a model whose logits are not finite.
  public func tell(file: String) throws -> [ClassifiedText] {
    if fields.pair != nil { try model.requirePairs() }
    var named = self
    let found = try reader(tooLong: .truncateRight).classes(in: file)
    let isNumbered = !found.isSubset(of: labels) && found.allSatisfy { Int($0).map(labels.indices.contains) ?? false }
    if isNumbered { named.fields.labels = labels.indices.map(String.init) }
    let examples = try named.reader(tooLong: .truncateRight).read(file).examples
    return try stride(from: 0, to: examples.count, by: 16).flatMap { start in
      try tell(Array(examples[start..<min(examples.count, start + 16)]))
    }
  }

  private func tell(_ examples: [Example]) throws -> [ClassifiedText] {
    let logits = network.logits(TokenBatch(examples))
    try model.require(finite: logits)
    let probabilities = logits.softmax
    let best = probabilities.rowArgmax, values = probabilities.values.map(Double.init), count = labels.count
    return examples.indices.map { row in
      let truth = examples[row].labels[0]
      return ClassifiedText(
        label: labels[best[row]], probabilities: Array(values[row * count..<(row + 1) * count]),
        truth: truth == Example.unsupervised ? nil : labels[Int(truth)])
    }
  }

  /// How the classes told compare with those the rows name; nil where no row names one.
  public func confusion(_ told: [ClassifiedText]) -> Confusion? {
    var confusion = Confusion(labels)
    for text in told {
      guard let truth = text.truth.flatMap(labels.firstIndex), let taken = labels.firstIndex(of: text.label) else {
        continue
      }
      confusion.add([Int32(truth)], taken: [taken])
    }
    return confusion.total > 0 ? confusion : nil
  }
}
