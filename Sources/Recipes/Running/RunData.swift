import Autodiff
import Files
import Text

/// The examples of a run, read and checked before its first step.
public struct RunData: Sendable {
  /// What is trained on.
  public let train: [Example]
  /// What is held out; empty when the recipe holds nothing out.
  public let heldOut: [Example]
  /// Other rows the model is measured on before and after, by name in alphabetical order.
  public let also: [(name: String, examples: [Example])]
  /// What became of the training rows, and of the held-out rows.
  public let report: ExampleReport
  /// See ``report``.
  public let heldOutReport: ExampleReport?
  /// The tasks of the training rows, in alphabetical order; empty where rows name none.
  public let tasks: [String]
  /// The digest of all examples: ids, labels and segments.
  public let digest: String

  /// Examples that weights may make; memory has to hold them.
  private static let mostCopies = 1 << 25

  init(_ recipe: Recipe, _ model: LoadedModel, classes: [String], random: RandomKey) throws {
    var options = try Self.options(recipe, model)
    options.classes.labels = classes
    let reader = try ExampleReader(
      tokenizer: try model.requireTokenizer(), template: model.template, options: options)
    var examples: [Example] = []
    var report = ExampleReport()
    for (index, source) in recipe.data.train.enumerated() {
      let read = try reader.read(source.path.path)
      report += read.report
      let wanted = Double(examples.count) + Double(read.examples.count) * source.weight
      guard source.weight <= 1 || wanted <= Double(Self.mostCopies) else {
        throw RecipeError(
          [
            recipe.problem(
              "data.train", "weight \(source.weight) makes more than \(Self.mostCopies) examples an epoch",
              hint: "a weight says how often each row is drawn; give a smaller one")
          ], path: recipe.origin)
      }
      examples += Self.repeated(read.examples, weight: source.weight, random["weight"][index])
    }
    guard !examples.isEmpty else {
      throw FileError(
        recipe.data.train.first?.path.path ?? "data.train", "leaves no example to train on", remedy: report.description)
    }
    var heldOut: [Example] = []
    var heldOutReport: ExampleReport?
    if !recipe.data.eval.isEmpty {
      var total = ExampleReport()
      for path in recipe.data.eval.map(\.path) {
        let read = try reader.read(path)
        guard !read.examples.isEmpty else {
          throw FileError(path, "leaves no example to evaluate on", remedy: read.report.description)
        }
        heldOut += read.examples
        total += read.report
      }
      heldOutReport = total
    } else if let fraction = recipe.data.evalFraction {
      let count = max(1, Int((Double(examples.count) * fraction).rounded()))
      guard count < examples.count else {
        throw FileError(recipe.data.train[0].path.path, "has too few rows to hold \(count) out")
      }
      let order = random["split"].permutation(examples.count)
      let chosen = Set(order.prefix(count))
      heldOut = examples.indices.filter(chosen.contains).map { examples[$0] }
      examples = examples.indices.filter { !chosen.contains($0) }.map { examples[$0] }
    }
    if let limit = recipe.eval.maxRows { heldOut = Array(heldOut.prefix(limit)) }
    also = try recipe.eval.also.sorted { $0.key < $1.key }.map { name, path in
      (name, Array(try reader.read(path.path).examples.prefix(recipe.eval.maxRows ?? .max)))
    }
    (train, self.heldOut, self.report, self.heldOutReport) = (examples, heldOut, report, heldOutReport)
    let tasks = Set(examples.compactMap(\.task)).sorted()
    self.tasks = tasks
    let judged = heldOut + also.flatMap(\.examples)
    if let stranger = judged.first(where: { $0.task.map { !tasks.contains($0) } ?? false }) {
      throw FileError(
        stranger.source, "is of task '\(stranger.task ?? "")', which no training row is",
        remedy: "hold out rows of tasks that are trained")
    }
    digest = Fingerprint.text(
      (examples + judged).map { "\($0.ids)\($0.labels)\($0.segments)" }.joined(separator: "\n"))
  }

  /// How rows become examples.
  static func options(_ recipe: Recipe, _ model: LoadedModel) throws -> ExampleOptions {
    var options = ExampleOptions()
    options.format = ExampleOptions.Format(rawValue: recipe.data.format.rawValue) ?? .auto
    options.trainOn = ExampleOptions.TrainOn(rawValue: recipe.data.trainOn.rawValue) ?? .assistant
    options.taskField = recipe.data.taskField
    options.classes = RunClasses.fields(recipe)
    options.maxSequenceLength = recipe.data.maxSequenceLength
    options.tooLong = ExampleOptions.TooLong(rawValue: recipe.data.tooLong.rawValue) ?? .error
    guard recipe.data.maxSequenceLength <= model.network.contextLength else {
      throw RecipeError(
        [
          recipe.problem(
            "data.max_seq_len",
            "\(recipe.data.maxSequenceLength) tokens are more than the model's context of \(model.network.contextLength)",
            hint: "set max_seq_len: \(model.network.contextLength) or less")
        ], path: recipe.origin)
    }
    return options
  }

  /// A source's examples as often as its weight says: whole copies, and a drawn part for the rest.
  private static func repeated(_ examples: [Example], weight: Double, _ random: RandomKey) -> [Example] {
    let whole = Int(weight)
    let rest = Int((Double(examples.count) * (weight - Double(whole))).rounded())
    let drawn = Set(random.permutation(examples.count).prefix(rest))
    return Array(repeatElement(examples, count: whole).joined())
      + examples.indices.filter(drawn.contains).map { examples[$0] }
  }
}
