/// The loops of one convolution.
///
/// Filters that see one channel each slide directly, those of 3 × 3 that move by one go by ``Winograd``; all others
/// multiply a matrix of patches, laid out a strip of output rows at a time, `[groupInputs · kernelHeight · kernelWidth,
/// positions]`. The gradient of a few filters goes by ``ThinGradient``.
struct ConvolutionPlan: Sendable {
  let images: Int, channels: Int, outputs: Int, groups: Int
  let window: SlidingWindow

  var groupInputs: Int { channels / groups }
  var groupOutputs: Int { outputs / groups }
  var patch: Int { groupInputs * window.kernelHeight * window.kernelWidth }
  private var isDepthwise: Bool { groupInputs == 1 }
  var inputPlane: Int { window.height * window.width }
  var outputPlane: Int { window.outputHeight * window.outputWidth }

  /// Output rows whose patches are laid out at one time: about 512 positions keep them in cache.
  var stripRows: Int { max(1, 512 / max(1, window.outputWidth)) }
  var strips: Int { (window.outputHeight + stripRows - 1) / stripRows }

  /// Whether an image is its own matrix of patches.
  var isPointwise: Bool {
    window.kernelHeight == 1 && window.kernelWidth == 1 && window.stride == 1 && window.padding == Padding()
  }

  init(
    _ shape: Shape, outputs: Int, kernel: (height: Int, width: Int), _ stride: Int, _ padding: Padding,
    _ dilation: Int, _ groups: Int
  ) {
    require(shape.rank == 4, "a convolution needs [images, channels, height, width]; got \(shape)")
    require(
      groups > 0 && shape[1] % groups == 0 && outputs % groups == 0,
      "\(shape[1]) channels and \(outputs) outputs do not divide into \(groups) groups")
    (images, channels, self.outputs, self.groups) = (shape[0], shape[1], outputs, groups)
    window = SlidingWindow(
      height: shape[2], width: shape[3], kernel: kernel, stride: stride, padding: padding, dilation: dilation)
  }

  func forward(_ x: Tensor, _ weight: UnsafePointer<Float>, _ bias: Tensor?) -> Tensor {
    Tensor(shape: [images, outputs, window.outputHeight, window.outputWidth]) { place in
      if isDepthwise {
        let plane = FlatPlane(window), share = outputs / channels
        return forEachInputPlane { planes in
          let laid = Storage(uninitialized: plane.inputSize), scratch = Storage(uninitialized: plane.resultSize)
          for row in planes {
            plane.lay(x.pointer + row * inputPlane, into: laid.pointer)
            for output in row * share..<(row + 1) * share {
              plane.slide(
                weight + output % outputs * patch, over: laid.pointer, bias: bias?.pointer[output % outputs] ?? 0,
                into: place + output * outputPlane, scratch: scratch.pointer)
            }
          }
        }
      }
      if let winograd = Winograd(
        window, images: images, groups: groups, inputs: groupInputs, outputs: groupOutputs)
      {
        return withExtendedLifetime((x, bias)) {
          winograd.convolve(x.pointer, weight, bias: bias?.pointer, into: place)
        }
      }
      setPlanes(place, bias)
      Parallel.forEach(images * groups * strips) { task in
        let (block, strip) = (task / strips, task % strips)
        let filters = weight + block % groups * groupOutputs * patch
        let target = place + block * groupOutputs * outputPlane + strip * stripRows * window.outputWidth
        withPatches(x.pointer + block * groupInputs * inputPlane, strip) { patches, distance, positions in
          gemmTile(
            false, false, groupOutputs, positions, patch, 1, filters, patch, patches, distance, bias == nil ? 0 : 1,
            target, outputPlane)
        }
      }
    }
  }

  /// Sets every plane of the result to its channel's `bias`, so that products can be added; without one, leaves them unset.
  func setPlanes(_ place: UnsafeMutablePointer<Float>, _ bias: Tensor?) {
    guard let bias else { return }
    Parallel.forRanges(images * outputs, grain: max(1, elementGrain / max(1, outputPlane))) { range in
      for row in range {
        (place + row * outputPlane).update(repeating: bias.pointer[row % outputs], count: outputPlane)
      }
    }
  }

  /// Calls `body` with a few planes of the input at a time.
  private func forEachInputPlane(_ body: (Range<Int>) -> Void) {
    Parallel.forRanges(images * channels, grain: max(1, elementGrain / 4 / max(1, inputPlane)), body)
  }

  func addInputGradient(
    _ gradient: Tensor, _ weight: UnsafePointer<Float>, _ place: UnsafeMutablePointer<Float>, accumulates: Bool
  ) {
    if isDepthwise { return spread(gradient, weight, place, accumulates: accumulates) }
    if let winograd = Winograd.back(
      window, images: images, groups: groups, inputs: groupInputs, outputs: groupOutputs)
    {
      return withExtendedLifetime(gradient) {
        winograd.convolve(
          gradient.pointer, weight, isTransposed: true, bias: nil, into: place, accumulates: accumulates)
      }
    }
    let begins = !accumulates
    if begins && !isPointwise { place.update(repeating: 0, count: images * channels * inputPlane) }
    // The strips of one image overlap, so one task adds them up in order.
    Parallel.forEach(images * groups) { block in
      let filters = weight + block % groups * groupOutputs * patch
      let target = place + block * groupInputs * inputPlane
      let scratch = Storage(uninitialized: isPointwise ? 0 : patch * stripRows * window.outputWidth)
      for strip in 0..<strips {
        let rows = rows(of: strip), positions = rows.count * window.outputWidth
        let source = gradient.pointer + block * groupOutputs * outputPlane + rows.lowerBound * window.outputWidth
        if isPointwise {
          gemmTile(
            true, false, patch, positions, groupOutputs, 1, filters, patch, source, outputPlane, begins ? 0 : 1,
            target + rows.lowerBound * window.width, inputPlane)
        } else {
          gemmTile(
            true, false, patch, positions, groupOutputs, 1, filters, patch, source, outputPlane, 0, scratch.pointer,
            positions)
          window.addPatches(scratch.pointer, rows, channels: groupInputs, to: target)
        }
      }
    }
  }

