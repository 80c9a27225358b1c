import Autodiff
import Text
import Weights

/// What a forward pass knows besides its input.
public struct Context: Sendable {
  /// Which of a sequence of tasks this is, for families that keep something a task.
  public var task: Int?
  /// Where a batch mixes tasks: the task of each run of rows, in order. Empty where ``task`` holds for all.
  public var taskRows: [(task: Int, rows: Range<Int>)] = []
  /// Where dropout draws from; nil outside training. A key of its own for every micro-batch.
  public var random: RandomKey?
  /// Whether each layer's activations are forgotten and computed again on the way back.
  public var recomputes: Bool
  /// Where batch norms that learn leave what they saw; nil where nobody will fold it back.
  public var moments: MomentRecorder?

  /// A context; by default that of plain inference.
  public init(
    task: Int? = nil, random: RandomKey? = nil, recomputes: Bool = false, moments: MomentRecorder? = nil
  ) {
    (self.task, self.random, self.recomputes, self.moments) = (task, random, recomputes, moments)
  }

  /// The task of each run of `count` rows: what ``taskRows`` say, else ``task`` for all; stops without either.
  public func tasks(ofRows count: Int) -> [(task: Int, rows: Range<Int>)] {
    if let last = taskRows.last {
      require(last.rows.upperBound == count, "tasks were named for \(last.rows.upperBound) rows of \(count)")
      return taskRows
    }
    guard let task else { fatalError("an adapter that routes by task was run without one") }
    return [(task, 0..<count)]
  }

  /// The context of the rows that stand at `tokens` of this one's: the head reads some rows, not all.
  public func at(_ tokens: [Int32]) -> Context {
    guard !taskRows.isEmpty else { return self }
    var context = self
    context.taskRows = []
    for (row, token) in tokens.enumerated() {
      guard let task = taskRows.first(where: { $0.rows.contains(Int(token)) })?.task else { continue }
      if let last = context.taskRows.last, last.task == task {
        context.taskRows[context.taskRows.count - 1].rows = last.rows.lowerBound..<row + 1
      } else {
        context.taskRows.append((task, row..<row + 1))
      }
    }
    return context
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
  /// The mean magnitude and the mean square of each input channel.
  public static let magnitudes = Statistics(rawValue: 2)
  /// The square of the loss's gradient at the layer's matrix, a channel.
  public static let gradient = Statistics(rawValue: 1 << 8)
  /// The largest magnitude of each input channel, and some of the rows themselves.
  public static let samples = Statistics(rawValue: 4)
}

/// Everything an adapter is given when it starts on one layer.
public struct Setup: Sendable {
  /// The layer's name in the model.
  public let site: String
  /// Numbers of this site alone, so that adding a target leaves the others' start as it was.
  public let random: RandomKey
  /// What was measured of the site's input when the family's ``Adapter/statistics`` asked for it.
  public var statistics: SiteStatistics?
  /// The channels, or other whole numbers, the family's ``Adapter/plan(_:_:random:)`` chose here.
  public var channels: [Int]?
  /// The number of tasks, for families that keep something a task.
  public var tasks: Int
  /// The layer's matrix before this run rounded it; nil where it did not.
  public var original: FrozenWeight?
  /// Whether the layer is the model's output head.
  public var isHead = false

  /// The setup of one site of a run whose initialisation draws from `random`.
  public init(
    site: String, random: RandomKey, statistics: SiteStatistics? = nil, channels: [Int]? = nil, tasks: Int = 1,
    original: FrozenWeight? = nil
  ) {
    (self.site, self.random) = (site, random[site])
    (self.statistics, self.channels, self.tasks, self.original) = (statistics, channels, tasks, original)
  }
}

/// What was measured of one layer's input on calibration data, padding left out.
public struct SiteStatistics: Sendable {
  /// `C = Σ x xᵀ / rows`, `[inputs, inputs]`; nil where only the diagonal's kin was asked for.
  public var secondMoment: Tensor?
  /// The mean of |xⱼ| and of xⱼ² a channel, `[inputs]`.
  public var meanMagnitude: Tensor, meanSquare: Tensor
  /// The largest |xⱼ| of a channel over all rows, `[inputs]`, and some of the rows, `[samples, inputs]`; nil where not
  /// asked for.
  public var largestMagnitude: Tensor?, samples: Tensor?
  /// The rows measured.
  public var rows: Int
  /// See ``ChannelSquares``; nil where it was not asked for.
  public var gradient: ChannelSquares?

  /// Statistics of `rows` rows.
  public init(
    secondMoment: Tensor? = nil, meanMagnitude: Tensor, meanSquare: Tensor, largestMagnitude: Tensor? = nil,
    samples: Tensor? = nil, rows: Int
  ) {
    (self.secondMoment, self.meanMagnitude) = (secondMoment, meanMagnitude)
    (self.meanSquare, self.rows) = (meanSquare, rows)
    (self.largestMagnitude, self.samples) = (largestMagnitude, samples)
  }
}

/// Σ (∂L/∂W)² over the columns and over the rows of a layer's matrix.
public struct ChannelSquares: Sendable, Equatable {
  /// The sum a column, `[inputs]`.
  public var inputs: Tensor
  /// The sum a row, `[outputs]`.
  public var outputs: Tensor

