import Adapters
import Autodiff
import Files
import Glibc
import Networks

/// Several families trained on one recipe under one budget, each with several seeds.
///
/// Every run is a process of its own, so that its peak memory is its own; a run that is done is not made again, and one
/// that was interrupted goes on, so the same command given again continues.
public struct Comparison: Sendable {
  /// What is held equal between families.
  public enum Budget: String, Sendable, CaseIterable {
    /// Trainable numbers, by the rank; and with them the steps.
    case params
    /// Steps alone: every family keeps the recipe's rank.
    case steps
    /// Seconds of training: every family keeps the recipe's rank and makes as many steps as fit.
    case seconds
  }

  /// The recipe file.
  public let recipe: String
  /// The families, as recipes spell them.
  public let families: [String]
  /// Whether they were named: then none is left out.
  private let areNamed: Bool
  /// What is held equal.
  public let budget: Budget
  /// The seconds, where they are.
  public let seconds: Double?
  /// The seeds.
  public let seeds: [Int]
  /// Where runs and results go.
  public let folder: String
  /// Changes for all runs, and for the runs of one family.
  public let changes: [String], familyChanges: [String: [String]]

  /// A comparison of the named families, or of all that can be trained by the recipe.
  ///
  /// - Throws: a ``GraftError`` for a family that is not there.
  public init(
    recipe: String, families named: [String]?, budget: Budget, seconds: Double? = nil, seeds: [Int], folder: String,
    changes: [String], familyChanges: [String: [String]]
  ) throws {
    families = named ?? Catalogue.methods
    areNamed = named != nil
    for family in families where !Catalogue.methods.contains(family) {
      throw GraftError("family '\(family)' is not one of \(Catalogue.methods.joined(separator: ", "))")
    }
    for family in familyChanges.keys.sorted() where !families.contains(family) {
      throw GraftError(
        "a change is for family '\(family)', which is not compared (\(families.joined(separator: ", ")))")
    }
    (self.recipe, self.budget, self.seeds) = (recipe, budget, seeds)
    self.seconds = seconds
    (self.folder, self.changes, self.familyChanges) = (folder, changes, familyChanges)
  }

  /// One run of the comparison.
  public struct Member: Sendable, Equatable {
    /// The family, and the seed.
    public let family: String, seed: Int
    /// Where it goes.
    public let folder: String
    /// What the command line changes of the recipe.
    public let changes: [String]
  }

  /// The runs, families in order and seeds within them; and, where families were not named, those that cannot be
  /// trained by the recipe, with why.
  ///
  /// - Throws: what reading the recipe, checking it and grafting a named family on its model throw.
  public func members(
    catalogue: RecipeCatalogue
  ) throws -> (runs: [Member], leftOut: [(family: String, reason: String)]) {
    let original = try Recipe.read(recipe, overrides: changes, catalogue: catalogue)
    let wanted = try TrainableCount(original)(original.adapter)
    var clock = try seconds.map { try ComparisonClock(seconds: $0, folder: folder) }
    var leftOut: [(family: String, reason: String)] = []
    let runs = try families.flatMap { family in
      var own = changes + ["adapter.type=\(family)", "merge.format=adapter_only", "~export", "log.plot=false"]
      // Keys that mean nothing to full fine-tuning, where the recipe gives them.
      if family == Full.method {
        let keys = ["adapter.rank", "adapter.alpha", "adapter.scale", "adapter.dropout"]
        own += keys.filter { original.origin(of: $0) != .default }.map { "~" + $0 }
      }
      own += familyChanges[family] ?? []
      func changed() throws -> Recipe { try Recipe.read(recipe, overrides: own, catalogue: catalogue) }
      if !areNamed, let reason = objection(changed) {
        leftOut.append((family, reason))
        return [Member]()
      }
      // What a family refuses of the recipe is told before another has trained.
      if areNamed { try RunPlan.check(changed()) }
      // Full fine-tuning has no rank: it shows what all numbers would give.
      if budget == .params && family != Full.method {
        let rank = try rank(of: changed(), wanted: wanted)
        own.append("adapter.rank=\(rank)")
        // Another rank, but the same factor in front of the change.
        if let alpha = original.adapter.alpha, !own.contains(where: { $0.hasPrefix("adapter.scale=") }) {
          let growth = Double(rank) / Double(original.adapter.rank)
          own.append("adapter.alpha=\(alpha * (original.adapter.rslora ? growth.squareRoot() : growth))")
        }
      }
      if clock != nil {
        let scratch = "output_dir=\(folder)/\(family)-\(seeds[0])"
        let steps = try clock?.steps(
          of: family, Recipe.read(recipe, overrides: own + [scratch], catalogue: catalogue))
        if original.train.maxSteps == nil, original.origin(of: "train.epochs") != .default {
          own.append("~train.epochs")
        }
        own.append("train.max_steps=\(steps ?? 1)")
      }
      return seeds.map { seed in
        let path = folder + "/" + family + "-" + String(seed)
        return Member(family: family, seed: seed, folder: path, changes: own + ["seed=\(seed)", "output_dir=\(path)"])
      }
    }
    return (runs, leftOut)
  }

  /// Why the recipe so changed cannot be trained; nil where it can.
  private func objection(_ recipe: () throws -> Recipe) -> String? {
    do {
      let changed = try recipe()
      try RunPlan.check(changed)
      _ = try TrainableCount(changed)(changed.adapter)
      return nil
    } catch {
      return "\(error)".split(separator: "\n").first.map(String.init) ?? ""
    }
  }

  /// The rank at which a family's recipe trains about as many numbers as the recipe's own adapter does.
  private func rank(of recipe: Recipe, wanted: Int) throws -> Int {
    let trainable = try TrainableCount(recipe)
    func count(_ rank: Int) throws -> Int {
      var adapter = recipe.adapter
      adapter.rank = rank
      return try trainable(adapter)
    }
    // A family's count never falls with its rank: double until it is enough, then halve the gap.
    var low = 1, high = 1
    while try count(high) < wanted, high < 1 << 14 { (low, high) = (high, 2 * high) }
    while high - low > 1 {
      let middle = (low + high) / 2
      if try count(middle) < wanted { low = middle } else { high = middle }
    }
    let (below, above) = (try count(low), try count(high))
    return abs(wanted - below) <= abs(above - wanted) ? low : high
  }
}