  /// The gradient of the input of a convolution whose filters see one channel each.
  private func spread(
    _ gradient: Tensor, _ weight: UnsafePointer<Float>, _ place: UnsafeMutablePointer<Float>, accumulates: Bool
  ) {
    let share = outputs / channels
    guard let turned = window.turned else {
      let plane = FlatPlane(window)
      return forEachInputPlane { planes in
        let scratch = Storage(uninitialized: plane.backScratch)
        for row in planes {
          for output in row * share..<(row + 1) * share {
            plane.spread(
              weight + output % outputs * patch, gradient.pointer + output * outputPlane,
              into: place + row * inputPlane, accumulates: accumulates || output > row * share,
              scratch: scratch.pointer)
          }
        }
      }
    }
    let plane = FlatPlane(turned), filters = Storage(uninitialized: outputs * patch)
    for index in 0..<outputs * patch {
      filters.pointer[index] = weight[index / patch * patch + patch - 1 - index % patch]
    }
    forEachInputPlane { planes in
      let laid = Storage(uninitialized: plane.inputSize), scratch = Storage(uninitialized: plane.resultSize)
      for row in planes {
        for output in row * share..<(row + 1) * share {
          plane.lay(gradient.pointer + output * outputPlane, into: laid.pointer)
          plane.slide(
            filters.pointer + output % outputs * patch, over: laid.pointer, bias: 0, into: place + row * inputPlane,
            accumulates: accumulates || output > row * share, scratch: scratch.pointer)
        }
      }
    }
  }

  func addWeightGradient(
    _ gradient: Tensor, _ x: Tensor, _ place: UnsafeMutablePointer<Float>, accumulates: Bool
  ) {
    let count = outputs * patch
    if !accumulates { place.update(repeating: 0, count: count) }
    if isDepthwise {
      let plane = FlatPlane(window)
      return Parallel.forRanges(outputs, grain: max(1, elementGrain / 4 / max(1, images * inputPlane))) { range in
        let laid = Storage(uninitialized: plane.inputSize), result = Storage(uninitialized: plane.resultSize)
        for output in range {
          for image in 0..<images {
            let row = image * outputs + output
            plane.lay(x.pointer + inputPlaneIndex(ofOutput: row) * inputPlane, into: laid.pointer)
            plane.layResult(gradient.pointer + row * outputPlane, into: result.pointer)
            plane.correlate(laid.pointer, result.pointer, into: place + output * patch)
          }
        }
      }
    }
    if groups == 1 && outputs <= ThinGradient.mostFilters {
      return ThinGradient(window, images: images, channels: channels, filters: outputs).add(
        gradient, x, to: place)
    }
    // Images are dealt to a number of partial sums that depends on the batch alone; these are added in order.
    let parts = max(1, min(images, 4)), partial = Storage(zeros: (parts - 1) * count)
    Parallel.forEach(parts * groups) { task in
      let (part, group) = (task / groups, task % groups)
      let target = (part == 0 ? place : partial.pointer + (part - 1) * count) + group * groupOutputs * patch
      for image in images * part / parts..<images * (part + 1) / parts {
        let block = image * groups + group
        for strip in 0..<strips {
          let source =
            gradient.pointer + block * groupOutputs * outputPlane + strip * stripRows * window.outputWidth
          withPatches(x.pointer + block * groupInputs * inputPlane, strip) { patches, distance, positions in
            gemmTile(
              false, true, groupOutputs, patch, positions, 1, source, outputPlane, patches, distance, 1, target, patch)
          }
        }
      }
    }
    for part in 1..<parts { addInPlace(partial.pointer + (part - 1) * count, to: place, count: count) }
  }

  private func inputPlaneIndex(ofOutput row: Int) -> Int {
    row / outputs * channels + row % outputs / groupOutputs
  }

  func rows(of strip: Int) -> Range<Int> {
    strip * stripRows..<min(window.outputHeight, (strip + 1) * stripRows)
  }

  /// Calls `body` with a strip's patches, the distance between their rows, and the number of positions.
  func withPatches(_ x: UnsafePointer<Float>, _ strip: Int, _ body: (UnsafePointer<Float>, Int, Int) -> Void) {
    let rows = rows(of: strip), positions = rows.count * window.outputWidth
    if isPointwise { return body(x + rows.lowerBound * window.width, inputPlane, positions) }
    let scratch = Storage(uninitialized: patch * positions)
    withExtendedLifetime(scratch) {
      window.layPatches(x, rows, channels: groupInputs, into: scratch.pointer)
      body(scratch.pointer, positions, positions)
    }
  }
}