  /// Squares of both sides.
  public init(inputs: Tensor, outputs: Tensor) { (self.inputs, self.outputs) = (inputs, outputs) }
}

/// One layer as a family sees it that plans over many at once.
public struct Site<Base: FrozenLayer>: Sendable {
  /// The layer's name in the model.
  public let name: String
  /// The layer.
  public let base: Base
  /// What was measured of its input.
  public let statistics: SiteStatistics?
  /// Channels that belong together and are chosen or left together, such as a head's; 1 where each stands alone.
  public let unit: Int
  /// The layer's matrix before this run rounded it; nil where it did not.
  public let original: FrozenWeight?

  /// A site.
  public init(
    name: String, base: Base, statistics: SiteStatistics? = nil, unit: Int = 1, original: FrozenWeight? = nil
  ) {
    (self.name, self.base, self.statistics, self.unit, self.original) = (name, base, statistics, unit, original)
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
  /// The names of the tasks, for families that keep something a task.
  public var tasks: [String] = []
  /// The channels, or other whole numbers, that were chosen for each site; empty until a family's plan has chosen.
  public var channels: [String: [Int]] = [:]

  /// The value of a family's own key, read by `convert`; `standard` where it was not given.
  ///
  /// - Throws: when the text is none that `convert` takes; `expected` says what it should be.
  public func option<Value>(
    _ key: String, _ standard: Value, expected: String, _ convert: (String) -> Value?
  ) throws -> Value {
    guard let text = options[key] else { return standard }
    guard let value = convert(text) else { throw AdapterOptionError(key: key, text: text, expected: expected) }
    return value
  }

  /// Settings with the given rank and α.
  public init(rank: Int = 8, alpha: Double = 8) { (self.rank, self.alpha) = (rank, alpha) }

  /// The rank of the adapter on `site`.
  public func rank(at site: String) -> Int { Self.match(rankPattern, site) ?? rank }

  /// The rank of the site that has the most.
  public var largestRank: Int { max(rank, rankPattern.values.max() ?? 0) }

  /// The factor of the adapter on `site`.
  public func scale(at site: String) -> Float {
    let rank = Double(rank(at: site)), alpha = Self.match(alphaPattern, site) ?? alpha
    return Float(alpha / (isRankStabilised ? rank.squareRoot() : rank))
  }

  /// Refuses patterns that are no regular expressions, before anything is computed with them.
  ///
  /// - Throws: a `FileError` for `path`.
  public func checkPatterns(path: String) throws {
    for pattern in Set(rankPattern.keys).union(alphaPattern.keys).sorted() { _ = try Self.expression(pattern, path) }
  }

  private static func expression(_ pattern: String, _ path: String) throws -> NamePattern {
    try NamePattern(pattern, allowsPrefix: true, path: path)
  }

  /// The value of the longest pattern that is the end of `site`, as a regular expression.
  private static func match<Value>(_ patterns: [String: Value], _ site: String) -> Value? {
    let hits = patterns.filter { pattern, _ in (try? expression(pattern, ""))?.matches(site) == true }
    return hits.max { ($0.key.count, $0.key) < ($1.key.count, $1.key) }?.value
  }
}

/// A family's own recipe key with a value that means nothing to it.
public struct AdapterOptionError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The key, and the text it was given.
  public let key: String, text: String
  /// What it should be.
  public let expected: String
  /// The sentence.
  public var description: String { "adapter.\(key) '\(text)' is not \(expected)" }
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
  static func statistics(_ settings: AdapterSettings) throws -> Statistics
  /// The recipe keys of this family besides those in ``AdapterSettings``; none, for most.
  static var options: [String] { get }
  /// What `settings` choose for the layer named `site`.
  static func configuration(_ settings: AdapterSettings, at site: String) throws -> Configuration
  /// The channels each site trains, or other whole numbers that shape what it computes, for families that choose them
  /// before they start; nothing, for most. They are stored with the adapter's settings.
  static func plan(_ sites: [Site<Base>], _ settings: AdapterSettings, random: RandomKey) throws -> [String: [Int]]

  /// Starts an adapter on `base`. A method that moves part of the base into itself leaves the rest in `base`.
  init(on base: inout Base, _ configuration: Configuration, _ setup: Setup) throws

  /// The layer's output with the change.
  func callAsFunction(_ x: Tensor, over base: Base, _ context: Context) -> Tensor

  /// The base with this adapter folded in, its weight as `Float` whatever it was.
  func merged(into base: Base, _ context: Context) -> Base

  /// The adapter as it is stored, for the base as it lies on disk: itself, for most; a plain LoRA of twice the rank
  /// where the start moved part of the base into the adapter.
  var stored: any Adapter<Base> { get }
  /// The family and the settings under which it is stored.
  static func stored(_ settings: AdapterSettings) -> (method: String, settings: AdapterSettings)
  /// The weight with which a run pulls two passes of one step together, for families that draw at random what a pass
  /// uses; nil, one pass, for most.
  static func consistency(_ settings: AdapterSettings) throws -> Double?
}

extension Adapter {
  /// Nothing is measured.
  public static func statistics(_ settings: AdapterSettings) throws -> Statistics { [] }
  /// Nothing is chosen over all sites.
  public static func plan(
    _ sites: [Site<Base>], _ settings: AdapterSettings, random: RandomKey
  ) throws -> [String: [Int]] { [:] }
  /// No keys of its own.
  public static var options: [String] { [] }
  /// Itself.
  public var stored: any Adapter<Base> { self }
  /// As it is.
  public static func stored(_ settings: AdapterSettings) -> (method: String, settings: AdapterSettings) {
    (method, settings)
  }
  /// One pass a step.
  public static func consistency(_ settings: AdapterSettings) throws -> Double? { nil }
}

/// A layer whose weights are frozen.
public protocol FrozenLayer: Sendable {}
