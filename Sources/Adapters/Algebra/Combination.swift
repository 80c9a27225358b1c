import Autodiff

/// A way to make one low-rank change of a layer out of several.
///
/// `cat` is the weighted sum itself; `svd` is the closest to it of a chosen rank. The others do something else on
/// purpose: they thin the changes out first, so that tasks disturb each other less.
public struct Combination: Sendable {
  /// What is done.
  public var method: Method
  /// The rank of the result where it is free; nil for the largest among the parts.
  public var rank: Int?
  /// The share of numbers that pruning keeps.
  public var density: Double?
  /// How signs are elected.
  public var signs = SignElection.total
  /// What pruning and elections look at.
  public var ground = Ground.change
  /// Where random pruning draws from.
  public var random = RandomKey(seed: 0)

  /// A combination by the given method.
  public init(_ method: Method) { self.method = method }

  /// The methods, as the command line spells them.
  public enum Method: String, Sendable, CaseIterable {
    /// Σ wᵢ Δᵢ exactly; ranks add up.
    case cat
    /// PEFT's `linear`: sums of A and sums of B, which adds cross terms Bᵢ Aⱼ to the sum.
    case linear
    /// The closest to Σ wᵢ Δᵢ of a lower rank.
    case svd
    /// The largest numbers, those of the elected sign, their mean (Yadav et al. 2023).
    case ties
    /// Random numbers, scaled up, their sum (DARE, Yu et al. 2023, <https://arxiv.org/abs/2311.03099>).
    case dare
    /// Random numbers, scaled up, those of the elected sign, their mean.
    case dareTies = "dare-ties"
    /// The largest numbers, their sum.
    case prune

    /// Whether it keeps a share of the numbers only.
    public var thins: Bool { self == .ties || self == .dare || self == .dareTies || self == .prune }
    /// Whether it lets signs be elected.
    public var elects: Bool { self == .ties || self == .dareTies }
  }

  /// What a change looks like to pruning and elections.
  public enum Ground: String, Sendable, CaseIterable {
    /// The matrix s B A, as the papers mean it; the result is cut to a rank. PEFT's `ties_svd` and kin.
    case change
    /// A and B each for itself, as PEFT's `ties` and kin do; ranks must agree, and cross terms appear.
    case factors
  }

  /// - Throws: a ``GraftError`` for settings that contradict the method.
  public func check() throws {
    if method.thins {
      guard let density else {
        throw GraftError("'\(method.rawValue)' needs a density, the share of numbers it keeps, such as 0.2")
      }
      guard density > 0, density <= 1 else {
        throw GraftError("density \(density): expected a share above 0 and at most 1")
      }
    } else if let density {
      throw GraftError("'\(method.rawValue)' keeps every number; leave out density \(density)")
    }
    if let rank {
      guard rank > 0 else { throw GraftError("rank \(rank): expected at least 1") }
      guard method == .svd || (method.thins && ground == .change) else {
        throw GraftError("the rank of '\(method.rawValue)' follows from the adapters; leave out rank \(rank)")
      }
    }
    if ground == .factors, !method.thins {
      throw GraftError("'\(method.rawValue)' looks at no numbers one by one; a ground belongs to those that prune")
    }
  }

  /// The combined change of the layer named `site`, the scale in it being 1.
  ///
  /// ``Truncation/lost`` is the distance to what the method aims at: for `linear`, to Σ wᵢ Δᵢ. The cost is nil for
  /// `cat`, which has none, and where factors were thinned one by one, which aims at no matrix.
  ///
  /// - Throws: a ``GraftError`` naming the site when ranks differ that must not, or numbers overflow.
  public func combined(_ parts: [WeightedChange], site: String) throws -> (change: LowRankFactors, cost: Truncation?) {
    do {
      switch method {
      case .cat: return (.concatenated(parts), nil)
      case .svd:
        let cut = try LowRankFactors.concatenated(parts).truncated(to: target(parts))
        return (cut.change, cut)
      case .linear:
        let change = try byFactor(parts, site), sum = LowRankFactors.concatenated(parts)
        let apart = LowRankFactors.concatenated([
          WeightedChange(change, weight: 1), WeightedChange(sum, weight: -1),
        ])
        return (change, Truncation(change: change, energy: try sum.energy(), lost: try apart.energy()))
      case .ties, .dare, .dareTies, .prune:
        if ground == .factors { return (try byFactor(parts, site), nil) }
        let whole = merged(parts.map(\.change.product), parts.map(\.weight), random[site])
        let cut = try LowRankFactors.closest(to: whole, rank: target(parts), bias: LowRankFactors.biasSum(parts))
        return (cut.change, cut)
      }
    } catch let error as DecompositionError { throw GraftError("layer '\(site)': \(error)") }
  }

  private func target(_ parts: [WeightedChange]) -> Int { rank ?? parts.map(\.change.rank).max() ?? 1 }

  /// The method on the list of A and on the list of B, each taking the root of |w s| and A its sign.
  private func byFactor(_ parts: [WeightedChange], _ site: String) throws -> LowRankFactors {
    let ranks = parts.map(\.change.rank)
    guard Set(ranks).count == 1 else {
      let list = ranks.map(String.init).joined(separator: " and ")
      throw GraftError(
        "layer '\(site)': '\(method.rawValue)' adds factors up and needs one rank, but they have \(list); use cat or svd"
      )
    }
    let roots = parts.map { abs($0.factor).squareRoot() }
    let signed = zip(parts, roots).map { $0.factor < 0 ? -$1 : $1 }
    return LowRankFactors(
      a: merged(parts.map(\.change.a), signed, random[site]["A"]),
      b: merged(parts.map(\.change.b), roots, random[site]["B"]), scale: 1, bias: LowRankFactors.biasSum(parts))
  }

  /// One tensor from several of the same shape: thinned out, then added up or averaged over those of the elected sign.
  func merged(_ tensors: [Tensor], _ weights: [Float], _ random: RandomKey) -> Tensor {
    let density = density ?? 1
    let thinned = tensors.enumerated().map { index, tensor in
      switch method {
      case .ties, .prune: tensor.keepingLargest(density)
      case .dare, .dareTies: tensor.keepingRandom(density, from: random[index])
      case .cat, .linear, .svd: tensor
      }
    }
    if method.elects { return electedMean(thinned, weights: weights, signs: signs) }
    let weighted = zip(weights, thinned).map { $0 * $1 }
    return weighted.dropFirst().reduce(weighted[0]) { $0 + $1 }
  }
}
