import Autodiff
import Weights

/// What a forward pass knows besides its input.
public struct Context: Sendable {
  /// Which of a sequence of tasks this is, for families that keep something a task.
  public var task: Int?
  /// Where dropout draws from; nil outside training. A key of its own for every micro-batch.
  public var random: RandomKey?
  /// Whether each layer's activations are forgotten and computed again on the way back.
  public var recomputes: Bool

  /// A context; by default that of plain inference.
  public init(task: Int? = nil, random: RandomKey? = nil, recomputes: Bool = false) {
    (self.task, self.random, self.recomputes) = (task, random, recomputes)
  }

  /// Whether this pass is one of training.
  public var isTraining: Bool { random != nil }
}

/// How an adapter can leave the model it was trained in.
public enum Merging: Sendable, Equatable {
  /// Folds into the base weights for any input.
  case exact
  /// Folds once the task is chosen.
  case perTask
  /// Cannot fold, and says why; a recipe that asks for a merge is refused before training.
  case never(because: String)
}

/// What a family may ask to know about a layer's input before it starts.
public struct Statistics: OptionSet, Sendable {
  /// One bit a statistic.
  public let rawValue: Int
  /// The statistics with the given bits.
  public init(rawValue: Int) { self.rawValue = rawValue }
  /// `C = E[x xᵀ]`, `[inputs, inputs]`.
  public static let secondMoment = Statistics(rawValue: 1)
}

/// Everything an adapter is given when it starts on one layer.
public struct Setup: Sendable {
  /// The layer's name in the model.
  public let site: String
  /// Numbers of this site alone, so that adding a target leaves the others' start as it was.
  public let random: RandomKey
  /// Present when the family's ``Adapter/statistics`` asked for it.
  public var secondMoment: Tensor?

  /// The setup of one site of a run whose initialisation draws from `random`.
  public init(site: String, random: RandomKey, secondMoment: Tensor? = nil) {
    (self.site, self.random, self.secondMoment) = (site, random[site], secondMoment)
  }
}

/// What a recipe, or another tool's adapter folder, says of the adapters of a run.
public struct AdapterSettings: Sendable, Equatable {
  /// The rank where no pattern says otherwise.
  public var rank: Int
  /// α where no pattern says otherwise; the change is scaled by α / rank.
  public var alpha: Double
  /// Whether the scale is α / √rank instead (rsLoRA).
  public var isRankStabilised = false
  /// The share of a branch's inputs set to zero in training.
  public var dropout = 0.0
  /// Whether the branch has a bias of its own (PEFT's `lora_bias`).
  public var hasBias = false
  /// How the factors start, as recipes spell it.
  public var start = "default"
  /// Ranks, and α, of the layers whose names match a pattern; the longest matching pattern decides.
  public var rankPattern: [String: Int] = [:]
  /// See ``rankPattern``.
  public var alphaPattern: [String: Double] = [:]
  /// A family's own keys, as they were written.
  public var options: [String: String] = [:]

  /// Settings with the given rank and α.
  public init(rank: Int = 8, alpha: Double = 8) { (self.rank, self.alpha) = (rank, alpha) }

  /// The rank of the adapter on `site`.
  public func rank(at site: String) -> Int { Self.match(rankPattern, site) ?? rank }

  /// The factor of the adapter on `site`.
  public func scale(at site: String) -> Float {
    let rank = Double(rank(at: site)), alpha = Self.match(alphaPattern, site) ?? alpha
    return Float(alpha / (isRankStabilised ? rank.squareRoot() : rank))
  }

  /// The value of the longest pattern that is the end of `site`, as a regular expression.
  private static func match<Value>(_ patterns: [String: Value], _ site: String) -> Value? {
    let hits = patterns.filter { pattern, _ in
      guard let expression = try? Regex("(.*\\.)?(\(pattern))") else { return false }
      return (try? expression.wholeMatch(in: site)) != nil
    }
    return hits.max { ($0.key.count, $0.key) < ($1.key.count, $1.key) }?.value
  }
}

/// A small trainable change to one frozen layer.
///
/// A conforming type is one family of the literature in one file: how it starts, what it computes, and how it folds
/// away. It never learns what model it sits in or how its base is packed.
public protocol Adapter<Base>: Module {
  /// The kind of layer it changes.
  associatedtype Base: FrozenLayer = FrozenLinear
  /// What can be chosen about it.
  associatedtype Configuration: Sendable

  /// The name recipes use, e.g. `lora`.
  static var method: String { get }
  /// Whether an adapter so configured can fold; asked before training, so a recipe fails early.
  static func merging(_ configuration: Configuration) -> Merging
  /// What to measure on calibration data first; nothing, for most.
  static var statistics: Statistics { get }
  /// The recipe keys of this family besides those in ``AdapterSettings``; none, for most.
  static var options: [String] { get }
  /// What `settings` choose for the layer named `site`.
  static func configuration(_ settings: AdapterSettings, at site: String) throws -> Configuration

  /// Starts an adapter on `base`. A method that moves part of the base into itself leaves the rest in `base`.
  init(on base: inout Base, _ configuration: Configuration, _ setup: Setup) throws

  /// The layer's output with the change.
  func callAsFunction(_ x: Tensor, over base: Base, _ context: Context) -> Tensor

  /// The base with this adapter folded in, its weight as `Float` whatever it was.
  func merged(into base: Base, _ context: Context) -> Base
}

extension Adapter {
  /// Nothing is measured.
  public static var statistics: Statistics { [] }
  /// No keys of its own.
  public static var options: [String] { [] }
}

/// A layer whose weights are frozen.
public protocol FrozenLayer: Sendable {}
