/// The largest number under a window sliding over each channel of `x` `[images, channels, height, width]`.
///
/// Padding never wins. Keeps `x`, in which the way back looks for the winners again; of equals the first has the gradient.
public func maxPool(_ x: Tensor, kernel: Int, stride: Int? = nil, padding: Padding = Padding()) -> Tensor {
  let plan = PoolingPlan(x.shape, kernel, stride ?? kernel, padding), input = x.detached
  let window = plan.window
  let y = plan.forEachWindow(of: input) { plane, rows, columns in plane[winner(plane, rows, columns, window.width)] }
  return Tensor(y, of: [x]) { gradient, inflow in
    inflow.add(0) { place, accumulates in
      plan.spread(gradient, into: place, accumulates: accumulates) { index, rows, columns, g, target in
        let plane = input.pointer + index * window.height * window.width
        target[winner(plane, rows, columns, window.width)] += g
      }
    }
  }
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

/// The place of the largest of a plane's numbers in the given rows and columns, the first of equals.
@inline(__always)
private func winner(_ plane: UnsafePointer<Float>, _ rows: Range<Int>, _ columns: Range<Int>, _ width: Int) -> Int {
  var best = rows.lowerBound * width + columns.lowerBound
  for row in rows {
    for column in columns where plane[row * width + column] > plane[best] { best = row * width + column }
  }
  return best
}

/// The loops that pools share; a task is a few planes.
private struct PoolingPlan: Sendable {
  let shape: Shape
  let window: SlidingWindow

  private var planes: Int { shape[0] * shape[1] }
  private var inputPlane: Int { window.height * window.width }
  private var outputPlane: Int { window.outputHeight * window.outputWidth }
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

  /// The result of `body` for every window, given its plane and the rows and columns it covers.
  @inline(__always)
  func forEachWindow(of x: Tensor, _ body: (UnsafePointer<Float>, Range<Int>, Range<Int>) -> Float) -> Tensor {
    Tensor(shape: [shape[0], shape[1], window.outputHeight, window.outputWidth]) { place in
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
