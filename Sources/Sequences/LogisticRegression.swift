import Autodiff
import Networks

/// A multinomial logistic regression solved to the end: what a linear layer can make of fixed features.
///
///     min over W, b of  1/n Σ −log softmax(W z + b)[label] + 1/(2 C n) Σ W²,    z = (x − μ) / σ
///
/// μ and σ are the features' own moments, so that the pull is the same for all of them, and are folded into W and b
/// afterwards; a feature that never changes is left out. Solved by L-BFGS (Nocedal 1980) with ten corrections and steps
/// halved until Armijo's condition holds, until no gradient is above 10⁻⁴ or 500 steps are made. Nothing is drawn.
public struct LogisticRegression: Sendable {
  /// `[classes, features]`.
  public let weight: Tensor
  /// `[classes]`.
  public let bias: Tensor
  /// The steps it took, and the largest gradient that was left.
  public let steps: Int, gradient: Double

  /// Solves for `features` `[n, features]` with a label of 0..<`classes` each; `strength` is C.
  public init(_ features: Tensor, labels: [Int32], classes: Int, strength: Double) {
    let count = features.shape[0], width = features.shape[1]
    let (mean, factor) = Self.moments(features)
    let z = (features - mean.reshaped([1, width])) * factor.reshaped([1, width])
    let share = 1 / Float(max(1, count)), pull = Float(1 / (strength * Double(max(1, count))))
    func evaluate(_ point: [Tensor]) -> (value: Double, gradients: [Tensor]) {
      let w = point[0].watched, b = point[1].watched
      let loss = share * crossEntropySum(linear(z, weight: w, bias: b), labels: labels) + (0.5 * pull) * (w * w).sum
      return (Double(loss.scalar), gradients(of: loss, at: [w, b]).map(\.detached))
    }
    var point = [Tensor.zeros([classes, width]), Tensor.zeros([classes])]
    var (value, slope) = evaluate(point)
    var history: [(step: [Tensor], change: [Tensor], scale: Double)] = []
    var made = 0
    while made < 500, Self.largest(slope) > 1e-4 {
      let direction = Self.direction(slope, history), descent = Self.dot(direction, slope)
      var length: Float = history.isEmpty ? Float(1 / max(1, Self.dot(slope, slope).squareRoot())) : 1
      var next = zip(point, direction).map { $0 + length * $1 }, found = evaluate(next)
      // 30 halvings are a billionth of a step: the value cannot fall any more in single precision.
      var halvings = 0
      while found.value > value + 1e-4 * Double(length) * descent, halvings < 30 {
        (length, halvings) = (length / 2, halvings + 1)
        next = zip(point, direction).map { $0 + length * $1 }
        found = evaluate(next)
      }
      guard found.value < value else { break }
      let step = zip(next, point).map { $0 - $1 }, change = zip(found.gradients, slope).map { $0 - $1 }
      let curvature = Self.dot(step, change)
      if curvature > 1e-12 { history = Array((history + [(step, change, 1 / curvature)]).suffix(10)) }
      (point, value, slope, made) = (next, found.value, found.gradients, made + 1)
    }
    let folded = point[0] * factor.reshaped([1, width])
    weight = folded.detached
    bias = (point[1] - (folded * mean.reshaped([1, width])).rowSums.reshaped([classes])).detached
    (steps, gradient) = (made, Self.largest(slope))
  }

  /// Puts what was solved into the output layer of `network`, where it learns.
  public func install(into network: inout some AdaptableNetwork) {
    let head = network.headName
    network.forEachParameter { name, parameter in
      guard parameter.isTrainable else { return }
      if name == head + ".weight" { parameter.value = weight }
      if name == head + ".bias" { parameter.value = bias }
    }
  }

  /// The mean of each column and 1 / its deviation, 0 where it has none.
  private static func moments(_ x: Tensor) -> (mean: Tensor, factor: Tensor) {
    let columns = x.transposed, width = x.shape[1], mean = columns.rowMeans.reshaped([width])
    let centred = columns - mean.reshaped([width, 1])
    let variance = (centred * centred).rowMeans.values
    return (mean, Tensor(variance.map { $0 > 1e-12 ? 1 / $0.squareRoot() : 0 }, shape: [width]))
  }

  /// −H g by the two loops over the last corrections.
  private static func direction(
    _ slope: [Tensor], _ history: [(step: [Tensor], change: [Tensor], scale: Double)]
  ) -> [Tensor] {
    var q = slope, weights: [Double] = []
    for entry in history.reversed() {
      let a = entry.scale * dot(entry.step, q)
      weights.append(a)
      q = zip(q, entry.change).map { $0 - Float(a) * $1 }
    }
    if let last = history.last {
      let scale = Float(1 / (last.scale * dot(last.change, last.change)))
      q = q.map { scale * $0 }
    }
    for (entry, a) in zip(history, weights.reversed()) {
      let b = entry.scale * dot(entry.change, q)
      q = zip(q, entry.step).map { $0 + Float(a - b) * $1 }
    }
    return q.map { -1 * $0 }
  }

  private static func dot(_ a: [Tensor], _ b: [Tensor]) -> Double {
    zip(a, b).reduce(0) { sum, pair in
      sum + zip(pair.0.values, pair.1.values).reduce(0) { $0 + Double($1.0) * Double($1.1) }
    }
  }

  private static func largest(_ slope: [Tensor]) -> Double {
    slope.reduce(0) { max($0, $1.values.reduce(0) { max($0, Double(abs($1))) }) }
  }
}
