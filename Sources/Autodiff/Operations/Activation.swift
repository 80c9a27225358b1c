import Glibc

extension Tensor {
  /// x where positive, else 0.
  public var rectified: Tensor {
    let result = mapped { larger($0, .zero) }
    return Tensor(result, of: [self]) { gradient, inflow in
      inflow.add(0, gradient.zipped(result) { $0.replacing(with: 0, where: $1 .<= .zero) })
    }
  }

  /// x clamped to [0, 6], as MobileNets use it.
  public var rectified6: Tensor {
    let result = mapped { smaller(larger($0, .zero), Float8(repeating: 6)) }
    return Tensor(result, of: [self]) { gradient, inflow in
      inflow.add(
        0, gradient.zipped(result) { $0.replacing(with: 0, where: $1 .<= .zero .| $1 .>= Float8(repeating: 6)) })
    }
  }

  /// 1 / (1 + e⁻ˣ).
  public var sigmoid: Tensor {
    let result = mapped { Autodiff.sigmoid($0) }
    return Tensor(result, of: [self]) { gradient, inflow in
      inflow.add(0, gradient.zipped(result) { $0 * $1 * (Float8(repeating: 1) - $1) })
    }
  }

  /// The hyperbolic tangent.
  public var tanh: Tensor {
    let result = mapped { Autodiff.tanh($0) }
    return Tensor(result, of: [self]) { gradient, inflow in
      inflow.add(0, gradient.zipped(result) { $0 * (Float8(repeating: 1) - $1 * $1) })
    }
  }

  /// x σ(x), also called swish.
  public var silu: Tensor {
    let x = detached
    return Tensor(mapped { $0 * Autodiff.sigmoid($0) }, of: [self]) { gradient, inflow in
      inflow.add(0, gradient.zipped(x) { g, x in g * siluSlope(x) })
    }
  }

  /// x Φ(x) with the exact normal distribution function.
  public var gelu: Tensor {
    let x = detached
    return Tensor(mapped { $0 * normalDistribution($0) }, of: [self]) { gradient, inflow in
      inflow.add(
        0,
        gradient.zipped(x) { g, x in
          let density = Autodiff.exp(x * x * Float8(repeating: -0.5)) * Float8(repeating: 0.398_942_28)
          return g * (normalDistribution(x) + x * density)
        })
    }
  }

  /// GELU by its tanh approximation, `gelu_new` and `gelu_pytorch_tanh` in checkpoints.
  public var geluTanh: Tensor {
    let x = detached
    return Tensor(
      mapped { x in x * Float8(repeating: 0.5) * (Float8(repeating: 1) + Autodiff.tanh(geluInner(x))) }, of: [self]
    ) {
      gradient, inflow in
      inflow.add(
        0,
        gradient.zipped(x) { g, x in
          let t = Autodiff.tanh(geluInner(x))
          let slope =
            Float8(repeating: 0.797_884_56) * (Float8(repeating: 1) + Float8(repeating: 3 * 0.044_715) * x * x)
          let half = Float8(repeating: 0.5)
          return g * (half * (Float8(repeating: 1) + t) + half * x * (Float8(repeating: 1) - t * t) * slope)
        })
    }
  }

  /// eˣ.
  public var exponential: Tensor {
    let result = mapped { Autodiff.exp($0) }
    return Tensor(result, of: [self]) { gradient, inflow in inflow.add(0, gradient.zipped(result) { $0 * $1 }) }
  }

  /// The natural logarithm.
  public var logarithm: Tensor {
    let x = detached
    let result = mapped { v in
      var r = v
      for i in 0..<8 { r[i] = Glibc.logf(v[i]) }
      return r
    }
    return Tensor(result, of: [self]) { gradient, inflow in inflow.add(0, gradient.zipped(x) { $0 / $1 }) }
  }

  /// The square root.
  public var squareRoot: Tensor {
    let result = mapped { $0.squareRoot() }
    return Tensor(result, of: [self]) { gradient, inflow in
      inflow.add(0, gradient.zipped(result) { Float8(repeating: 0.5) * $0 / $1 })
    }
  }

