/// One run, as a YAML file asks for it: what to adapt, on which data, how, and what to keep.
///
///     let recipe = try Recipe.read("support-bot.yaml", overrides: ["learning_rate=1e-4"])
///     recipe.train.learningRate   // 0.0001
///
/// Every key has a default except `model.path`, `adapter.type`, `data.train` and `output_dir`.
public struct Recipe: Sendable {
  /// The schema's version; this release reads version 1.
  public var version = 1
  /// The run's name; the recipe's file name without its ending unless given.
  public var name = ""
  /// Data order, dropout and adapter start all derive from it.
  public var seed = 42
  /// Where everything the run makes is written.
  public var outputDirectory = RecipePath("")
  /// The base model.
  public var model = Model()
  /// How to pack the base model's weights; nil keeps them as they are.
  public var quantization: Quantization?
  /// What is trained.
  public var adapter = Adapter()
  /// What it is trained on.
  public var data = Data()
  /// What is measured before an adapter that asks for it starts; nil for the defaults.
  public var calibration: Calibration?
  /// How it is trained.
  public var train = Training()
  /// What training makes small.
  public var objective = Objective()
  /// When and on what it is judged.
  public var eval = Evaluation()
  /// When checkpoints are written and kept.
  public var save = Saving()
  /// What is reported.
  public var log = Logging()
  /// Folding the adapter into the base afterwards; nil to leave it apart.
  public var merge: Merge?
  /// Files for other programs; nil for none.
  public var export: Export?

  /// The file it was read from, as it was given; messages point there.
  public var file = ""

  /// Where each given value came from, by key such as `adapter.rank`; keys left to their default are absent.
  public var origins: [String: Origin] = [:]

  /// Where a value came from.
  public enum Origin: Sendable, Equatable, CustomStringConvertible {
    /// Nobody gave it.
    case `default`
    /// The recipe gave it on this line.
    case recipe(line: Int)
    /// An override gave it.
    case commandLine

    /// `default`, `recipe:17` or `command line`.
    public var description: String {
      switch self {
      case .default: "default"
      case .recipe(let line): "recipe:\(line)"
      case .commandLine: "command line"
      }
    }
  }

  /// Every default; the four required values are empty.
  public init() {}

  /// Where the value of `key`, such as `adapter.rank`, came from.
  public func origin(of key: String) -> Origin { origins[key] ?? .default }
}

extension Recipe: Equatable {
  /// Whether both ask for the same run; where the values came from does not matter.
  public static func == (a: Recipe, b: Recipe) -> Bool {
    a.version == b.version && a.name == b.name && a.seed == b.seed && a.outputDirectory == b.outputDirectory
      && a.model == b.model && a.quantization == b.quantization && a.adapter == b.adapter && a.data == b.data
      && a.calibration == b.calibration && a.train == b.train && a.objective == b.objective && a.eval == b.eval
      && a.save == b.save && a.log == b.log
      && a.merge == b.merge
      && a.export == b.export
  }
}
