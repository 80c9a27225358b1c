import Autodiff
import Networks
import Weights

/// Hydra: a low-rank head beside a layer, which reads its input, and one behind it, which reads its output.
///
///     y₀ = W x + b
///     y  = y₀ + s [U_p (D_p x + d_p) + u_p] + s [U_s (D_s y₀ + d_s) + u_s]      s = α / r    (Kim et al. 2023)
///
/// The parallel head can learn features the base lacks, the sequential head recombines those it has. `D_p` is
/// `[r, inputs]`, `D_s` `[r_s, outputs]`, drawn evenly from ±√(6 / (r + inputs)) and its like (`init: gaussian` draws
/// from a normal of deviation 0.02 instead); both `U` and the biases are zero, so training starts at the base model.
/// Dropout stands between `D` and `U`, as in the authors' code. Folding is exact and moves the bias as well:
///
///     W ← W + s (U_p D_p + U_s D_s W)
///     b ← b + s (U_p d_p + u_p + U_s (D_s b + d_s) + u_s)
///
/// Trains r (inputs + outputs) + 2 r_s outputs numbers, and r + r_s + 2 outputs more with `branch_bias`. Costs neither a
/// second product with `W` forward nor `y₀` in memory, see the end of this file.
///
/// Paper: <https://arxiv.org/abs/2309.06922>
public struct Hydra: LoRAEquivalent {
  /// What recipes call it.
  public static let method = "hydra"
  /// Always; into a weight and a bias.
  public static func merging(_ configuration: Configuration) -> Merging { .exact }
  /// `sequential_rank`: the rank of the head behind the layer, `rank` unless given. `branch_bias`: whether the heads have
  /// biases, true unless given.
  public static let options = ["sequential_rank", "branch_bias"]

  /// What can be chosen about it.
  public struct Configuration: Sendable, Equatable {
    /// The rank of the head beside the layer, and of the one behind it.
    public var rank: Int, sequentialRank: Int
    /// `s`.
    public var scale: Float
    /// The share of what stands between `D` and `U` that is set to zero in training.
    public var dropout: Float
    /// Whether the heads have biases.
    public var hasBiases: Bool
    /// How both `D` start.
    public var start: Start

    /// A configuration; both heads have the same rank unless told otherwise.
    public init(
      rank: Int, sequentialRank: Int? = nil, scale: Float, dropout: Float = 0, hasBiases: Bool = true,
      start: Start = .uniform
    ) {
      (self.rank, self.sequentialRank, self.scale) = (rank, sequentialRank ?? rank, scale)
      (self.dropout, self.hasBiases, self.start) = (dropout, hasBiases, start)
    }

    /// The ways `D` can start.
    public enum Start: String, Sendable { case uniform = "default", gaussian }
  }

  /// What `settings` choose for the layer named `site`.
  public static func configuration(_ settings: AdapterSettings, at site: String) throws -> Configuration {
    guard !settings.hasBias else {
      throw GraftError("'hydra' has branch_bias in the place of lora_bias; remove lora_bias")
    }
    guard let start = Configuration.Start(rawValue: settings.start) else {
      throw GraftError(
        "init '\(settings.start)' is not known to '\(method)'; expected default or gaussian", key: "init")
    }
    let rank = settings.rank(at: site)
    let sequential = try settings.option("sequential_rank", rank, expected: "a whole number from 1 to 65536") {
      Int($0).flatMap { (1...65536).contains($0) ? $0 : nil }
    }
    let hasBiases = try settings.option("branch_bias", true, expected: "true or false", Bool.init)
    return Configuration(
      rank: rank, sequentialRank: sequential, scale: settings.scale(at: site), dropout: Float(settings.dropout),
      hasBiases: hasBiases, start: start)
  }

  var parallel: Head
  var sequential: Head
  let scale: Float
  let dropout: Float
  let site: String

  /// A fresh adapter, which changes nothing.
  public init(on base: inout FrozenLinear, _ configuration: Configuration, _ setup: Setup) {
    let (n, m) = (base.inputs, base.outputs)
    parallel = Head(from: n, to: m, configuration.rank, configuration, setup.random["hydra_parallel"])
    sequential = Head(from: m, to: m, configuration.sequentialRank, configuration, setup.random["hydra_sequential"])
    (scale, dropout, site) = (configuration.scale, configuration.dropout, setup.site)
  }

  /// The layer's output with both heads.
  public func callAsFunction(_ x: Tensor, over base: FrozenLinear, _ context: Context) -> Tensor {
    let y = base(x), random = context.random?[site]
    let ahead = linear(x, weight: parallel.down.value, bias: parallel.downBias?.value)
    let seen = projected(y, sequential.down.value, of: x, over: base)
    let behind = sequential.downBias.map { seen + $0.value } ?? seen
    let change =
      linear(dropped(ahead, random?["hydra_parallel"]), weight: parallel.up.value)
      + linear(dropped(behind, random?["hydra_sequential"]), weight: sequential.up.value)
    return y + scale * (biases.map { change + $0 } ?? change)
  }

