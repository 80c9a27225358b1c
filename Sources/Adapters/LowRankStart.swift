import Autodiff
import Networks
import Weights

/// How the factors of a low-rank change start.
///
/// | spelling | `A` | `B` | base |
/// |---|---|---|---|
/// | `default` | even from ±1/√inputs, as PEFT | 0 | left |
/// | `gaussian` | normal of deviation 1/r | 0 | left |
/// | `orthogonal` | normal · odd rows of an orthogonal matrix / 10 | the same with its even rows, so B A = 0 | left |
/// | `eva` | the r strongest directions of the layer's inputs | 0 | left |
/// | `pissa`, `pissa_niter_N` | √Σ Vᵀ of W's r largest components, exact or by N random passes | U √Σ | W − s B A |
/// | `olora` | the first r rows of R, W = Q R | the first r columns of Q | W − s B A |
/// | `loftq:PACKING` | √Σ Vᵀ of the r largest components of what rounding W loses | U √Σ | W rounded |
///
/// Papers: PiSSA <https://arxiv.org/abs/2404.02948>, OLoRA <https://arxiv.org/abs/2406.01775>, LoftQ
/// <https://arxiv.org/abs/2310.08659> (one iteration), EVA <https://arxiv.org/abs/2410.07170> (every layer keeps its
/// rank: EVA's sharing of ranks among layers is left to `rank_pattern`).
public enum LowRankStart: Sendable, Equatable {
  /// As the table says; the first two change nothing at first.
  case uniform, gaussian, orthogonal, eva, olora
  /// `iterations` nil for an exact decomposition.
  case pissa(iterations: Int?)
  /// The packing the base is rounded to.
  case loftq(Packing)

  /// The start of that spelling.
  public init?(_ text: String) {
    switch text {
    case "default": self = .uniform
    case "gaussian": self = .gaussian
    case "orthogonal": self = .orthogonal
    case "eva": self = .eva
    case "olora": self = .olora
    case "pissa": self = .pissa(iterations: nil)
    default:
      if text.hasPrefix("pissa_niter_"), let count = Int(text.dropFirst(12)), count >= 0 {
        self = .pissa(iterations: count)
      } else if text.hasPrefix("loftq:"), let packing = try? Packing(parsing: String(text.dropFirst(6))) {
        self = .loftq(packing)
      } else {
        return nil
      }
    }
  }

  /// Whether part of the base goes into the adapter, which is then stored as a change of twice the rank.
  public var movesBase: Bool {
    switch self {
    case .pissa, .olora: true
    case .uniform, .gaussian, .orthogonal, .eva, .loftq: false
    }
  }

  /// Whether it needs to know nothing of the base, and changes nothing at first.
  var isBlank: Bool { self == .uniform || self == .gaussian }
}

/// What a layer's low-rank change starts from.
struct StartFactors: Sendable {
  /// `A` `[rank, inputs]` and `B` `[outputs, rank]`.
  let a: Tensor, b: Tensor
  /// Whether s B A was taken out of the base.
  var leftBase = false
}

extension LowRankStart {
  /// The factors, scaled so that s B A is what the table says; `base` becomes what the table says.
  ///
  /// - Throws: a ``GraftError`` for a rank or scale the start cannot have, or what was not measured.
  func factors(
    on base: inout FrozenLinear, rank: Int, scale: Float, _ setup: Setup
  ) throws -> StartFactors {
    let random = setup.random["lora_A"]
    let (inputs, outputs) = (base.inputs, base.outputs)
    switch self {
    case .uniform:
      let bound = 1 / Float(inputs).squareRoot()
      return StartFactors(
        a: .uniform([rank, inputs], in: -bound..<bound, from: random), b: .zeros([outputs, rank]))
    case .gaussian:
      return StartFactors(
        a: .normal([rank, inputs], deviation: 1 / Float(rank), from: random), b: .zeros([outputs, rank]))
    case .orthogonal:
      return try orthogonal(inputs, outputs, rank, setup)
    case .eva:
      return try inputDirections(inputs, outputs, rank, setup)
    case .pissa(let iterations):
      try Self.check("pissa", rank, scale, base, setup.site)
      let w = base.weight.unpacked()
      let parts = try Self.decomposing(setup.site) {
        if let iterations {
          return try leadingSingularValues(of: w, count: rank, iterations: iterations, from: setup.random["pissa"])
        }
        return try singularValues(of: w)
      }
      return Self.takingOut(StartFactors(components: 0..<rank, of: parts, scale: scale), scale, of: &base)
    case .olora:
      try Self.check("olora", rank, scale, base, setup.site)
      let w = base.weight.unpacked()
      let parts = try Self.decomposing(setup.site) { try orthogonalTriangular(w) }
      // Times 1 for a copy: rows alone would keep all of R in memory.
      let factors = StartFactors(a: 1 * parts.r.rows(0..<rank), b: parts.q.transposed.rows(0..<rank).transposed)
      return Self.takingOut(factors, scale, of: &base)
    case .loftq(let packing):
      try Self.check("loftq", rank, scale, base, setup.site)
      return try rounding(&base, to: packing, rank, scale, setup.site)
    }
  }

