import CKernels

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
            graft_affine(source + o, plane, factor, shift, added.map { $0 + o }, place + o)
          } else {
            graft_clamp(
              source + o, plane, factor, shift, added.map { $0 + o }, ceiling, mask.map { bits($0) + row * bytes },
              place + o)
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
            graft_clamp_back(
              gradient.pointer + o, plane, factor, mask.map { bits($0) + row * bytes }, place + o, accumulates)
          }
        }
      }
    }
  }
}

private func bits(_ storage: Storage) -> UnsafeMutablePointer<UInt8> {
  UnsafeMutableRawPointer(storage.pointer).assumingMemoryBound(to: UInt8.self)
}
