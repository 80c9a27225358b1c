/// D q(D⁻¹ x): every row divided by `factors`, rounded to 2^`bits` evenly spaced numbers of its own, and multiplied back.
///
///     u = x / factors,   s = (max(u, 0) − min(u, 0)) / (2^bits − 1),   z = round(−min(u, 0) / s)
///     q(u) = s (clamp(round(u / s) + z, 0, 2^bits − 1) − z)            round to the nearest, ties to even
///
/// Zero is always among the numbers, so that a row of equal numbers is kept and a row of zeros is not divided by its
/// range. `factors` `[columns]`, 1 unless given, take no gradient. A row with a number that is not finite has none that
/// is.
///
/// The gradient passes where the clamp does not bind and is zero where it does (the straight-through rule). The range is
/// taken for a constant: what its derivative would add, to two numbers a row, is the errors of rounding, whose mean is
/// zero, over 2^bits − 1. Keeps `x`, unless it can be had again.
public func roundedRows(_ x: Tensor, bits: Int, factors: Tensor? = nil) -> Tensor {
  let (rows, n) = (x.shape.rows, x.shape.columns)
  require((1...16).contains(bits), "rows are rounded to 1 to 16 bits, not \(bits)")
  require(factors.map { $0.count == n } ?? true, "factors of shape \(factors?.shape ?? []) for rows of \(n)")
  let levels = Float((1 << bits) - 1), divisors = factors?.detached ?? .filled(1, [n]), kept = x.kept
  let grain = max(1, elementGrain / max(1, n))
  let rounded: @Sendable (Tensor) -> Tensor = { x in
    Tensor(shape: x.shape) { place in
      withExtendedLifetime((x.storage, divisors.storage)) {
        Parallel.forRanges(rows, grain: grain) { range in
          for row in range {
            let source = x.pointer + row * n
            let grid = RowGrid(source, divisors.pointer, n, levels)
            mapInPlace(n, source, divisors.pointer, place + row * n) { x, factor in
              grid.value(of: grid.code(x / factor)) * factor
            }
          }
        }
      }
    }
  }
  return Tensor(rounded(x.detached), of: [x], again: { rounded(kept()) }) { gradient, inflow in
    let x = kept()
    inflow.add(0) { place, accumulates in
      withExtendedLifetime((x.storage, divisors.storage, gradient.storage)) {
        Parallel.forRanges(rows, grain: grain) { range in
          for row in range {
            let (source, g) = (x.pointer + row * n, gradient.pointer + row * n)
            let grid = RowGrid(source, divisors.pointer, n, levels)
            mapInPlace(n, g, source, divisors.pointer, place + row * n, accumulates: accumulates) { g, x, factor in
              let code = grid.code(x / factor)
              return g.replacing(with: 0, where: (code .< 0) .| (code .> grid.levels))
            }
          }
        }
      }
    }
  }
}

/// The numbers one row can be rounded to: s (c − z) for the codes c from 0 to `levels`.
private struct RowGrid {
  let step: Float8, zero: Float8, levels: Float8

  init(_ row: UnsafePointer<Float>, _ factors: UnsafePointer<Float>, _ n: Int, _ levels: Float) {
    var low = Float8.zero, high = Float8.zero
    var i = 0
    while i + 8 <= n {
      let u = load8(row + i) / load8(factors + i)
      (low, high) = (smaller(low, u), larger(high, u))
      i &+= 8
    }
    while i < n {
      let u = Float8(repeating: row[i] / factors[i])
      (low, high) = (smaller(low, u), larger(high, u))
      i &+= 1
    }
    // A row of zeros has no range; any step keeps it.
    let step = max((high.max() - low.min()) / levels, .leastNormalMagnitude)
    self.step = Float8(repeating: step)
    zero = roundedToEven(Float8(repeating: -low.min() / step))
    self.levels = Float8(repeating: levels)
  }

  /// The code of `u` before it is clamped.
  @inline(__always) func code(_ u: Float8) -> Float8 { roundedToEven(u / step) + zero }

  /// The number a code stands for, clamped.
  @inline(__always) func value(of code: Float8) -> Float8 {
    (larger(smaller(code, levels), Float8(repeating: 0)) - zero) * step
  }
}

/// The nearest whole number, ties to even, of numbers below 2²².
@inline(__always) private func roundedToEven(_ x: Float8) -> Float8 {
  // Adding 1.5 × 2²³ leaves no room for a fraction, without a rounding instruction.
  (x + Float8(repeating: 12_582_912)) - Float8(repeating: 12_582_912)
}

extension Tensor {
  /// The same with the channels of each group, which share none, replaced by their mean.
  ///
  /// Channels run along the last axis. Averaging is a projection that is its own transpose, so its gradient is averaged
  /// the same way. Keeps nothing.
  public func averagingChannels(_ groups: [[Int]]) -> Tensor {
    let (rows, n) = (shape.rows, shape.columns)
    require(groups.joined().allSatisfy { $0 >= 0 && $0 < n }, "a channel to average lies outside the \(n) there are")
    let averaged: @Sendable (Tensor) -> Tensor = { x in
      Tensor(shape: x.shape) { place in
        withExtendedLifetime(x.storage) {
          Parallel.forRanges(rows, grain: max(1, elementGrain / max(1, n))) { range in
            for row in range {
              let target = place + row * n
              target.update(from: x.pointer + row * n, count: n)
              for group in groups {
                let mean = group.reduce(0) { $0 + target[$1] } / Float(group.count)
                for channel in group { target[channel] = mean }
              }
            }
          }
        }
      }
    }
    let kept = self.kept
    return Tensor(averaged(detached), of: [self], again: { averaged(kept()) }) { gradient, inflow in
      inflow.add(0, averaged(gradient))
    }
  }
}