  /// eˣ normalised to sum to 1 along the last axis.
  public var softmax: Tensor {
    let (rows, columns) = (shape.rows, shape.columns)
    let source = pointer
    let result = withExtendedLifetime(storage) {
      Tensor(shape: shape) { place in
        Parallel.forRanges(rows, grain: max(1, 4096 / max(1, columns))) { range in
          for row in range {
            let (x, y) = (source + row * columns, place + row * columns)
            let sum = exponentials(x, shift: maximum(x, columns), y, columns)
            mapInPlace(columns, y, y) { $0 / Float8(repeating: sum) }
          }
        }
      }
    }
    return Tensor(result, of: [self]) { gradient, inflow in
      inflow.add(0) { place, accumulates in
        let (s, g) = (result.pointer, gradient.pointer)
        Parallel.forRanges(rows, grain: max(1, 4096 / max(1, columns))) { range in
          for row in range {
            let o = row * columns
            // d softmax = s ⊙ (g − ⟨g, s⟩): the Jacobian diag(s) − s sᵀ applied to g, never formed.
            let inner = Float8(repeating: dot(s + o, g + o, columns))
            mapInPlace(columns, s + o, g + o, place + o, accumulates: accumulates) { s, g in s * (g - inner) }
          }
        }
      }
    }
  }
}

/// x σ(x) ⊙ u: the gated unit of Llama's feed-forward block, its operands kept and nothing else.
public func siluProduct(_ gate: Tensor, _ up: Tensor) -> Tensor {
  require(gate.shape == up.shape, "a gate of shape \(gate.shape) for values of shape \(up.shape)")
  let (x, u) = (gate.detached, up.detached)
  let product: @Sendable () -> Tensor = { x.zipped(u) { x, u in x * sigmoid(x) * u } }
  return Tensor(product(), of: [gate, up], again: product) { gradient, inflow in
    if inflow.wants(0) {
      inflow.add(0) { place, accumulates in
        let (g, x, u) = (gradient.pointer, x.pointer, u.pointer)
        Parallel.forRanges(gradient.count, grain: elementGrain / 4) { range in
          let o = range.lowerBound
          mapInPlace(range.count, x + o, u + o, g + o, place + o, accumulates: accumulates) { x, u, g in
            g * u * siluSlope(x)
          }
        }
      }
    }
    if inflow.wants(1) { inflow.add(1, gradient.zipped(x) { g, x in g * x * sigmoid(x) }) }
  }
}

@inline(__always) private func siluSlope(_ x: Float8) -> Float8 {
  let s = sigmoid(x)
  return s * (Float8(repeating: 1) + x * (Float8(repeating: 1) - s))
}

@inline(__always) private func geluInner(_ x: Float8) -> Float8 {
  Float8(repeating: 0.797_884_56) * (x + Float8(repeating: 0.044_715) * x * x * x)
}

/// tanh x = 1 − 2 / (e²ˣ + 1).
@inline(__always) private func tanh(_ x: Float8) -> Float8 {
  var result = Float8(repeating: 1) - Float8(repeating: 2) / (exp(x + x) + Float8(repeating: 1))
  // Near 0 the formula cancels; x − x³/3 + 2x⁵/15 is exact to Float there.
  let small = x * x .< Float8(repeating: 0.0025)
  let square = x * x
  result.replace(
    with: x * (Float8(repeating: 1) - square * (Float8(repeating: 1 / 3) - square * Float8(repeating: 2 / 15))),
    where: small)
  return result
}

/// Φ(x) = (1 + erf(x / √2)) / 2.
@inline(__always) private func normalDistribution(_ x: Float8) -> Float8 {
  var result = x
  for i in 0..<8 { result[i] = 0.5 * (1 + Glibc.erff(x[i] * 0.707_106_78)) }
  return result
}

@inline(__always)
func mapInPlace(
  _ count: Int, _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ result: UnsafeMutablePointer<Float>,
  accumulates: Bool, _ body: (Float8, Float8) -> Float8
) {
  if accumulates {
    mapInPlace(count, a, b, UnsafePointer(result), result, accumulates: false) { $2 + body($0, $1) }
  } else {
    mapInPlace(count, a, b, result, body)
  }
}

@inline(__always)
func mapInPlace(
  _ count: Int, _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ c: UnsafePointer<Float>,
  _ result: UnsafeMutablePointer<Float>, accumulates: Bool, _ body: (Float8, Float8, Float8) -> Float8
) {
  var i = 0
  while i + 8 <= count {
    let v = body(load8(a + i), load8(b + i), load8(c + i))
    store8(result + i, accumulates ? load8(result + i) + v : v)
    i &+= 8
  }
  if i < count {
    let n = count - i
    let v = body(loadPartial(a + i, n), loadPartial(b + i, n), loadPartial(c + i, n))
    for j in 0..<n { result[i + j] = accumulates ? result[i + j] + v[j] : v[j] }
  }
}
