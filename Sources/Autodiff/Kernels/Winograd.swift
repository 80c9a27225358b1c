import CKernels

/// A convolution of 3 × 3 that moves by one, by Winograd's algorithm: four results for sixteen multiplications, not 36.
///
/// Groups and images are as many convolutions. Filters are transformed for each pass, which costs the less of it the more
/// positions there are; that nothing is kept leaves a packed base packed.
struct Winograd: Sendable {
  private let images: Int, groups: Int
  private var form = graft_winograd()

  /// Tiles that go through all stages together: few enough for the cache of a core, and of no more than one core's share.
  private static let tilesTogether = 144

  /// Calls `body` with the filters of the given outputs of a group, and the distance from one filter to the next; from one
  /// input to the next where they are transposed.
  typealias Filters = (_ group: Int, _ outputs: Range<Int>, _ body: (UnsafePointer<Float>, Int) -> Void) -> Void

  /// The convolution of `inputs` channels a group to `outputs`, the last `beside` of which go to an array of their own; or
  /// nil where another way is as fast: windows of another kind, or so few channels or positions that the transforms would
  /// outweigh the products.
  init?(_ window: SlidingWindow, images: Int, groups: Int, inputs: Int, outputs: Int, beside: Int = 0) {
    let tiles = (window.outputHeight + 1) / 2 * ((window.outputWidth + 1) / 2)
    guard
      window.kernelHeight == 3, window.kernelWidth == 3, window.stride == 1, window.dilation == 1,
      inputs >= 4, outputs >= 4, 16 * tiles < 9 * window.outputHeight * window.outputWidth
    else { return nil }
    (self.images, self.groups) = (images, groups)
    form.level = graft_processor_level()
    (form.inputs, form.outputs) = (inputs, outputs)
    (form.height, form.width) = (window.height, window.width)
    (form.top, form.left) = (window.padding.top, window.padding.left)
    (form.output_height, form.output_width) = (window.outputHeight, window.outputWidth)
    form.input_stride = groups * inputs * window.height * window.width
    form.beside = beside
    form.output_stride = groups * (outputs - beside) * window.outputHeight * window.outputWidth
  }

  /// The convolution that carries a gradient back to the input: of the gradient, with channels exchanged and each filter
  /// turned half round.
  static func back(_ window: SlidingWindow, images: Int, groups: Int, inputs: Int, outputs: Int) -> Winograd? {
    let padding = window.padding
    guard window.kernelHeight == 3, window.kernelWidth == 3, window.stride == 1, window.dilation == 1,
      max(padding.top, padding.bottom, padding.left, padding.right) <= 2
    else { return nil }
    return Winograd(
      SlidingWindow(
        height: window.outputHeight, width: window.outputWidth, kernel: (window.kernelHeight, window.kernelWidth),
        stride: 1,
        padding: Padding(
          top: 2 - padding.top, bottom: 2 - padding.bottom, left: 2 - padding.left, right: 2 - padding.right)),
      images: images, groups: groups, inputs: outputs, outputs: inputs)
  }

  /// Writes, or adds, the convolution of `x` with `weight`, whose filters are turned and exchanged if `isTransposed`.
  func convolve(
    _ x: UnsafePointer<Float>, _ weight: UnsafePointer<Float>, isTransposed: Bool = false, bias: UnsafePointer<Float>?,
    into y: UnsafeMutablePointer<Float>, accumulates: Bool = false
  ) {
    let (inputs, outputs) = (form.inputs, form.outputs)
    convolve(x, isTransposed: isTransposed, bias: bias, into: y, accumulates: accumulates) { group, range, body in
      let bank = weight + group * outputs * inputs * 9
      body(bank + range.lowerBound * (isTransposed ? 9 : inputs * 9), (isTransposed ? outputs : inputs) * 9)
    }
  }

  /// The same with filters that are made as they are asked for, and what goes `beside`, if anything does, written there.
  func convolve(
    _ x: UnsafePointer<Float>, isTransposed: Bool, bias: UnsafePointer<Float>?, into y: UnsafeMutablePointer<Float>,
    accumulates: Bool, beside: UnsafeMutablePointer<Float>? = nil, filters bank: Filters
  ) {
    var form = form
    form.accumulates = accumulates
    let rows = images * ((form.output_height + 1) / 2)
    // An even number of tasks, so that two threads finish together.
    let wanted = max(1, Self.tilesTogether / ((form.output_width + 1) / 2))
    let tasks = min(rows, (rows + 2 * wanted - 1) / (2 * wanted) * 2), share = (rows + tasks - 1) / tasks
    let filters = Storage(uninitialized: graft_winograd_filter_count(&form))
    for group in 0..<groups {
      let form = form, source = x + group * form.inputs * form.height * form.width
      let target = y + group * form.outputs * form.output_height * form.output_width
      Parallel.forRanges(form.outputs, grain: 32) { range in
        bank(group, range) { weight, distance in
          withUnsafePointer(to: form) {
            graft_winograd_filters(
              $0, weight, distance, isTransposed, range.lowerBound, range.count, filters.pointer)
          }
        }
      }
      Parallel.forRanges(rows, grain: share) { range in
        withUnsafePointer(to: form) { form in
          let scratch = Storage(uninitialized: graft_winograd_scratch_count(form, range.count))
          withExtendedLifetime(scratch) {
            graft_winograd_convolve(
              form, filters.pointer, source, range.lowerBound, range.count,
              bias.map { $0 + group * form.pointee.outputs }, target, beside, scratch.pointer)
          }
        }
      }
    }
    withExtendedLifetime(filters) {}
  }
}
