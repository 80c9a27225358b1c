import CKernels

/// A plane taken apart so that a filter slides over it in one flat loop, whatever its stride.
///
/// Of a padded plane, position (i s + p, j s + q) goes to place (i, j) of phase (p, q). A filter's tap then always reads
/// the same phase at a fixed distance from the output's place, and rows need not be told apart: between the rows of the
/// result stand a few numbers too many, which nobody reads. Small planes profit most, where rows are shorter than a
/// vector.
struct FlatPlane: Sendable {
  private let window: SlidingWindow
  /// The largest distance in places between an output and what it reads.
  private let down: Int, across: Int
  /// Places a row, and from one phase to the next.
  private let pitch: Int, phase: Int
  /// Where each tap reads, from the place of its output.
  let taps: [Int]
  /// The same for the way back: places a row of the padded gradient, and each phase's taps.
  private let backPitch: Int
  private let backTaps: [[(tap: Int, place: Int)]]

  init(_ window: SlidingWindow) {
    let stride = window.stride
    func distance(_ tap: Int) -> Int { tap * window.dilation / stride }
    func phase(_ tap: Int) -> Int { tap * window.dilation % stride }
    self.window = window
    let (down, across) = (distance(window.kernelHeight - 1), distance(window.kernelWidth - 1))
    let pitch = window.outputWidth + across, backPitch = pitch + across
    // Loops run over whole groups of 32 and read as far beyond as the furthest tap.
    let size = Self.rounded((window.outputHeight + down) * pitch) + across + 32
    var taps: [Int] = [], backTaps = [[(tap: Int, place: Int)]](repeating: [], count: stride * stride)
    for ky in 0..<window.kernelHeight {
      for kx in 0..<window.kernelWidth {
        let part = phase(ky) * stride + phase(kx)
        backTaps[part].append((taps.count, (down - distance(ky)) * backPitch + across - distance(kx)))
        taps.append(part * size + distance(ky) * pitch + distance(kx))
      }
    }
    (self.down, self.across, self.pitch, self.phase, self.backPitch) = (down, across, pitch, size, backPitch)
    (self.taps, self.backTaps) = (taps, backTaps)
  }

  private static func rounded(_ count: Int) -> Int { (count + 31) & ~31 }
  private var stride: Int { window.stride }
  private var outputCount: Int { Self.rounded(window.outputHeight * pitch) }
  private var backCount: Int { Self.rounded((window.outputHeight + down) * backPitch) }
  private var backSize: Int { Self.rounded((window.outputHeight + 2 * down) * backPitch) + across + 32 }

  /// Room for all phases of a plane.
  var inputSize: Int { stride * stride * phase }
  /// Room for what ``slide(_:over:bias:into:scratch:)`` writes before it is gathered, or a gradient laid out as it.
  var resultSize: Int { outputCount }
  /// Room for ``spread(_:_:into:accumulates:scratch:)``.
  var backScratch: Int { backSize + stride * stride * backCount }

  /// Lays out an input plane.
  func lay(_ x: UnsafePointer<Float>, into place: UnsafeMutablePointer<Float>) {
    var form = graft_phases()
    (form.height, form.width) = (window.height, window.width)
    (form.top, form.left, form.stride) = (window.padding.top, window.padding.left, stride)
    (form.rows, form.pitch, form.size) = (window.outputHeight + down, pitch, phase)
    graft_lay(&form, x, 0, place)
  }

  /// Writes, or adds, the correlation of a plane, laid out, with one filter, plus `bias`.
  func slide(
    _ filter: UnsafePointer<Float>, over laid: UnsafePointer<Float>, bias: Float,
    into place: UnsafeMutablePointer<Float>, accumulates: Bool = false, scratch: UnsafeMutablePointer<Float>
  ) {
    taps.withUnsafeBufferPointer { taps in
      guard let places = taps.baseAddress else { return }
      graft_weigh(laid, places, filter, taps.count, bias, outputCount, scratch)
    }
    graft_gather(scratch, pitch, window.outputHeight, window.outputWidth, place, accumulates)
  }

  /// Lays out a gradient of an output plane as ``slide(_:over:bias:into:accumulates:scratch:)`` writes it, zeros between rows.
  func layResult(_ gradient: UnsafePointer<Float>, into place: UnsafeMutablePointer<Float>) {
    layGradient(gradient, pitch: pitch, size: outputCount, into: place)
  }

  private func layGradient(
    _ gradient: UnsafePointer<Float>, top: Int = 0, left: Int = 0, pitch: Int, size: Int,
    into place: UnsafeMutablePointer<Float>
  ) {
    var form = graft_phases()
    (form.height, form.width) = (window.outputHeight, window.outputWidth)
    (form.top, form.left, form.stride) = (top, left, 1)
    (form.rows, form.pitch, form.size) = (window.outputHeight + top, pitch, size)
    graft_lay(&form, gradient, 0, place)
  }

  /// Adds to a filter what a gradient, laid out, carries back to it from an input plane, laid out.
  func correlate(
    _ laid: UnsafePointer<Float>, _ gradient: UnsafePointer<Float>, into filter: UnsafeMutablePointer<Float>
  ) {
    taps.withUnsafeBufferPointer { taps in
      guard let places = taps.baseAddress else { return }
      graft_weigh_back(laid, places, gradient, taps.count, outputCount, filter)
    }
  }

  /// Writes, or adds, to an input plane what a gradient of its output plane carries back through one filter.
  func spread(
    _ filter: UnsafePointer<Float>, _ gradient: UnsafePointer<Float>, into place: UnsafeMutablePointer<Float>,
    accumulates: Bool, scratch: UnsafeMutablePointer<Float>
  ) {
    let padded = scratch, phases = scratch + backSize
    layGradient(gradient, top: down, left: across, pitch: backPitch, size: backSize, into: padded)
    for (part, taps) in backTaps.enumerated() {
      withUnsafeTemporaryAllocation(of: Int.self, capacity: taps.count + 1) { places in
        withUnsafeTemporaryAllocation(of: Float.self, capacity: taps.count + 1) { weights in
          guard let places = places.baseAddress, let weights = weights.baseAddress else { return }
          for (index, tap) in taps.enumerated() { (places[index], weights[index]) = (tap.place, filter[tap.tap]) }
          graft_weigh(padded, places, weights, taps.count, 0, backCount, phases + part * backCount)
        }
      }
    }
    var form = graft_phases()
    (form.height, form.width) = (window.height, window.width)
    (form.top, form.left, form.stride) = (window.padding.top, window.padding.left, stride)
    (form.rows, form.pitch, form.size) = (window.outputHeight + down, backPitch, backCount)
    graft_unlay(&form, phases, place, accumulates)
  }
}
