import Files
import Networks
import Text

/// Which family goes where in a model, and what else learns beside it.
public struct GraftPlan: Sendable, Equatable {
  /// The family, as recipes spell it.
  public var method: String
  /// Rank, scale and the like.
  public var settings: AdapterSettings
  /// The layers it is put on.
  public var targets: Targets
  /// Layers left alone although ``targets`` names them.
  public var excluded: Targets?
  /// The blocks of the model it is limited to.
  public var layers: Layers
  /// Which biases of the base learn.
  public var bias: Bias
  /// Modules that learn whole.
  public var modulesToSave: [String]

  /// A plan; by default on every linear layer but the output head.
  public init(
    method: String, settings: AdapterSettings = AdapterSettings(), targets: Targets = .allLinear, layers: Layers = .all,
    bias: Bias = .none, modulesToSave: [String] = []
  ) {
    (self.method, self.settings, self.targets, self.layers) = (method, settings, targets, layers)
    (self.bias, self.modulesToSave) = (bias, modulesToSave)
  }

  /// How layers are named.
  public enum Targets: Sendable, Equatable {
    /// Each the whole name or its end behind a dot.
    case names([String])
    /// A regular expression for the whole name.
    case pattern(String)
    /// Every linear layer but the output head.
    case allLinear

    /// What tells whether a name is meant.
    func matcher(_ key: String) throws -> (String) -> Bool {
      switch self {
      case .names(let entries): return { name in entries.contains { Self.ends(name, $0) } }
      case .pattern(let pattern):
        do { return try NamePattern(pattern, path: key).matches } catch { throw GraftError("\(error)") }
      case .allLinear: return { !$0.hasSuffix("lm_head") }
      }
    }

    static func ends(_ name: String, _ entry: String) -> Bool { name == entry || name.hasSuffix("." + entry) }
  }

  /// The blocks of a model, by index.
  public enum Layers: Sendable, Equatable {
    /// All of them.
    case all
    /// The last so many.
    case last(Int)
    /// These.
    case indices([Int])
  }

  /// The base's biases that learn beside the adapter.
  public enum Bias: String, Sendable { case none, all, adapted = "lora_only" }
}

/// A plan that does not fit a model or a family, as a sentence.
public struct GraftError: Error, Sendable, Equatable, CustomStringConvertible {
  /// What is wrong and what to do.
  public let description: String
  /// The setting that is to blame, as recipes spell it; of the adapter's section where it names no other.
  public let key: String
  /// The entry of `target_modules` or `modules_to_save` that is to blame, if one is.
  public let entry: String?

  /// An error with the given sentence.
  public init(_ description: String, key: String = "target_modules", entry: String? = nil) {
    (self.description, self.key, self.entry) = (description, key, entry)
  }
}

/// What a plan found in a model.
public struct GraftReport: Sendable {
  /// The names of the layers and tables that carry an adapter, in the order of the model.
  public var sites: [String]
  /// How many layers each entry of a list of targets matched; one row for the other kinds of target.
  public var matches: [(entry: String, count: Int)]
  /// The channels a family chose a site, where it chooses any.
  public var channels: [String: [Int]]

  /// A report of what was found.
  public init(sites: [String], matches: [(entry: String, count: Int)], channels: [String: [Int]] = [:]) {
    (self.sites, self.matches, self.channels) = (sites, matches, channels)
  }
}
