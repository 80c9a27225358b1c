import Autodiff
import Networks
import Testing

/// Expects two tensors of one shape to differ by at most `tolerance` anywhere.
func expectWithin(_ a: Tensor, _ b: Tensor, _ tolerance: Float, sourceLocation: SourceLocation = #_sourceLocation) {
  #expect(a.shape == b.shape, sourceLocation: sourceLocation)
  let worst = zip(a.values, b.values).reduce(Float(0)) { $1.0.isFinite ? max($0, abs($1.0 - $1.1)) : .infinity }
  #expect(worst <= tolerance, "off by \(worst)", sourceLocation: sourceLocation)
}

/// Expects the gradient of ⟨direction, f(model)⟩ at every trainable parameter to be what central differences say.
///
/// Float rounds f by about 2⁻²⁴ of its size; at a step of 1/64, combined over two steps so that the error falls with the
/// step's fourth power, that leaves a few parts in 10⁴.
func expectDerivatives<M: Module>(
  of model: M, tolerance: Double = 2e-3, sourceLocation: SourceLocation = #_sourceLocation, _ f: (M) -> Tensor
) {
  let direction = Tensor.normal(f(model).shape, from: RandomKey(seed: 77))
  let (_, slopes) = valueAndGradients(of: model) { (f($0) * direction).sum }
  let names = model.trainableParameters.map(\.name)
  func moved(_ name: String, _ change: [Float], _ step: Float) -> Double {
    var copy = model
    copy.forEachParameter { found, parameter in
      guard found == name else { return }
      parameter.value = Tensor(zip(parameter.value.values, change).map { $0 + step * $1 }, shape: parameter.value.shape)
    }
    return zip(f(copy).values, direction.values).reduce(0) { $0 + Double($1.0) * Double($1.1) }
  }
  let size = zip(f(model).values, direction.values).reduce(0) { $0 + Double($1.0 * $1.1) * Double($1.0 * $1.1) }
  let noise = 64 * 10 * size.squareRoot() * 0x1p-24
  for (name, gradient) in zip(names, slopes) {
    func slope(_ change: [Float]) -> Double {
      let h: Float = 1.0 / 64
      let near = moved(name, change, h) - moved(name, change, -h)
      return (8 * near - (moved(name, change, 2 * h) - moved(name, change, -2 * h))) / (12 * Double(h))
    }
    let length = gradient.values.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
    var signs = RandomKey(seed: 78)[name].generator
    let change = gradient.values.map { _ in Float(signs.next() & 1 == 0 ? 1 : -1) }
    let along = zip(gradient.values, change).reduce(0) { $0 + Double($1.0) * Double($1.1) }
    #expect(
      abs(slope(change) - along) <= tolerance * length + noise, "\(name) along a direction",
      sourceLocation: sourceLocation)
    for i in Set([0, gradient.count / 3, gradient.count - 1]) {
      var one = [Float](repeating: 0, count: gradient.count)
      one[i] = 1
      #expect(
        abs(slope(one) - Double(gradient.values[i])) <= tolerance * length + noise, "\(name) at \(i)",
        sourceLocation: sourceLocation)
    }
  }
}
