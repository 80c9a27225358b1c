/// A window that slides over the rows and columns of an image: the geometry convolutions and pools share.
struct SlidingWindow: Sendable {
  let height: Int, width: Int
  let kernelHeight: Int, kernelWidth: Int
  let stride: Int, dilation: Int
  let padding: Padding
  let outputHeight: Int, outputWidth: Int

  init(height: Int, width: Int, kernel: (height: Int, width: Int), stride: Int, padding: Padding, dilation: Int = 1) {
    require(
      kernel.height > 0 && kernel.width > 0 && stride > 0 && dilation > 0
        && min(padding.top, padding.bottom, padding.left, padding.right) >= 0,
      "a window of \(kernel.height) × \(kernel.width), stride \(stride), dilation \(dilation), \(padding)")
    (self.height, self.width, kernelHeight, kernelWidth) = (height, width, kernel.height, kernel.width)
    (self.stride, self.dilation, self.padding) = (stride, dilation, padding)
    let rows = height + padding.top + padding.bottom - (kernel.height - 1) * dilation - 1
    let columns = width + padding.left + padding.right - (kernel.width - 1) * dilation - 1
    require(
      rows >= 0 && columns >= 0,
      "a window of \(kernel.height) × \(kernel.width), dilation \(dilation), does not fit an image [\(height), \(width)]"
    )
    (outputHeight, outputWidth) = (rows / stride + 1, columns / stride + 1)
  }

  /// The window under which a gradient of the output, with the filter turned half round, gives the gradient of the input;
  /// nil unless this one moves by one and overhangs by less than its own extent.
  var turned: SlidingWindow? {
    let (down, across) = ((kernelHeight - 1) * dilation, (kernelWidth - 1) * dilation)
    guard stride == 1, height > 0, width > 0, max(padding.top, padding.bottom) <= down,
      max(padding.left, padding.right) <= across
    else { return nil }
    return SlidingWindow(
      height: outputHeight, width: outputWidth, kernel: (kernelHeight, kernelWidth), stride: 1,
      padding: Padding(
        top: down - padding.top, bottom: down - padding.bottom, left: across - padding.left,
        right: across - padding.right), dilation: dilation)
  }

  /// The input row under kernel row `tap` at output row `row`; nil in the padding.
  @inline(__always) func inputRow(_ row: Int, _ tap: Int) -> Int? {
    let position = row * stride + tap * dilation - padding.top
    return position >= 0 && position < height ? position : nil
  }

  /// Where kernel column `tap` meets input column `shift` + output column · stride.
  @inline(__always) func shift(_ tap: Int) -> Int { tap * dilation - padding.left }

  /// The output columns at which kernel column `tap` lies within the image.
  @inline(__always) func outputColumns(_ tap: Int) -> Range<Int> {
    let shift = shift(tap)
    let first = shift < 0 ? (stride - 1 - shift) / stride : 0
    let end = width - 1 - shift < 0 ? 0 : min(outputWidth, (width - 1 - shift) / stride + 1)
    return min(first, end)..<end
  }

  /// Lays out, for the output rows `rows`, a row of numbers a channel and tap, zeros where a tap lies in the padding.
  func layPatches(_ x: UnsafePointer<Float>, _ rows: Range<Int>, channels: Int, into place: UnsafeMutablePointer<Float>)
  {
    var target = place
    for channel in 0..<channels {
      let plane = x + channel * height * width
      for ky in 0..<kernelHeight {
        for kx in 0..<kernelWidth {
          let columns = outputColumns(kx), shift = shift(kx)
          for row in rows {
            if let y = inputRow(row, ky), !columns.isEmpty {
              let source = plane + y * width + shift
              target.update(repeating: 0, count: columns.lowerBound)
              if stride == 1 {
                (target + columns.lowerBound).update(from: source + columns.lowerBound, count: columns.count)
              } else {
                for column in columns { target[column] = source[column &* stride] }
              }
              (target + columns.upperBound).update(repeating: 0, count: outputWidth - columns.upperBound)
            } else {
              target.update(repeating: 0, count: outputWidth)
            }
            target += outputWidth
          }
        }
      }
    }
  }

  /// Adds to an image what ``layPatches`` had read from each of its numbers.
  func addPatches(
    _ patches: UnsafePointer<Float>, _ rows: Range<Int>, channels: Int, to place: UnsafeMutablePointer<Float>
  ) {
    var source = patches
    for channel in 0..<channels {
      let plane = place + channel * height * width
      for ky in 0..<kernelHeight {
        for kx in 0..<kernelWidth {
          for row in rows {
            if let y = inputRow(row, ky) {
              let columns = outputColumns(kx), target = plane + y * width + shift(kx)
              if stride == 1 {
                // A plain loop: most rows are shorter than the tails of vectors would cost.
                for column in columns { target[column] += source[column] }
              } else {
                for column in columns { target[column &* stride] += source[column] }
              }
            }
            source += outputWidth
          }
        }
      }
    }
  }
}
