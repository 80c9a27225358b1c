import Autodiff
import Networks
import Testing

/// Expects the gradient of ⟨direction, output⟩ at every trainable parameter of `model`, and at `x`, to be what central
/// differences along random signs say.
///
/// The differences are of fourth order, with the sum in Double: what is left is Float's rounding of the output.
func expectDerivatives<M: Module>(
  of model: M, at x: Tensor, sourceLocation: SourceLocation = #_sourceLocation, _ output: (M, Tensor) -> Tensor
) {
  let key = RandomKey(seed: 23), direction = Tensor.normal(output(model, x).shape, from: key["direction"])
  func loss(_ model: M, _ x: Tensor) -> Double {
    zip(output(model, x).values, direction.values).reduce(0) { $0 + Double($1.0) * Double($1.1) }
  }
  let watched = x.watched
  var leaves: [Tensor] = [watched], watching = model
  watching.forEachParameter { _, parameter in
    guard parameter.isTrainable else { return }
    parameter.value = parameter.value.watched
    leaves.append(parameter.value)
  }
  let found = gradients(of: (output(watching, watched) * direction).sum, at: leaves)
  let size = zip(output(model, x).values, direction.values).reduce(0) { $0 + Double($1.0 * $1.1) * Double($1.0 * $1.1) }
  let names = ["the input"] + model.trainableParameters.map(\.name)
  for (index, (name, gradient)) in zip(names, found).enumerated() {
    var generator = key["signs"][index].generator
    let signs = (0..<gradient.count).map { _ -> Float in generator.next() & 1 == 0 ? 1 : -1 }
    func moved(_ value: Tensor, _ step: Float) -> Tensor {
      Tensor(zip(value.values, signs).map { $0 + step * $1 }, shape: value.shape)
    }
    func at(_ step: Float) -> Double {
      guard index > 0 else { return loss(model, moved(x, step)) }
      var copy = model
      copy.forEachParameter { if $0 == name { $1.value = moved($1.value, step) } }
      return loss(copy, x)
    }
    let h: Float = 1.0 / 64
    let slope = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * Double(h))
    let along = zip(gradient.values, signs).reduce(0) { $0 + Double($1.0) * Double($1.1) }
    let length = gradient.values.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
    // √n outputs rounded by 2⁻²⁴ of their size, over h, with some tenfold for the sums inside.
    let tolerance = 2e-3 * length + 640 * size.squareRoot() * 0x1p-24
    #expect(abs(slope - along) <= tolerance, "\(name): \(along), not \(slope)", sourceLocation: sourceLocation)
    #expect(length > 0, "\(name) has no gradient", sourceLocation: sourceLocation)
  }
}

/// The largest difference of two tensors' numbers; infinite for different shapes.
func largestDifference(_ a: Tensor, _ b: Tensor) -> Float {
  guard a.shape == b.shape else { return .infinity }
  return zip(a.values, b.values).reduce(0) { $1.0.isFinite && $1.1.isFinite ? max($0, abs($1.0 - $1.1)) : .infinity }
}
