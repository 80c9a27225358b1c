import Autodiff
import Networks

/// A rule that turns gradients into changes of parameters.
///
/// Its memory is kept by parameter name, so that it survives saving and reordering.
public protocol Optimizer: Sendable {
  /// The parameters after one step; `rate` gives the step's learning rate of a role.
  mutating func step(_ parameters: [TrainableParameter], gradients: [Tensor], rate: (Role) -> Double) -> [Tensor]
  /// What it remembers, by name, for a checkpoint.
  var memory: [(name: String, value: Tensor)] { get }
  /// How many steps it has made.
  var steps: Int { get }
  /// Takes back what ``memory`` and ``steps`` gave.
  mutating func restore(_ memory: [String: Tensor], steps: Int)
}

/// Adam with decoupled weight decay (Loshchilov and Hutter 2019), as PyTorch computes it.
///
///     p ← p (1 − η λ);  m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²
///     p ← p − η m / (1 − β₁ᵗ) / (√v / √(1 − β₂ᵗ) + ε)
public struct AdamW: Optimizer {
  let beta1: Double, beta2: Double, epsilon: Double, weightDecay: Double
  private var first: [String: Tensor] = [:]
  private var second: [String: Tensor] = [:]
  /// How many steps it has made.
  public private(set) var steps = 0

  /// An optimiser that has made no step.
  public init(beta1: Double = 0.9, beta2: Double = 0.999, epsilon: Double = 1e-8, weightDecay: Double = 0.01) {
    (self.beta1, self.beta2, self.epsilon, self.weightDecay) = (beta1, beta2, epsilon, weightDecay)
  }

  /// The parameters after one step.
  public mutating func step(
    _ parameters: [TrainableParameter], gradients: [Tensor], rate: (Role) -> Double
  ) -> [Tensor] {
    steps += 1
    let t = Double(steps)
    let (correction1, correction2) = (1 - power(beta1, t), 1 - power(beta2, t))
    return zip(parameters, gradients).map { parameter, gradient in
      let rate = rate(parameter.role), decay = parameter.role.decays ? weightDecay : 0
      let rule = AdamRule(
        decay: Float(1 - rate * decay), beta1: Float(beta1), beta2: Float(beta2), size: Float(rate / correction1),
        correction: Float(1 / correction2.squareRoot()), epsilon: Float(epsilon))
      let (m, v) = (first[parameter.name], second[parameter.name])
      let next = adamStep(parameter.value, gradient, m: m, v: v, rule)
      first[parameter.name] = next.m
      second[parameter.name] = next.v
      return next.value
    }
  }

  /// The two moments of every parameter.
  public var memory: [(name: String, value: Tensor)] {
    first.keys.sorted().flatMap { name in
      [("first." + name, first[name]), ("second." + name, second[name])].compactMap { key, value in
        value.map { (key, $0) }
      }
    }
  }

  /// Takes back a checkpoint's moments.
  public mutating func restore(_ memory: [String: Tensor], steps: Int) {
    self.steps = steps
    for (name, value) in memory {
      if name.hasPrefix("first.") { first[String(name.dropFirst(6))] = value }
      if name.hasPrefix("second.") { second[String(name.dropFirst(7))] = value }
    }
  }
}

/// Gradient descent with optional momentum, as PyTorch computes it.
///
///     g ← g + λ p;  b ← μ b + g (b = g at first);  p ← p − η b, or p − η (g + μ b) with Nesterov's form
public struct SGD: Optimizer {
  let momentum: Double, weightDecay: Double, isNesterov: Bool
  private var buffers: [String: Tensor] = [:]
  /// How many steps it has made.
  public private(set) var steps = 0

  /// An optimiser that has made no step.
  public init(momentum: Double = 0, weightDecay: Double = 0, isNesterov: Bool = false) {
    (self.momentum, self.weightDecay, self.isNesterov) = (momentum, weightDecay, isNesterov)
  }

  /// The parameters after one step.
  public mutating func step(
    _ parameters: [TrainableParameter], gradients: [Tensor], rate: (Role) -> Double
  ) -> [Tensor] {
    steps += 1
    return zip(parameters, gradients).map { parameter, gradient in
      let decay = parameter.role.decays ? Float(weightDecay) : 0
      var direction = decay == 0 ? gradient : gradient + decay * parameter.value.detached
      if momentum != 0 {
        let buffer = buffers[parameter.name].map { Float(momentum) * $0 + direction } ?? direction
        buffers[parameter.name] = buffer
        direction = isNesterov ? direction + Float(momentum) * buffer : buffer
      }
      return parameter.value.detached + Float(-rate(parameter.role)) * direction
    }
  }

  /// The momentum buffers.
  public var memory: [(name: String, value: Tensor)] {
    buffers.keys.sorted().compactMap { name in buffers[name].map { (name, $0) } }
  }

  /// Takes back a checkpoint's buffers.
  public mutating func restore(_ memory: [String: Tensor], steps: Int) { (buffers, self.steps) = (memory, steps) }
}

private func power(_ base: Double, _ exponent: Double) -> Double {
  var result = 1.0
  for _ in 0..<Int(exponent) { result *= base }
  return result
}
