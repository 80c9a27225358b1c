/// The numbers of one Adam step that are the same for every parameter.
public struct AdamRule: Sendable {
  let decay: Float, beta1: Float, beta2: Float, size: Float, correction: Float, epsilon: Float

  /// A rule: p ← p · decay − size · m / (√v · correction + ε), after the moments were advanced by β₁ and β₂.
  public init(decay: Float, beta1: Float, beta2: Float, size: Float, correction: Float, epsilon: Float) {
    (self.decay, self.beta1, self.beta2) = (decay, beta1, beta2)
    (self.size, self.correction, self.epsilon) = (size, correction, epsilon)
  }
}

/// One Adam step of one parameter, in a single pass over its numbers; absent moments count as zero.
public func adamStep(
  _ parameter: Tensor, _ gradient: Tensor, m: Tensor?, v: Tensor?, _ rule: AdamRule
) -> (value: Tensor, m: Tensor, v: Tensor) {
  let count = parameter.count
  let p = Storage(uninitialized: count)
  let first = m ?? .zeros(parameter.shape), second = v ?? .zeros(parameter.shape)
  let nextM = Storage(uninitialized: count), nextV = Storage(uninitialized: count)
  Parallel.forRanges(count, grain: elementGrain) { range in
    var i = range.lowerBound
    while i < range.upperBound {
      let n = min(8, range.upperBound - i)
      @inline(__always) func read(_ t: Tensor) -> Float8 {
        n == 8 ? load8(t.pointer + i) : loadPartial(t.pointer + i, n)
      }
      let g = read(gradient)
      let m = read(first) * Float8(repeating: rule.beta1) + g * Float8(repeating: 1 - rule.beta1)
      let v = read(second) * Float8(repeating: rule.beta2) + g * g * Float8(repeating: 1 - rule.beta2)
      let denominator = v.squareRoot() * Float8(repeating: rule.correction) + Float8(repeating: rule.epsilon)
      let value = read(parameter) * Float8(repeating: rule.decay) - Float8(repeating: rule.size) * m / denominator
      if n == 8 {
        store8(p.pointer + i, value)
        store8(nextM.pointer + i, m)
        store8(nextV.pointer + i, v)
      } else {
        for j in 0..<n { (p.pointer[i + j], nextM.pointer[i + j], nextV.pointer[i + j]) = (value[j], m[j], v[j]) }
      }
      i += 8
    }
  }
  return (Tensor(p, parameter.shape), Tensor(nextM, parameter.shape), Tensor(nextV, parameter.shape))
}

/// √Σ g² over all of `gradients`, added up in order and in Double.
public func globalNorm(_ gradients: [Tensor]) -> Double {
  var total = 0.0
  for gradient in gradients {
    gradient.withValues { values in for value in values { total += Double(value) * Double(value) } }
  }
  return total.squareRoot()
}
