import Autodiff
import Testing

@testable import Adapters

/// Combining changes of one layer.
struct CombinationTests {
  // Notes on methods A, 1.14, checked there in numpy: s₁ = 1, s₂ = 2, weights 0.5 and −0.25.
  private let golden = [
    WeightedChange(
      LowRankFactors(a: Tensor([1, 0, 0, 1], shape: [2, 2]), b: Tensor([1, 2, 0, 1], shape: [2, 2]), scale: 1),
      weight: 0.5),
    WeightedChange(
      LowRankFactors(a: Tensor([0, 1, 1, 1], shape: [2, 2]), b: Tensor([1, 0, 1, -1], shape: [2, 2]), scale: 2),
      weight: -0.25),
  ]

  private func random(_ ranks: [Int], outputs: Int = 12, inputs: Int = 9) -> [WeightedChange] {
    ranks.enumerated().map { index, rank in
      let key = RandomKey(seed: 11)[index]
      return WeightedChange(
        LowRankFactors(
          a: .normal([rank, inputs], from: key["a"]), b: .normal([outputs, rank], from: key["b"]),
          scale: 0.5 + Float(index)),
        weight: [0.7, -1.3, 2][index])
    }
  }

  private func sum(_ parts: [WeightedChange]) -> Tensor {
    let products = parts.map { $0.weight * $0.change.product }
    return products.dropFirst().reduce(products[0]) { $0 + $1 }
  }

  private func combine(
    _ method: Combination.Method, _ parts: [WeightedChange], _ change: (inout Combination) -> Void = { _ in }
  ) throws -> (change: LowRankFactors, cost: Truncation?) {
    var combination = Combination(method)
    change(&combination)
    try combination.check()
    return try combination.combined(parts, site: "q_proj")
  }

  @Test func `The notes' two adapters give the notes' sums`() throws {
    #expect(try combine(.cat, golden).change.product.values == [0.5, 0.5, 0.5, 0.5])
    let linear = try combine(.linear, golden).change.product
    #expect(Specimen.distance(linear, Tensor([0, -1, 0.5, -0.5], shape: [2, 2])) < 1e-6)
    // Scaled twice, the target would be [[.5, 0], [1, .5]].
    let svd = try combine(.svd, golden)
    #expect(Specimen.distance(svd.change.product, Tensor([0.5, 0.5, 0.5, 0.5], shape: [2, 2])) < 1e-6)
  }

  @Test(arguments: [[3], [3, 3], [2, 5, 1], [9, 9, 9]])
  func `Concatenation is the weighted sum, and its ranks add up`(_ ranks: [Int]) throws {
    let parts = random(ranks), change = try combine(.cat, parts).change
    #expect(change.rank == ranks.reduce(0, +) && change.scale == 1)
    #expect(Specimen.distance(change.product, sum(parts)) < 1e-6)
  }

  @Test(arguments: [[3], [3, 3], [2, 4, 1], [9, 9]])
  func `A truncation whose rank suffices is the weighted sum`(_ ranks: [Int]) throws {
    let parts = random(ranks), total = ranks.reduce(0, +)
    let (change, cost) = try combine(.svd, parts) { $0.rank = total }
    #expect(Specimen.distance(change.product, sum(parts)) < 1e-5 && change.scale == 1)
    #expect(change.rank == min(total, 9))
    #expect(try #require(cost).residual < 1e-10)
  }

  @Test(arguments: [1, 2, 3, 5])
  func `A truncation leaves out the smallest singular values and says how much`(_ rank: Int) throws {
    let parts = random([4, 3]), (change, cost) = try combine(.svd, parts) { $0.rank = rank }
    let target = sum(parts)
    // By the dense matrix's own decomposition, which the factors' is not.
    let dense = try LowRankFactors.closest(to: target, rank: rank)
    #expect(change.rank == rank && Specimen.distance(change.product, dense.change.product) < 1e-5)
    func energy(_ tensor: Tensor) -> Double { tensor.values.reduce(0) { $0 + Double($1) * Double($1) } }
    let cut = try #require(cost)
    #expect(abs(cut.energy - energy(target)) < 1e-5 * energy(target))
    #expect(abs(cut.lost - energy(change.product - target)) < 1e-4 * energy(target))
    #expect(abs(cut.lost - dense.lost) < 1e-5 * energy(target))
  }

