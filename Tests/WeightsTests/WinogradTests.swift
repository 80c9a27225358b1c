import CKernels
import Testing

struct WinogradCase: Sendable, CustomStringConvertible {
  let inputs: Int, outputs: Int, height: Int, width: Int, images: Int
  var top = 1, left = 1, outputHeight: Int, outputWidth: Int

  var description: String {
    "\(images) of \(inputs) × \(height) × \(width) to \(outputs) × \(outputHeight) × \(outputWidth), \(top) above, \(left) left"
  }

  static let all = [
    WinogradCase(inputs: 1, outputs: 1, height: 2, width: 2, images: 1, outputHeight: 2, outputWidth: 2),
    WinogradCase(inputs: 5, outputs: 3, height: 9, width: 7, images: 2, outputHeight: 9, outputWidth: 7),
    WinogradCase(
      inputs: 3, outputs: 13, height: 5, width: 40, images: 3, top: 0, left: 2, outputHeight: 3, outputWidth: 41),
    WinogradCase(inputs: 17, outputs: 8, height: 7, width: 33, images: 2, outputHeight: 7, outputWidth: 33),
  ]
}

/// Each level's kernels, of which those above the processor's do not run.
let kernelLevels = [GRAFT_PORTABLE, GRAFT_AVX2, GRAFT_AVX512].filter {
  $0.rawValue <= graft_processor_level().rawValue
}

struct WinogradTests {
  @Test(arguments: WinogradCase.all)
  func `Winograd's algorithm is the six loops at every level, however its rows are shared out`(_ c: WinogradCase) {
    var noise = Noise(seed: 21)
    let x = noise.normals(c.images * c.inputs * c.height * c.width), w = noise.normals(c.outputs * c.inputs * 9)
    let bias = noise.normals(c.outputs)
    let expected = plain(x, w, bias, c)
    for level in kernelLevels {
      let whole = winograd(x, w, bias, c, level, rowsTogether: .max),
        apart = winograd(x, w, bias, c, level, rowsTogether: 3)
      #expect(bitPatterns(whole) == bitPatterns(apart))
      // Sums of 9 · inputs terms of size about 1, and sixteen times as many in the transforms.
      let tolerance = Float(9 * c.inputs + 16) * 0x1p-22
      #expect(zip(whole, expected).allSatisfy { abs($0 - $1) <= tolerance }, "level \(level)")
    }
  }

  @Test func `A transposed bank is turned half round and its channels exchanged`() {
    let c = WinogradCase(inputs: 6, outputs: 5, height: 6, width: 6, images: 1, outputHeight: 6, outputWidth: 6)
    var noise = Noise(seed: 22)
    let x = noise.normals(6 * 36), w = noise.normals(5 * 6 * 9)
    var exchanged = w
    for k in 0..<5 {
      for i in 0..<6 { for t in 0..<9 { exchanged[(i * 5 + k) * 9 + 8 - t] = w[(k * 6 + i) * 9 + t] } }
    }
    for level in kernelLevels {
      let turned = winograd(x, exchanged, nil, c, level, rowsTogether: 2, isTransposed: true)
      #expect(bitPatterns(turned) == bitPatterns(winograd(x, w, nil, c, level, rowsTogether: 2)))
    }
  }

  @Test(arguments: WinogradCase.all)
  func `The last outputs go to an array of their own, bit for bit`(_ c: WinogradCase) {
    var noise = Noise(seed: 23)
    let x = noise.normals(c.images * c.inputs * c.height * c.width), w = noise.normals(c.outputs * c.inputs * 9)
    let plane = c.outputHeight * c.outputWidth, last = (c.outputs + 1) / 2, own = c.outputs - last
    for level in kernelLevels {
      let whole = winograd(x, w, nil, c, level, rowsTogether: .max), parted = winograd(x, w, nil, c, level, last)
      for image in 0..<c.images {
        let start = image * c.outputs * plane
        #expect(
          bitPatterns(Array(whole[start..<start + own * plane]))
            == bitPatterns(Array(parted.y[image * own * plane..<(image + 1) * own * plane])))
        #expect(
          bitPatterns(Array(whole[start + own * plane..<start + c.outputs * plane]))
            == bitPatterns(Array(parted.beside[image * last * plane..<(image + 1) * last * plane])))
      }
    }
  }

  private func winograd(
    _ x: [Float], _ w: [Float], _ bias: [Float]?, _ c: WinogradCase, _ level: graft_level, rowsTogether: Int,
    isTransposed: Bool = false
  ) -> [Float] {
    winograd(x, w, bias, c, level, 0, rowsTogether: rowsTogether, isTransposed: isTransposed).y
  }

  private func winograd(
    _ x: [Float], _ w: [Float], _ bias: [Float]?, _ c: WinogradCase, _ level: graft_level, _ last: Int,
    rowsTogether: Int = .max, isTransposed: Bool = false
  ) -> (y: [Float], beside: [Float]) {
    var form = graft_winograd()
    (form.level, form.inputs, form.outputs) = (level, c.inputs, c.outputs)
    (form.height, form.width, form.top, form.left) = (c.height, c.width, c.top, c.left)
    (form.output_height, form.output_width) = (c.outputHeight, c.outputWidth)
    (form.input_stride, form.output_stride) = (
      c.inputs * c.height * c.width, (c.outputs - last) * c.outputHeight * c.outputWidth
    )
    form.beside = last
    var filters = [Float](repeating: .nan, count: graft_winograd_filter_count(&form))
    for first in stride(from: 0, to: c.outputs, by: 8) {
      let count = min(8, c.outputs - first)
      w.withUnsafeBufferPointer {
        guard let w = $0.baseAddress else { return }
        graft_winograd_filters(
          &form, w + first * 9 * (isTransposed ? 1 : c.inputs), 9 * (isTransposed ? c.outputs : c.inputs), isTransposed,
          first, count, &filters)
      }
    }
    var y = [Float](repeating: .nan, count: c.images * form.output_stride)
    var beside = [Float](repeating: .nan, count: c.images * last * c.outputHeight * c.outputWidth)
    let rows = c.images * ((c.outputHeight + 1) / 2), together = min(rows, rowsTogether)
    var scratch = [Float](repeating: .nan, count: graft_winograd_scratch_count(&form, together))
    for first in stride(from: 0, to: rows, by: together) {
      graft_winograd_convolve(&form, filters, x, first, min(together, rows - first), bias, &y, &beside, &scratch)
    }
    return (y, beside)
  }

  private func plain(_ x: [Float], _ w: [Float], _ bias: [Float], _ c: WinogradCase) -> [Float] {
    var y: [Float] = []
    for image in 0..<c.images {
      for output in 0..<c.outputs {
        for row in 0..<c.outputHeight {
          for column in 0..<c.outputWidth {
            var sum = Double(bias[output])
            for input in 0..<c.inputs {
              for tap in 0..<9 {
                let r = row + tap / 3 - c.top, s = column + tap % 3 - c.left
                guard r >= 0, r < c.height, s >= 0, s < c.width else { continue }
                sum +=
                  Double(x[((image * c.inputs + input) * c.height + r) * c.width + s])
                  * Double(w[(output * c.inputs + input) * 9 + tap])
              }
            }
            y.append(Float(sum))
          }
        }
      }
    }
    return y
  }
}
