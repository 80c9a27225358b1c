/// (x − mean) / √(variance + ε) ⊙ w + b by given moments, clamped to [0, ceiling], all constants: one pass over `x`.
///
/// What stands behind a frozen convolution. `x` is `[images, channels, …]`; nothing is computed for `weight` and `bias`.
/// `shortcut`, of the shape of `x`, is added before the clamp, as at the end of a residual layer. Keeps one bit a number,
/// and none where neither has a history; without `clamps` keeps nothing.
public func frozenBatchNorm(
  _ x: Tensor, weight: Tensor, bias: Tensor, moments: ChannelMoments, epsilon: Float, clamps: Bool = true,
  ceiling: Float = .infinity, adding shortcut: Tensor? = nil
) -> Tensor {
  let channels = x.shape.rank > 1 ? x.shape[1] : 0, plane = x.count / max(1, x.shape[0] * channels)
  require(
    [weight, bias, moments.mean, moments.variance].allSatisfy { $0.count == channels },
    "a batch norm of \(weight.count) weights on a tensor of shape \(x.shape)")
  require(
    shortcut.map { $0.shape == x.shape } ?? true,
    "a shortcut of shape \(shortcut?.shape ?? []) beside a batch norm of \(x.shape)")
  let factors = weight.detached / (moments.variance.detached + epsilon).squareRoot
  let shifts = bias.detached - factors * moments.mean.detached
  let planes = x.shape[0] * channels, grain = max(1, elementGrain / max(1, plane)), bytes = (plane + 7) / 8
  let mask =
    clamps && (x.hasHistory || shortcut?.hasHistory ?? false) ? Storage(uninitialized: (planes * bytes + 3) / 4) : nil
  let source = x.pointer, added = shortcut?.pointer
  let result = withExtendedLifetime((x, shortcut)) {
    Tensor(shape: x.shape) { place in
      Parallel.forRanges(planes, grain: grain) { range in
        for row in range {
          let channel = row % channels, o = row * plane
          let factor = factors.pointer[channel], shift = shifts.pointer[channel]
          if !clamps {
            affine(source + o, plane, factor, shift, added.map { $0 + o }, into: place + o)
          } else {
            clamp(
              source + o, plane, factor, shift, added.map { $0 + o }, ceiling, mask.map { bits($0) + row * bytes },
              into: place + o)
          }
        }
      }
    }
  }
  return Tensor(result, of: [x] + (shortcut.map { [$0] } ?? [])) { [hasShortcut = shortcut != nil] gradient, inflow in
    for operand in 0...(hasShortcut ? 1 : 0) {
      if operand == 1 && mask == nil {
        inflow.add(operand, gradient)
        continue
      }
      inflow.add(operand) { place, accumulates in
        Parallel.forRanges(planes, grain: grain) { range in
          for row in range {
            let factor = operand == 0 ? factors.pointer[row % channels] : 1, o = row * plane
            back(
              gradient.pointer + o, plane, factor, mask.map { bits($0) + row * bytes }, into: place + o,
              accumulates: accumulates)
          }
        }
      }
    }
  }
}

private func bits(_ storage: Storage) -> UnsafeMutablePointer<UInt8> {
  UnsafeMutableRawPointer(storage.pointer).assumingMemoryBound(to: UInt8.self)
}

private func affine(
  _ x: UnsafePointer<Float>, _ count: Int, _ factor: Float, _ shift: Float, _ added: UnsafePointer<Float>?,
  into y: UnsafeMutablePointer<Float>
) {
  let (f, s) = (Float8(repeating: factor), Float8(repeating: shift))
  var i = 0
  while i + 8 <= count {
    let v = load8(x + i) * f + s
    store8(y + i, added.map { v + load8($0 + i) } ?? v)
    i &+= 8
  }
  for j in i..<count { y[j] = x[j] * factor + shift + (added?[j] ?? 0) }
}

/// The same clamped, one bit a number set where it lay strictly inside.
private func clamp(
  _ x: UnsafePointer<Float>, _ count: Int, _ factor: Float, _ shift: Float, _ added: UnsafePointer<Float>?,
  _ ceiling: Float, _ mask: UnsafeMutablePointer<UInt8>?, into y: UnsafeMutablePointer<Float>
) {
  let (f, s, top) = (Float8(repeating: factor), Float8(repeating: shift), Float8(repeating: ceiling))
  let lanes = SIMD8<Int32>(1, 2, 4, 8, 16, 32, 64, 128)
  var i = 0
  while i + 8 <= count {
    var v = load8(x + i) * f + s
    if let added { v += load8(added + i) }
    store8(y + i, smaller(larger(v, .zero), top))
    if let mask {
      let set = SIMD8<Int32>.zero.replacing(with: lanes, where: (v .> .zero) .& (v .< top))
      let four = set.lowHalf | set.highHalf, two = four.lowHalf | four.highHalf
      mask[i >> 3] = UInt8(truncatingIfNeeded: two.x | two.y)
    }
    i &+= 8
  }
  guard i < count else { return }
  var last: UInt8 = 0
  for j in i..<count {
    let v = x[j] * factor + shift + (added?[j] ?? 0)
    y[j] = min(max(v, 0), ceiling)
    if v > 0 && v < ceiling { last |= 1 << UInt8(j - i) }
  }
  mask?[i >> 3] = last
}

/// The gradient times the factor where its bit is set; everywhere without a mask.
private func back(
  _ g: UnsafePointer<Float>, _ count: Int, _ factor: Float, _ mask: UnsafePointer<UInt8>?,
  into place: UnsafeMutablePointer<Float>, accumulates: Bool
) {
  let f = Float8(repeating: factor), lanes = SIMD8<Int32>(1, 2, 4, 8, 16, 32, 64, 128)
  var i = 0
  while i + 8 <= count {
    var v = load8(g + i) * f
    if let mask {
      let set = SIMD8<Int32>(repeating: Int32(mask[i >> 3])) & lanes
      v = v.replacing(with: 0, where: set .== .zero)
    }
    store8(place + i, accumulates ? load8(place + i) + v : v)
    i &+= 8
  }
  for j in i..<count {
    let v = mask.map { $0[i >> 3] & (1 << UInt8(j - i)) == 0 } == true ? 0 : g[j] * factor
    place[j] = accumulates ? place[j] + v : v
  }
}