  @Test func `Sums of factors are the weighted sum for one adapter, and miss it by cross terms for two`() throws {
    let one = Array(random([3]))
    #expect(Specimen.distance(try combine(.linear, one).change.product, sum(one)) < 1e-6)
    let two = random([3, 3]), (change, cost) = try combine(.linear, two)
    // B = √c₁ B₁ + √|c₂| B₂, A = √c₁ A₁ − √|c₂| A₂, with c₂ < 0.
    let (c1, c2) = (two[0].factor, -two[1].factor), (p, q) = (two[0].change, two[1].change)
    let cross = (c1 * c2).squareRoot() * (matmul(q.b, p.a) - matmul(p.b, q.a))
    #expect(c1 > 0 && c2 > 0 && Specimen.distance(change.product, sum(two) + cross) < 1e-5)
    func energy(_ tensor: Tensor) -> Double { tensor.values.reduce(0) { $0 + Double($1) * Double($1) } }
    #expect(abs(try #require(cost).residual - energy(cross) / energy(sum(two))) < 1e-4)
    // Adapters that share A have no cross terms worth the name: the products add up as the factors do.
    let shared = WeightedChange(LowRankFactors(a: p.a, b: p.b, scale: p.scale), weight: two[0].weight)
    let doubled = try combine(.linear, [shared, shared]).change.product
    #expect(Specimen.distance(doubled, 2 * sum([shared, shared])) < 1e-5)
  }