  /// Takes s B A out of `base`, whose rest is held in float.
  static func takingOut(_ factors: StartFactors, _ scale: Float, of base: inout FrozenLinear) -> StartFactors {
    base = base.adding(-scale * matmul(factors.b, factors.a))
    return StartFactors(a: factors.a, b: factors.b, leftBase: true)
  }

  /// Refuses what a decomposition of the base cannot give.
  static func check(_ name: String, _ rank: Int, _ scale: Float, _ base: FrozenLinear, _ site: String) throws {
    let most = min(base.inputs, base.outputs)
    guard rank <= most else {
      throw GraftError(
        "'\(name)' takes rank \(rank) from layer '\(site)', which is [\(base.outputs), \(base.inputs)] and has only \(most) components; set a rank of at most \(most) there with rank_pattern",
        key: "init")
    }
    guard scale > 0 else { throw GraftError("'\(name)' divides by alpha, which must be above 0", key: "alpha") }
  }

  /// Names the layer where a decomposition fails.
  static func decomposing<R>(_ site: String, _ body: () throws -> R) throws -> R {
    do { return try body() } catch let error as DecompositionError {
      throw GraftError("layer '\(site)': \(error)")
    }
  }

  /// Rows of one orthogonal matrix, shared out between the factors: neither is zero, their product is.
  private func orthogonal(_ inputs: Int, _ outputs: Int, _ rank: Int, _ setup: Setup) throws -> StartFactors {
    guard rank % 2 == 0 else {
      throw GraftError("init 'orthogonal' needs an even rank; layer '\(setup.site)' has \(rank)", key: "init")
    }
    let random = setup.random["orthogonal"]
    let q = try Self.decomposing(setup.site) {
      try orthogonalTriangular(.normal([rank, rank], from: random["rows"])).q
    }
    let odd = q.gathered(stride(from: Int32(0), to: Int32(rank), by: 2).map(\.self))
    let even = q.gathered(stride(from: Int32(1), to: Int32(rank), by: 2).map(\.self))
    let a = matmul(odd, .normal([rank / 2, inputs], from: random["A"]), transposingA: true)
    let b = matmul(.normal([rank / 2, outputs], from: random["B"]), even, transposingA: true)
    return StartFactors(a: 0.1 * a, b: 0.1 * b)
  }

  /// The eigenvectors of the second moment: the right singular vectors of all inputs laid one under another.
  private func inputDirections(_ inputs: Int, _ outputs: Int, _ rank: Int, _ setup: Setup) throws -> StartFactors {
    guard let moment = setup.statistics?.secondMoment else {
      throw GraftError(
        "init 'eva' starts from the inputs of layer '\(setup.site)', and they were not measured",
        key: "init")
    }
    guard rank <= inputs else {
      throw GraftError(
        "init 'eva' takes rank \(rank) from layer '\(setup.site)', which has only \(inputs) inputs",
        key: "init")
    }
    let vectors = try Self.decomposing(setup.site) { try symmetricEigenvalues(of: moment) }.vectors
    let strongest = (0..<rank).map { Int32(inputs - 1 - $0) }
    return StartFactors(a: vectors.gathered(strongest), b: .zeros([outputs, rank]))
  }

  /// Rounds the base and starts from what that loses; the authors leave s in, so that α ≠ r starts elsewhere.
  private func rounding(
    _ base: inout FrozenLinear, to packing: Packing, _ rank: Int, _ scale: Float, _ site: String
  ) throws -> StartFactors {
    switch base.weight.packing {
    case .float32, .float16, .bfloat16: break
    default:
      throw GraftError(
        "init 'loftq' starts from what rounding loses, and layer '\(site)' is packed as \(base.weight.packing.name) already; use a base of floats, or init: default",
        key: "init")
    }
    let w = base.weight.unpacked()
    do { base.weight = try FrozenWeight(w, packing: packing, order: base.weight.order) } catch {
      throw GraftError("layer '\(site)': \(error)")
    }
    let lost = w - base.weight.unpacked()
    let parts = try Self.decomposing(site) { try singularValues(of: lost) }
    return StartFactors(components: 0..<rank, of: parts, scale: scale)
  }
}

extension StartFactors {
  /// The factors of some components of U Σ Vᵀ: `A` = √(Σ / s) Vᵀ, `B` = U √(Σ / s).
  init(components: Range<Int>, of parts: (u: Tensor, values: Tensor, vt: Tensor), scale: Float) {
    let roots = ((1 / scale) * parts.values.reshaped([parts.values.count, 1]).rows(components)).squareRoot
    self.init(
      a: roots * parts.vt.rows(components), b: (roots * parts.u.transposed.rows(components)).transposed)
  }
}
