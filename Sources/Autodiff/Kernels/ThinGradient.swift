import CKernels

/// The gradient of a bank of few filters, such as LoRA's: products of few rows with many columns, and no patches.
///
/// Gradients and images are laid out as ``FlatPlane`` has them; then each tap of a filter is one long column, which starts
/// where the tap does, and the filters' gradients are the rows. A channel is one task's alone, its images in order.
struct ThinGradient: Sendable {
  /// More filters go by a product of matrices, which reads its patches once for all of them.
  static let mostFilters = 16
  /// Floats of laid gradients that stay in a core's cache while the channels pass by.
  private static let cached = 1 << 16

  private let window: SlidingWindow, plane: FlatPlane
  private let images: Int, channels: Int, filters: Int

  init(_ window: SlidingWindow, images: Int, channels: Int, filters: Int) {
    (self.window, self.images, self.channels, self.filters) = (window, images, channels, filters)
    plane = FlatPlane(window)
  }

  /// Adds to filters `[filters, channels, kernelHeight, kernelWidth]` what `gradient` `[images, filters, …]` carries back
  /// to them from `x` `[images, channels, height, width]`.
  func add(_ gradient: Tensor, _ x: Tensor, to place: UnsafeMutablePointer<Float>) {
    let outputPlane = window.outputHeight * window.outputWidth, inputPlane = window.height * window.width
    let length = plane.resultSize, taps = plane.taps.count
    let rows = Storage(uninitialized: images * filters * length)
    withExtendedLifetime((gradient, x, rows)) {
      Parallel.forRanges(images * filters, grain: max(1, elementGrain / 4 / length)) { range in
        for row in range {
          plane.layResult(gradient.pointer + row * outputPlane, into: rows.pointer + row * length)
        }
      }
      let together = max(1, min(images, Self.cached / (filters * length)))
      Parallel.forRanges(channels, grain: (channels + 15) / 16) { range in
        let laid = Storage(uninitialized: together * plane.inputSize)
        for first in stride(from: 0, to: images, by: together) {
          let count = min(together, images - first)
          var form = graft_correlation()
          form.level = graft_processor_level()
          (form.rows, form.columns, form.images, form.length) = (filters, taps, count, length)
          (form.row_pitch, form.row_stride, form.column_stride) = (length, filters * length, plane.inputSize)
          (form.scale, form.row_step, form.column_step) = (1, channels * taps, 1)
          plane.taps.withUnsafeBufferPointer { places in
            guard let places = places.baseAddress else { return }
            for channel in range {
              for image in 0..<count {
                plane.lay(
                  x.pointer + ((first + image) * channels + channel) * inputPlane,
                  into: laid.pointer + image * plane.inputSize)
              }
              graft_correlate(
                &form, rows.pointer + first * filters * length, laid.pointer, places, place + channel * taps)
            }
          }
        }
      }
    }
  }
}
