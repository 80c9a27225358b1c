import CKernels

/// The largest number under a window sliding over each channel of `x` `[images, channels, height, width]`.
///
/// Padding never wins; a number that is not one does. Keeps two bytes a window, which tell the winner: of equals the
/// first, which has the gradient. `kernel` is at most 256.
public func maxPool(_ x: Tensor, kernel: Int, stride: Int? = nil, padding: Padding = Padding()) -> Tensor {
  require(kernel <= 256, "a window of \(kernel) × \(kernel) is larger than the largest number's place can tell, 256")
  let plan = PoolingPlan(x.shape, kernel, stride ?? kernel, padding), input = x.detached
  let winners = x.hasHistory ? Storage(uninitialized: (plan.windows + 1) / 2) : nil
  let y = Tensor(shape: plan.result) { place in
    plan.forEachPlane { planes in
      let scratch = Storage(uninitialized: withUnsafePointer(to: plan.form) { graft_pool_scratch_count($0) })
      withExtendedLifetime((input, scratch)) {
        for index in planes {
          let o = index * plan.outputPlane
          withUnsafePointer(to: plan.form) {
            graft_max_pool(
              $0, input.pointer + index * plan.inputPlane, place + o, winners.map { halves($0) + o }, scratch.pointer)
          }
        }
      }
    }
  }
  return Tensor(y, of: [x]) { gradient, inflow in
    guard let winners else { return }
    inflow.add(0) { place, accumulates in
      withExtendedLifetime((gradient, winners)) {
        plan.forEachPlane { planes in
          for index in planes {
            let o = index * plan.outputPlane, target = place + index * plan.inputPlane
            if !accumulates { target.update(repeating: 0, count: plan.inputPlane) }
            withUnsafePointer(to: plan.form) {
              graft_max_pool_back($0, gradient.pointer + o, halves(winners) + o, target)
            }
          }
        }
      }
    }
  }
}

private func halves(_ storage: Storage) -> UnsafeMutablePointer<UInt16> {
  UnsafeMutableRawPointer(storage.pointer).assumingMemoryBound(to: UInt16.self)
}

/// The mean under a window sliding over each channel of `x` `[images, channels, height, width]`.
///
/// With `countsPadding` zeros of the padding count as numbers, as PyTorch has it at first; without, the mean is over the
/// image's own. Keeps nothing.
public func averagePool(
  _ x: Tensor, kernel: Int, stride: Int? = nil, padding: Padding = Padding(), countsPadding: Bool = true
) -> Tensor {
  let plan = PoolingPlan(x.shape, kernel, stride ?? kernel, padding)
  let window = plan.window
  @Sendable func share(_ rows: Range<Int>, _ columns: Range<Int>) -> Float {
    1 / Float(countsPadding ? kernel * kernel : rows.count * columns.count)
  }
  let y = plan.forEachWindow(of: x.detached) { plane, rows, columns in
    var sum: Float = 0
    for row in rows { for column in columns { sum += plane[row * window.width + column] } }
    return sum * share(rows, columns)
  }
  return Tensor(y, of: [x]) { gradient, inflow in
    inflow.add(0) { place, accumulates in
      plan.spread(gradient, into: place, accumulates: accumulates) { _, rows, columns, g, target in
        let part = g * share(rows, columns)
        for row in rows { for column in columns { target[row * window.width + column] += part } }
      }
    }
  }
}

/// The mean of each channel: `[images, channels, height, width]` to `[images, channels]`. Keeps nothing.
public func globalAveragePool(_ x: Tensor) -> Tensor {
  require(x.shape.rank == 4, "a pool needs [images, channels, height, width]; got \(x.shape)")
  let (images, channels, plane) = (x.shape[0], x.shape[1], x.shape[2] * x.shape[3])
  return x.reshaped([images * channels, plane]).rowMeans.reshaped([images, channels])
}

/// The loops that pools share; a task is a few planes.
private struct PoolingPlan: Sendable {
  let shape: Shape
  let window: SlidingWindow

  private var planes: Int { shape[0] * shape[1] }
  var inputPlane: Int { window.height * window.width }
  var outputPlane: Int { window.outputHeight * window.outputWidth }
  var windows: Int { planes * outputPlane }
  var result: Shape { [shape[0], shape[1], window.outputHeight, window.outputWidth] }
  private var grain: Int { max(1, elementGrain / 4 / max(1, inputPlane)) }

  init(_ shape: Shape, _ kernel: Int, _ stride: Int, _ padding: Padding) {
    require(shape.rank == 4, "a pool needs [images, channels, height, width]; got \(shape)")
    require(
      max(padding.top, padding.bottom, padding.left, padding.right) < kernel,
      "a pool of \(kernel) × \(kernel) with \(padding) would see nothing but padding")
    self.shape = shape
    window = SlidingWindow(
      height: shape[2], width: shape[3], kernel: (kernel, kernel), stride: stride, padding: padding)
  }

  /// The window as the kernels have it.
  var form: graft_pool {
    var form = graft_pool()
    (form.height, form.width) = (window.height, window.width)
    (form.top, form.left) = (window.padding.top, window.padding.left)
    (form.kernel, form.stride) = (window.kernelHeight, window.stride)
    (form.output_height, form.output_width) = (window.outputHeight, window.outputWidth)
    return form
  }

  /// Calls `body` with a few planes at a time.
  func forEachPlane(_ body: (Range<Int>) -> Void) { Parallel.forRanges(planes, grain: grain, body) }

  /// The result of `body` for every window, given its plane and the rows and columns it covers.
  @inline(__always)
  func forEachWindow(of x: Tensor, _ body: (UnsafePointer<Float>, Range<Int>, Range<Int>) -> Float) -> Tensor {
    Tensor(shape: result) { place in
      Parallel.forRanges(planes, grain: grain) { range in
        for index in range {
          let (source, target) = (x.pointer + index * inputPlane, place + index * outputPlane)
          for row in 0..<window.outputHeight {
            let rows = covered(row, padding: window.padding.top, size: window.height)
            for column in 0..<window.outputWidth {
              let columns = covered(column, padding: window.padding.left, size: window.width)
              target[row * window.outputWidth + column] = body(source, rows, columns)
            }
          }
        }
      }
    }
  }

  /// Calls `body` for every window with its plane's index, rows, columns, gradient, and where to add the input's.
  @inline(__always)
  func spread(
    _ gradient: Tensor, into place: UnsafeMutablePointer<Float>, accumulates: Bool,
    _ body: (Int, Range<Int>, Range<Int>, Float, UnsafeMutablePointer<Float>) -> Void
  ) {
    if !accumulates { place.update(repeating: 0, count: shape.count) }
    Parallel.forRanges(planes, grain: grain) { range in
      for index in range {
        let (source, target) = (gradient.pointer + index * outputPlane, place + index * inputPlane)
        for row in 0..<window.outputHeight {
          let rows = covered(row, padding: window.padding.top, size: window.height)
          for column in 0..<window.outputWidth {
            let columns = covered(column, padding: window.padding.left, size: window.width)
            body(index, rows, columns, source[row * window.outputWidth + column], target)
          }
        }
      }
    }
  }

  private func covered(_ position: Int, padding: Int, size: Int) -> Range<Int> {
    let start = position * window.stride - padding
    return max(0, start)..<min(size, start + window.kernelWidth)
  }
}
