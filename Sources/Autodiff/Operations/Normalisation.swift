/// x / √(mean x² + ε) ⊙ w along the last axis (Zhang and Sennrich 2019). Keeps `x` and one float a row.
public func rmsNorm(_ x: Tensor, weight: Tensor, epsilon: Float) -> Tensor {
  let (rows, n) = (x.shape.rows, x.shape.columns)
  require(weight.count == n, "a norm of \(weight.count) weights on a tensor of shape \(x.shape)")
  let input = x.detached, w = weight.detached
  let inverse = Storage(uninitialized: rows)
  Parallel.forRanges(rows, grain: 32) { range in
    for row in range {
      let source = input.pointer + row * n
      inverse.pointer[row] = 1 / (dot(source, source, n) / Float(n) + epsilon).squareRoot()
    }
  }
  let normalised: @Sendable () -> Tensor = {
    Tensor(shape: input.shape) { place in
      Parallel.forRanges(rows, grain: 32) { range in
        for row in range {
          let r = Float8(repeating: inverse.pointer[row])
          mapInPlace(n, input.pointer + row * n, w.pointer, place + row * n) { $0 * r * $1 }
        }
      }
    }
  }
  return Tensor(normalised(), of: [x, weight], again: normalised) { gradient, inflow in
    let (g, source) = (gradient.pointer, input.pointer)
    inflow.add(0) { place, accumulates in
      Parallel.forRanges(rows, grain: 32) { range in
        for row in range {
          // dx = r (w ⊙ g − x r² ⟨w ⊙ g, x⟩ / n)
          let (gr, xr, r) = (g + row * n, source + row * n, inverse.pointer[row])
          let c = tripleDot(gr, w.pointer, xr, n) * r * r * r / Float(n)
          mapInPlace(n, gr, w.pointer, xr, place + row * n, accumulates: accumulates) { g, w, x in
            g * w * Float8(repeating: r) - x * Float8(repeating: c)
          }
        }
      }
    }
    inflow.add(1) { place, accumulates in
      if !accumulates { place.update(repeating: 0, count: n) }
      for row in 0..<rows {
        let r = Float8(repeating: inverse.pointer[row])
        mapInPlace(n, g + row * n, source + row * n, UnsafePointer(place), place, accumulates: false) {
          $2 + $0 * $1 * r
        }
      }
    }
  }
}

/// (x − mean) / √(variance + ε) ⊙ w + b along the last axis. Keeps `x` and two floats a row.
public func layerNorm(_ x: Tensor, weight: Tensor, bias: Tensor, epsilon: Float) -> Tensor {
  let (rows, n) = (x.shape.rows, x.shape.columns)
  require(weight.count == n && bias.count == n, "a norm of \(weight.count) weights on a tensor of shape \(x.shape)")
  let input = x.detached, w = weight.detached
  let moments = Storage(uninitialized: 2 * rows)
  let y = Tensor(shape: x.shape) { place in
    Parallel.forRanges(rows, grain: 32) { range in
      for row in range {
        let source = input.pointer + row * n
        let mean = total(source, n) / Float(n)
        var squares = Float8.zero, tail: Float = 0
        var i = 0
        while i + 8 <= n {
          let d = load8(source + i) - Float8(repeating: mean)
          squares += d * d
          i &+= 8
        }
        while i < n {
          tail += (source[i] - mean) * (source[i] - mean)
          i &+= 1
        }
        let r = 1 / ((squares.sum() + tail) / Float(n) + epsilon).squareRoot()
        (moments.pointer[2 * row], moments.pointer[2 * row + 1]) = (mean, r)
        mapInPlace(n, source, w.pointer, bias.pointer, place + row * n, accumulates: false) {
          ($0 - Float8(repeating: mean)) * Float8(repeating: r) * $1 + $2
        }
      }
    }
  }
  return Tensor(y, of: [x, weight, bias]) { gradient, inflow in
    let (g, source) = (gradient.pointer, input.pointer)
    inflow.add(0) { place, accumulates in
      Parallel.forRanges(rows, grain: 32) { range in
        for row in range {
          // dx = r (u − mean u − x̂ ⟨u, x̂⟩ / n) with u = w ⊙ g, x̂ = (x − mean) r
          let (gr, xr) = (g + row * n, source + row * n)
          let (mean, r) = (moments.pointer[2 * row], moments.pointer[2 * row + 1])
          let first = dot(gr, w.pointer, n) / Float(n)
          let along = (tripleDot(gr, w.pointer, xr, n) / Float(n) - mean * first) * r * r
          mapInPlace(n, gr, w.pointer, xr, place + row * n, accumulates: accumulates) { g, w, x in
            (g * w - Float8(repeating: first) - (x - Float8(repeating: mean)) * Float8(repeating: along))
              * Float8(repeating: r)
          }
        }
      }
    }
    inflow.add(1) { place, accumulates in
      if !accumulates { place.update(repeating: 0, count: n) }
      for row in 0..<rows {
        let mean = Float8(repeating: moments.pointer[2 * row]), r = Float8(repeating: moments.pointer[2 * row + 1])
        mapInPlace(n, g + row * n, source + row * n, UnsafePointer(place), place, accumulates: false) {
          $2 + $0 * ($1 - mean) * r
        }
      }
    }
    inflow.addColumnSums(2, of: gradient)
  }
}

/// Σ aᵢ bᵢ cᵢ.
@inline(__always)
private func tripleDot(
  _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ c: UnsafePointer<Float>, _ n: Int
) -> Float {
  var sum = Float8.zero, tail: Float = 0
  var i = 0
  while i + 8 <= n {
    sum += load8(a + i) * load8(b + i) * load8(c + i)
    i &+= 8
  }
  while i < n {
    tail += a[i] * b[i] * c[i]
    i &+= 1
  }
  return sum.sum() + tail
}

/// Σ aᵢ.
@inline(__always) func total(_ a: UnsafePointer<Float>, _ n: Int) -> Float {
  var sum = Float8.zero, tail: Float = 0
  var i = 0
  while i + 8 <= n {
    sum += load8(a + i)
    i &+= 8
  }
  while i < n {
    tail += a[i]
    i &+= 1
  }
  return sum.sum() + tail
}
