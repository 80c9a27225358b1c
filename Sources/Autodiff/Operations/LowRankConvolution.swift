import CKernels

/// A convolution with frozen filters and a low-rank change of them, at hardly more than the cost of the convolution.
///
///     y = W ⊛ x + b + s B (A ⊛ x)
///
/// `x` is `[images, channels, height, width]`, each row of `weight` `[outputs, channels · kernelHeight · kernelWidth]` a
/// filter, `a` `[rank, channels, kernelHeight, kernelWidth]`, `b` `[outputs, rank, 1, 1]`, `bias` `[outputs]`. Where
/// filters are transformed anyway, W + s B A are; where patches are laid out, both banks read them. Keeps `x` for A's
/// gradient and A ⊛ x for B's.
public func lowRankConv2d(
  _ x: Tensor, _ weight: any FrozenMatrix, bias: Tensor? = nil, a: Tensor, b: Tensor, scale: Float, stride: Int = 1,
  padding: Padding = Padding(), dilation: Int = 1
) -> Tensor {
  require(a.shape.rank == 4, "a low-rank change of a convolution has filters of 4 axes; got \(a.shape)")
  let kernel = (height: a.shape[2], width: a.shape[3]), rank = a.shape[0]
  let plan = ConvolutionPlan(x.shape, outputs: weight.rows, kernel: kernel, stride, padding, dilation, 1)
  require(
    a.shape[1] == plan.channels && b.shape == [weight.rows, rank, 1, 1] && weight.columns == plan.patch
      && (bias?.count ?? plan.outputs) == plan.outputs,
    "a convolution of \(x.shape) with a matrix [\(weight.rows), \(weight.columns)], factors \(a.shape) and \(b.shape), "
      + "and a bias of \(bias?.count ?? 0)")
  let change = LowRankChange(plan: plan, a: a.detached, b: b.detached, scale: scale)
  let (y, hidden) = change.forward(x.detached, weight, bias?.detached)
  let input = a.hasHistory ? x.detached : nil, middle = b.hasHistory ? hidden : nil
  return Tensor(y, of: [x, a, b] + (bias.map { [$0] } ?? [])) { [hasBias = bias != nil] gradient, inflow in
    let back = inflow.wants(0) || inflow.wants(1) ? change.carriedToHidden(gradient) : nil
    if let back {
      inflow.add(0) { change.addInputGradient(gradient, back, weight, $0, accumulates: $1) }
      if let input {
        inflow.add(1) { place, accumulates in
          ConvolutionPlan(input.shape, outputs: rank, kernel: kernel, stride, padding, dilation, 1)
            .addWeightGradient(back, input, place, accumulates: accumulates)
        }
      }
    }
    if let middle {
      inflow.add(2) { change.addUpGradient(gradient, middle, $0, accumulates: $1) }
    }
    if hasBias { inflow.addChannelSums(3, of: gradient) }
  }
}

/// The loops of ``lowRankConv2d(_:_:bias:a:b:scale:stride:padding:dilation:)``.
private struct LowRankChange: Sendable {
  let plan: ConvolutionPlan
  let a: Tensor, b: Tensor
  let scale: Float

  private var rank: Int { a.shape[0] }
  private var outputs: Int { plan.outputs }

  /// y, and A ⊛ x.
  func forward(_ x: Tensor, _ weight: any FrozenMatrix, _ bias: Tensor?) -> (y: Tensor, hidden: Tensor) {
    let (height, width) = (plan.window.outputHeight, plan.window.outputWidth)
    let hidden = Storage(uninitialized: plan.images * rank * plan.outputPlane)
    let y = Tensor(shape: [plan.images, outputs, height, width]) { place in
      withExtendedLifetime((x, bias)) {
        if let winograd = Winograd(
          plan.window, images: plan.images, groups: 1, inputs: plan.channels, outputs: outputs + rank, beside: rank)
        {
          winograd.convolve(
            x.pointer, isTransposed: false, bias: bias?.pointer, into: place, accumulates: false,
            beside: hidden.pointer, filters: changedFilters(weight))
        } else {
          weight.withFilters { multiplyPatches(x.pointer, $0, bias, into: place, hidden.pointer) }
        }
      }
    }
    return (y, Tensor(hidden, [plan.images, rank, height, width]))
  }

  /// The rows of W + s B A, then those of A.
  private func changedFilters(_ weight: any FrozenMatrix) -> Winograd.Filters {
    { [patch = plan.patch] _, range, body in
      let rows = range.clamped(to: 0..<outputs), scratch = Storage(uninitialized: range.count * patch)
      withExtendedLifetime(scratch) {
        if !rows.isEmpty {
          weight.unpack(rows: rows, into: scratch.pointer)
          gemmTile(
            false, false, rows.count, patch, rank, scale, b.pointer + rows.lowerBound * rank, rank, a.pointer, patch, 1,
            scratch.pointer, patch)
        }
        if range.upperBound > outputs {
          let first = max(range.lowerBound, outputs)
          (scratch.pointer + (first - range.lowerBound) * patch).update(
            from: a.pointer + (first - outputs) * patch, count: (range.upperBound - first) * patch)
        }
        body(scratch.pointer, patch)
      }
    }
  }

