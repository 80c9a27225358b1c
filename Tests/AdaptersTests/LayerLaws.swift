import Autodiff
import Networks
import Testing
import Weights

@testable import Adapters

/// A linear layer with random weights, and what it does with an adapter.
struct LayerSpecimen {
  let original: FrozenLinear
  let x: Tensor

  init(outputs: Int, inputs: Int, tokens: Int = 7, bias: Bool = true, seed: UInt64 = 1) {
    let random = RandomKey(seed: seed)
    original = FrozenLinear(
      FrozenWeight(.normal([outputs, inputs], from: random["w"])),
      bias: bias ? .normal([outputs], from: random["b"]) : nil)
    x = .normal([tokens, inputs], from: random["x"])
  }

  /// The moments of correlated inputs: C = X Xᵀ / rows, of full rank unless there are fewer rows.
  static func statistics(_ inputs: Int, rows: Int = 64, seed: UInt64 = 2) -> SiteStatistics {
    let mixed = matmul(
      .normal([rows, inputs], from: RandomKey(seed: seed)["a"]),
      .normal([inputs, inputs], from: RandomKey(seed: seed)["b"]))
    let moment = (1 / Float(rows)) * matmul(mixed, mixed, transposingA: true)
    return statistics(moment, rows: rows)
  }

  static func statistics(_ moment: Tensor, rows: Int = 1) -> SiteStatistics {
    let n = moment.shape[0]
    return SiteStatistics(
      secondMoment: moment, meanMagnitude: .filled(1, [n]), meanSquare: .filled(1, [n]), rows: rows)
  }

  /// The layer with a fresh adapter of `family`.
  func adapted<A: Adapter<FrozenLinear>>(
    _ family: A.Type, _ settings: AdapterSettings, _ statistics: SiteStatistics? = nil, seed: UInt64 = 3
  ) throws -> AdaptedLinear {
    var layer = AdaptedLinear(original)
    let setup = Setup(site: "block.0.up", random: RandomKey(seed: seed), statistics: statistics)
    layer.adapter = try A(on: &layer.base, A.configuration(settings, at: "block.0.up"), setup)
    return layer
  }
}

/// The largest difference of two tensors' numbers.
func distance(_ a: Tensor, _ b: Tensor) -> Float {
  guard a.shape == b.shape else { return .infinity }
  return zip(a.values, b.values).reduce(0) { max($0, abs($1.0 - $1.1)) }
}

/// The root of the sum of squares.
func norm(_ a: Tensor) -> Double { a.values.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot() }

extension AdaptedLinear {
  /// The same with every trainable number moved a little, as training would.
  func moved(by size: Float = 0.05, seed: UInt64 = 9) -> AdaptedLinear {
    var copy = self
    copy.forEachParameter { name, parameter in
      guard parameter.isTrainable else { return }
      let random = RandomKey(seed: seed)[name]
      parameter.value = parameter.value + .normal(parameter.value.shape, deviation: size, from: random)
    }
    return copy
  }

  /// The largest difference between a gradient and central differences of Σ y ⊙ weights, relative to the largest.
  func gradientError(_ x: Tensor) -> Double {
    let weights = Tensor.normal([x.shape[0], base.outputs], from: RandomKey(seed: 77))
    func loss(_ layer: AdaptedLinear) -> Tensor { (layer(x, Context()) * weights).sum }
    let gradients = valueAndGradients(of: self, loss).gradients
    var worst = 0.0, largest = 0.0
    for (index, gradient) in gradients.enumerated() {
      for element in 0..<gradient.count {
        let step: Float = 0.02
        func shifted(_ by: Float) -> Double {
          var copy = self, seen = 0
          copy.forEachParameter { _, parameter in
            guard parameter.isTrainable else { return }
            if seen == index {
              var values = parameter.value.values
              values[element] += by
              parameter.value = Tensor(values, shape: parameter.value.shape)
            }
            seen += 1
          }
          // Summed in double: the loss itself is where single precision would lose the difference.
          return zip(copy(x, Context()).values, weights.values).reduce(0) { $0 + Double($1.0) * Double($1.1) }
        }
        // y is linear in each factor, so that central differences are exact but for rounding.
        let slope = (shifted(step) - shifted(-step)) / Double(2 * step)
        worst = max(worst, abs(slope - Double(gradient.values[element])))
        largest = max(largest, abs(slope))
      }
    }
    return worst / largest
  }
}