  /// `u_p + u_s`, of which only the sum matters.
  private var biases: Tensor? {
    guard let first = parallel.upBias?.value, let second = sequential.upBias?.value else { return nil }
    return first + second
  }

  private func dropped(_ hidden: Tensor, _ random: RandomKey?) -> Tensor {
    guard let mask = dropoutMask(hidden.shape, dropout, random) else { return hidden }
    return Tensor(hidden.detached * mask(), of: [hidden]) { gradient, inflow in inflow.add(0, gradient * mask()) }
  }

  /// The base with both heads added to its weight and its bias; a base without a bias gets one if the heads have any.
  public func merged(into base: FrozenLinear, _ context: Context) -> FrozenLinear {
    plainLoRA(over: base, context).merged(into: base, context)
  }

  /// `A = [D_p; D_s W]`, `B = [U_p, U_s]`, of rank r + r_s: true over this `W` alone.
  public func plainLoRA(over base: FrozenLinear, _ context: Context) -> LoRA {
    let down = sequential.down.value.detached
    let a = Tensor.concatenated([parallel.down.value.detached, matmul(down, base.weight.unpacked())])
    let b = Tensor.concatenated([parallel, sequential].map { $0.up.value.detached.transposed }).transposed
    var hidden = [parallel.downBias?.value.detached, sequential.downBias?.value.detached]
    if let own = base.bias?.value.detached {
      let moved = matmul(own.reshaped([1, base.outputs]), down, transposingB: true).reshaped([down.shape[0]])
      hidden[1] = hidden[1].map { $0 + moved } ?? moved
    }
    var bias = biases?.detached
    for (head, hidden) in zip([parallel, sequential], hidden) {
      guard let hidden else { continue }
      let moved = matmul(hidden.reshaped([1, hidden.count]), head.up.value.detached, transposingB: true)
        .reshaped([base.outputs])
      bias = bias.map { $0 + moved } ?? moved
    }
    return LoRA(a: a, b: b, bias: bias, scale: scale, site: site)
  }

  /// Presents the parameters of both heads.
  public mutating func visit(_ visitor: Visitor) {
    visitor("hydra_parallel", &parallel)
    visitor("hydra_sequential", &sequential)
  }

  /// One of the two: `U (D · + d) + u`.
  struct Head: Module {
    var down: Parameter, up: Parameter
    var downBias: Parameter?, upBias: Parameter?

    init(from inputs: Int, to outputs: Int, _ rank: Int, _ configuration: Configuration, _ random: RandomKey) {
      let key = random["down"]
      switch configuration.start {
      case .uniform:
        let bound = (6 / Float(inputs + rank)).squareRoot()
        down = Parameter(.uniform([rank, inputs], in: -bound..<bound, from: key), role: .factorA)
      case .gaussian: down = Parameter(.normal([rank, inputs], deviation: 0.02, from: key), role: .factorA)
      }
      up = Parameter(.zeros([outputs, rank]), role: .factorB)
      downBias = configuration.hasBiases ? Parameter(.zeros([rank]), role: .bias) : nil
      upBias = configuration.hasBiases ? Parameter(.zeros([outputs]), role: .bias) : nil
    }

    mutating func visit(_ visitor: Visitor) {
      visitor("down.weight", &down)
      visitor("down.bias", &downBias)
      visitor("up.weight", &up)
      visitor("up.bias", &upBias)
    }
  }
}

/// `y₀ Dᵀ` for the output `y₀` of `base` at `x`, which is not kept for D's gradient.
///
///     gᵀ y₀ = (gᵀ x) Wᵀ + (Σ g) bᵀ
///
/// A few rows through `W` give on the way back what would else need `y₀` `[tokens, outputs]` in memory; `x` is kept by
/// the head beside the layer anyway.
private func projected(_ y: Tensor, _ down: Tensor, of x: Tensor, over base: FrozenLinear) -> Tensor {
  let (rows, rank) = (x.shape.rows, down.shape[0]), matrix = down.detached
  let flat = y.detached.reshaped([rows, base.outputs])
  let product = matmul(flat, matrix, transposingB: true).reshaped(Shape(y.shape.dimensions.dropLast() + [rank]))
  let kept = x.kept, weight = base.weight, bias = base.bias?.value.detached
  return Tensor(product, of: [y, down]) { gradient, inflow in
    let g = gradient.reshaped([rows, rank])
    if inflow.wants(0) { inflow.add(0, matmul(g, matrix)) }
    guard inflow.wants(1) else { return }
    let inputs = kept()
    let share = linear(matmul(g, inputs.reshaped([rows, base.inputs]), transposingA: true), weight)
    inflow.add(1, bias.map { share + g.transposed.rowSums.reshaped([rank, 1]) * $0 } ?? share)
  }
}