  private func multiplyPatches(
    _ x: UnsafePointer<Float>, _ weight: UnsafePointer<Float>, _ bias: Tensor?, into place: UnsafeMutablePointer<Float>,
    _ hidden: UnsafeMutablePointer<Float>
  ) {
    let (patch, plane, strips) = (plan.patch, plan.outputPlane, plan.strips)
    plan.setPlanes(place, bias)
    Parallel.forEach(plan.images * strips) { task in
      let (image, strip) = (task / strips, task % strips), start = strip * plan.stripRows * plan.window.outputWidth
      let target = place + image * outputs * plane + start, middle = hidden + image * rank * plane + start
      plan.withPatches(x + image * plan.channels * plan.inputPlane, strip) { patches, distance, positions in
        gemmTile(
          false, false, outputs, positions, patch, 1, weight, patch, patches, distance, bias == nil ? 0 : 1, target,
          plane)
        gemmTile(false, false, rank, positions, patch, 1, a.pointer, patch, patches, distance, 0, middle, plane)
        gemmTile(false, false, outputs, positions, rank, scale, b.pointer, rank, middle, plane, 1, target, plane)
      }
    }
  }

  /// s Bᵀ g, the gradient of A ⊛ x.
  func carriedToHidden(_ gradient: Tensor) -> Tensor {
    let plane = plan.outputPlane
    return Tensor(shape: [plan.images, rank, plan.window.outputHeight, plan.window.outputWidth]) { place in
      Parallel.forEach(plan.images) { image in
        gemmTile(
          true, false, rank, plane, outputs, scale, b.pointer, rank, gradient.pointer + image * outputs * plane, plane,
          0, place + image * rank * plane, plane)
      }
    }
  }

  func addInputGradient(
    _ gradient: Tensor, _ back: Tensor, _ weight: any FrozenMatrix, _ place: UnsafeMutablePointer<Float>,
    accumulates: Bool
  ) {
    weight.withFilters { filters in
      withExtendedLifetime((gradient, back)) {
        guard
          let winograd = Winograd.back(
            plan.window, images: plan.images, groups: 1, inputs: plan.channels, outputs: outputs)
        else {
          return spreadPatches(gradient.pointer, back.pointer, filters, place, accumulates: accumulates)
        }
        winograd.convolve(
          gradient.pointer, isTransposed: true, bias: nil, into: place, accumulates: accumulates,
          filters: changedColumns(filters))
      }
    }
  }

  /// The filters of W + s B A as far as they read the given channels.
  private func changedColumns(_ filters: UnsafePointer<Float>) -> Winograd.Filters {
    { [patch = plan.patch] _, range, body in
      let columns = range.count * 9, first = range.lowerBound * 9, scratch = Storage(uninitialized: outputs * columns)
      withExtendedLifetime(scratch) {
        for row in 0..<outputs {
          (scratch.pointer + row * columns).update(from: filters + row * patch + first, count: columns)
        }
        gemmTile(
          false, false, outputs, columns, rank, scale, b.pointer, rank, a.pointer + first, patch, 1, scratch.pointer,
          columns)
        body(scratch.pointer, columns)
      }
    }
  }

  private func spreadPatches(
    _ gradient: UnsafePointer<Float>, _ back: UnsafePointer<Float>, _ filters: UnsafePointer<Float>,
    _ place: UnsafeMutablePointer<Float>, accumulates: Bool
  ) {
    let (patch, plane, window) = (plan.patch, plan.outputPlane, plan.window)
    let share = plan.channels * plan.inputPlane
    // The strips of one image overlap, so one task adds them up in order.
    Parallel.forEach(plan.images) { image in
      let target = place + image * share, scratch = Storage(uninitialized: patch * plan.stripRows * window.outputWidth)
      if !accumulates { target.update(repeating: 0, count: share) }
      for strip in 0..<plan.strips {
        let rows = plan.rows(of: strip), positions = rows.count * window.outputWidth
        let start = rows.lowerBound * window.outputWidth
        gemmTile(
          true, false, patch, positions, outputs, 1, filters, patch, gradient + image * outputs * plane + start, plane,
          0, scratch.pointer, positions)
        gemmTile(
          true, false, patch, positions, rank, 1, a.pointer, patch, back + image * rank * plane + start, plane, 1,
          scratch.pointer, positions)
        window.addPatches(scratch.pointer, rows, channels: plan.channels, to: target)
      }
    }
  }

  /// The gradient of B: s g times what A made of the image, over all images and places.
  func addUpGradient(
    _ gradient: Tensor, _ hidden: Tensor, _ place: UnsafeMutablePointer<Float>, accumulates: Bool
  ) {
    let plane = plan.outputPlane
    if !accumulates { place.update(repeating: 0, count: outputs * rank) }
    withExtendedLifetime((gradient, hidden)) {
      Parallel.forRanges(outputs, grain: max(3, (outputs + 47) / 48 * 3)) { range in
        var form = graft_correlation()
        form.level = graft_processor_level()
        (form.rows, form.columns, form.images, form.length) = (rank, range.count, plan.images, plane)
        (form.row_pitch, form.row_stride, form.column_stride) = (plane, rank * plane, outputs * plane)
        (form.scale, form.row_step, form.column_step) = (scale, 1, rank)
        range.map { $0 * plane }.withUnsafeBufferPointer { places in
          guard let places = places.baseAddress else { return }
          graft_correlate(&form, hidden.pointer, gradient.pointer, places, place + range.lowerBound * rank)
        }
      }
    }
  }
}