  @Test func `Ranks that differ are refused where factors are added up, with what to do`() throws {
    let parts = random([3, 4])
    let expected =
      "layer 'q_proj': 'linear' adds factors up and needs one rank, but they have 3 and 4; use cat or svd"
    #expect { _ = try combine(.linear, parts) } throws: { "\($0)" == expected }
    #expect(throws: GraftError.self) {
      try combine(.ties, parts) {
        $0.ground = .factors
        $0.density = 0.5
      }
    }
  }

  @Test(arguments: SignElection.allCases)
  func `The notes' three vectors elect the notes' numbers`(_ signs: SignElection) {
    // Notes on methods A, 1.14: density 0.5, weights 1.
    var combination = Combination(.ties)
    (combination.density, combination.signs) = (0.5, signs)
    let vectors = [[3, -1, 0.5, 0], [-2, -4, 1, 0.2], [1, 2, -3, -0.1]].map { Tensor($0, shape: [4]) }
    let elected = combination.merged(vectors, [1, 1, 1], RandomKey(seed: 0))
    #expect(elected.values == [3, -2.5, -3, 0])
  }

  @Test func `Majority and movement elect different signs, and a tie counts as positive`() {
    let tensors = [Tensor([5, 2], shape: [2]), Tensor([-1, -2], shape: [2]), Tensor([-2, 0], shape: [2])]
    // By hand: 5 − 1 − 2 > 0 but two of three are negative; 2 − 2 = 0 is positive.
    #expect(electedMean(tensors, weights: [1, 1, 1], signs: .total).values == [5, 2])
    #expect(electedMean(tensors, weights: [1, 1, 1], signs: .frequency).values == [-1.5, 2])
    // Weights scale what agrees, and have no vote.
    #expect(electedMean(tensors, weights: [0.1, 1, 10], signs: .total).values == [0.5, 0.2])
  }

  @Test(arguments: SignElection.allCases, Combination.Ground.allCases)
  func `Electing among one adapter at density 1 changes nothing`(
    _ signs: SignElection, _ ground: Combination.Ground
  ) throws {
    let change = random([3])[0].change, alone = [WeightedChange(change, weight: 1)]
    let elected = try combine(.ties, alone) { ($0.density, $0.signs, $0.ground) = (1, signs, ground) }
    #expect(Specimen.distance(elected.change.product, change.product) < 1e-5)
  }

  @Test func `Random pruning at density 1 is the sum, of changes or of factors`() throws {
    let parts = random([3, 3])
    let changes = try combine(.dare, parts) { ($0.density, $0.rank) = (1, 6) }
    #expect(Specimen.distance(changes.change.product, sum(parts)) < 1e-5)
    let factors = try combine(.dare, parts) { ($0.density, $0.ground) = (1, .factors) }
    let linear = try combine(.linear, parts).change
    let isSame = factors.change == linear
    #expect(isSame && factors.cost == nil)
    // With an election besides, it is ties at density 1.
    let elected = try combine(.dareTies, parts) { $0.density = 1 }.change
    let isTies = elected == (try combine(.ties, parts) { $0.density = 1 }.change)
    #expect(isTies)
  }

  @Test func `The mean of random prunings over many seeds is the tensor itself`() {
    let tensor = Tensor.normal([40], from: RandomKey(seed: 4)), draws = 4000, density = 0.3
    var mean = Tensor.zeros([40])
    for seed in 0..<draws {
      mean = mean + (1 / Float(draws)) * tensor.keepingRandom(density, from: RandomKey(seed: UInt64(seed)))
    }
    // A kept number is x / p: deviation x √((1 − p) / p / draws) = 0.024 x; five of them.
    let bound = 5 * Float((0.7 / 0.3 / Double(draws)).squareRoot())
    #expect(zip(mean.values, tensor.values).allSatisfy { abs($0 - $1) <= bound * abs($1) })
  }

  @Test func `Random pruning keeps about its share, the same for one seed and another for another`() throws {
    let tensor = Tensor.filled(2, [10000])
    let first = tensor.keepingRandom(0.25, from: RandomKey(seed: 1))
    // √(0.25 · 0.75 · 10000) = 43; five of them.
    #expect(abs(first.values.count { $0 == 8 } - 2500) < 217 && first.values.allSatisfy { $0 == 0 || $0 == 8 })
    let parts = random([3, 3])
    func dare(_ seed: UInt64) throws -> LowRankFactors {
      try combine(.dare, parts) { ($0.density, $0.random) = (0.5, RandomKey(seed: seed)) }.change
    }
    let (one, again, other) = (try dare(1), try dare(1), try dare(2))
    #expect(one.a.values == again.a.values && one.a.values != other.a.values)
  }

  @Test func `Pruning keeps the largest, and of equals the first`() {
    let tensor = Tensor([1, -3, 2, -2, 0.5, 2], shape: [2, 3])
    #expect(tensor.keepingLargest(0.5).values == [0, -3, 2, -2, 0, 0])
    #expect(tensor.keepingLargest(1).values == tensor.values)
    #expect(tensor.keepingLargest(0.01).values == [0, -3, 0, 0, 0, 0])
    // As decimals; in binary floating point 0.29 · 100 is 28.999….
    #expect(Tensor.kept(0.29, of: 100) == 29 && Tensor.kept(0.5, of: 5) == 2 && Tensor.kept(0.999, of: 10) == 9)
  }

  @Test func `Pruned changes are the sum of the pruned matrices, cut to the rank`() throws {
    let parts = random([3, 2])
    let pruned = parts.map { $0.weight * $0.change.product.keepingLargest(0.4) }
    let (change, cost) = try combine(.prune, parts) { ($0.density, $0.rank) = (0.4, 9) }
    #expect(Specimen.distance(change.product, pruned[0] + pruned[1]) < 1e-5)
    #expect(try #require(cost).residual < 1e-10)
    #expect(try combine(.prune, parts) { $0.density = 0.4 }.change.rank == 3)
  }

  @Test func `Biases of branches add up with their weights`() throws {
    let parts = random([2, 2]).enumerated().map { index, part in
      let bias: Tensor? = index == 0 ? .filled(2, [12]) : nil
      return WeightedChange(
        LowRankFactors(a: part.change.a, b: part.change.b, scale: 3, bias: bias), weight: 0.5)
    }
    for method in Combination.Method.allCases {
      let change = try combine(method, parts) { $0.density = method.thins ? 0.5 : nil }.change
      #expect(change.bias?.values == Array(repeating: 3, count: 12), "\(method)")
    }
  }

  @Test(arguments: [
    ("cat", "'cat' keeps every number; leave out density 0.5"),
    ("ties", "density 1.5: expected a share above 0 and at most 1"),
    ("dare", "'dare' needs a density, the share of numbers it keeps, such as 0.2"),
    ("linear", "the rank of 'linear' follows from the adapters; leave out rank 3"),
    ("svd", "rank 0: expected at least 1"),
  ])
  func `Settings that contradict a method are refused in a sentence`(_ name: String, _ sentence: String) throws {
    var combination = Combination(try #require(Combination.Method(rawValue: name)))
    switch name {
    case "cat": combination.density = 0.5
    case "ties": combination.density = 1.5
    case "linear": combination.rank = 3
    case "svd": combination.rank = 0
    default: break
    }
    #expect { try combination.check() } throws: { "\($0)" == sentence }
  }
}
