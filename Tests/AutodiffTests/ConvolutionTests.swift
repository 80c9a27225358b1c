import Autodiff
import Testing

struct ConvolutionCase: Sendable, CustomStringConvertible {
  let input: Shape, weight: Shape
  var stride = 1, padding = Padding(), dilation = 1, groups = 1

  var description: String { "\(input) by \(weight), stride \(stride), dilation \(dilation), groups \(groups)" }

  static let all = [
    ConvolutionCase(input: [1, 1, 1, 1], weight: [1, 1, 1, 1]),
    ConvolutionCase(input: [2, 3, 7, 9], weight: [5, 3, 3, 3], padding: Padding(1)),
    ConvolutionCase(
      input: [2, 3, 7, 9], weight: [5, 3, 3, 2], stride: 2, padding: Padding(top: 0, bottom: 1, left: 1, right: 2)),
    ConvolutionCase(input: [1, 4, 9, 8], weight: [6, 2, 3, 3], padding: Padding(2), dilation: 2, groups: 2),
    ConvolutionCase(input: [3, 6, 5, 5], weight: [4, 6, 1, 1]),
    ConvolutionCase(input: [2, 6, 8, 8], weight: [4, 6, 1, 1], stride: 2),
    ConvolutionCase(input: [2, 5, 9, 11], weight: [5, 1, 3, 3], padding: Padding(1), groups: 5),
    ConvolutionCase(input: [2, 3, 9, 11], weight: [6, 1, 3, 3], stride: 2, padding: Padding(1), groups: 3),
    ConvolutionCase(
      input: [1, 3, 9, 9], weight: [3, 1, 5, 5], stride: 3, padding: Padding(4), dilation: 2, groups: 3),
    ConvolutionCase(
      input: [2, 8, 7, 9], weight: [10, 4, 3, 3], padding: Padding(top: 1, bottom: 0, left: 2, right: 1), groups: 2),
    ConvolutionCase(input: [3, 5, 5, 4], weight: [9, 5, 3, 3]),
    ConvolutionCase(input: [1, 4, 4, 4], weight: [4, 4, 5, 5], padding: Padding(2)),
    ConvolutionCase(input: [1, 4, 2, 2], weight: [4, 4, 4, 4], padding: Padding(2)),
    ConvolutionCase(input: [2, 4, 3, 3], weight: [4, 4, 3, 3], padding: Padding(3)),
    ConvolutionCase(input: [6, 8, 40, 40], weight: [16, 8, 3, 3], padding: Padding(1)),
    ConvolutionCase(input: [2, 3, 15, 13], weight: [17, 3, 7, 7], stride: 2, padding: Padding(3)),
    ConvolutionCase(input: [2, 5, 8, 7], weight: [19, 5, 3, 3], stride: 2, padding: Padding(1), dilation: 2),
    ConvolutionCase(input: [2, 24, 40, 40], weight: [24, 1, 3, 3], padding: Padding(1), groups: 24),
    ConvolutionCase(
      input: [2, 3, 12, 38], weight: [3, 1, 3, 3], stride: 2, padding: Padding(top: 0, bottom: 1, left: 0, right: 1),
      groups: 3),
    ConvolutionCase(input: [1, 3, 11, 37], weight: [6, 1, 5, 5], stride: 2, padding: Padding(2), groups: 3),
    ConvolutionCase(input: [2, 2, 10, 10], weight: [2, 1, 3, 3], stride: 2, groups: 2),
    ConvolutionCase(input: [2, 3, 6, 19], weight: [3, 1, 3, 3], padding: Padding(4), groups: 3),
    ConvolutionCase(
      input: [2, 3, 6, 19], weight: [6, 1, 5, 3], padding: Padding(top: 0, bottom: 4, left: 1, right: 2), groups: 3),
  ]
}

struct ConvolutionTests {
  @Test(arguments: ConvolutionCase.all)
  func `A convolution is its six loops`(_ c: ConvolutionCase) {
    let x = numbers(c.input), w = numbers(c.weight, 1), b = numbers([c.weight[0]], 2)
    let y = conv2d(x, weight: w, bias: b, stride: c.stride, padding: c.padding, dilation: c.dilation, groups: c.groups)
    let (height, width) = (c.input[2], c.input[3]), (rows, columns) = (y.shape[2], y.shape[3])
    let inputs = c.weight[1], outputs = c.weight[0]
    let (kh, kw) = (c.weight[2], c.weight[3]), (xs, ws, bs) = (x.values, w.values, b.values)
    var expected: [Float] = []
    for image in 0..<c.input[0] {
      for output in 0..<outputs {
        let group = output / (outputs / c.groups)
        for row in 0..<rows {
          for column in 0..<columns {
            var sum = Double(bs[output])
            for input in 0..<inputs {
              for i in 0..<kh {
                for j in 0..<kw {
                  let r = row * c.stride + i * c.dilation - c.padding.top
                  let s = column * c.stride + j * c.dilation - c.padding.left
                  guard r >= 0, r < height, s >= 0, s < width else { continue }
                  let plane = image * c.input[1] + group * inputs + input
                  sum += Double(
                    xs[(plane * height + r) * width + s] * ws[((output * inputs + input) * kh + i) * kw + j])
                }
              }
            }
            expected.append(Float(sum))
          }
        }
      }
    }
    // Float, at most 72 terms of size about 1: 72 × 2⁻²⁴, and each product is rounded here too.
    expectClose(y, Tensor(expected, shape: y.shape), 1e-5)
  }

  @Test(arguments: ConvolutionCase.all)
  func `Frozen filters give the same bits`(_ c: ConvolutionCase) {
    let w = numbers(c.weight, 1), matrix = PackedStandIn(matrix: w.reshaped([c.weight[0], w.count / c.weight[0]]))
    let first = numbers(c.input).watched, second = first.detached.watched
    let learned = conv2d(first, weight: w, stride: c.stride, padding: c.padding, dilation: c.dilation, groups: c.groups)
    let frozen = conv2d(
      second, matrix, kernel: (c.weight[2], c.weight[3]), stride: c.stride, padding: c.padding, dilation: c.dilation,
      groups: c.groups)
    #expect(bits(learned) == bits(frozen))
    let a = gradients(of: (learned * learned).sum, at: [first])[0]
    let b = gradients(of: (frozen * frozen).sum, at: [second])[0]
    #expect(bits(a) == bits(b))
  }

  @Test func `SAME puts the odd zero at the bottom and the right`() {
    // 5 columns at stride 2 need 3 outputs: (3 − 1) · 2 + 3 − 5 = 2 zeros; 6 rows at stride 2: (3 − 1) · 2 + 3 − 6 = 1.
    #expect(
      Padding.same(height: 6, width: 5, kernel: (3, 3), stride: 2) == Padding(top: 0, bottom: 1, left: 1, right: 1))
    #expect(Padding.same(height: 4, width: 4, kernel: (1, 1), stride: 2) == Padding())
  }

  @Test func `A batch norm leaves each channel with mean 0 and variance 1`() {
    let x = 3 * numbers([4, 3, 5, 7]) + 10, one = Tensor.filled(1, [3]), zero = Tensor.zeros([3])
    let (y, moments) = batchNorm(x, weight: one, bias: zero, epsilon: 0)
    let again = batchNorm(y, weight: one, bias: zero, epsilon: 0).moments
    expectClose(again.mean, zero, 1e-5)
    expectClose(again.variance, one, 1e-5)
    expectClose(batchNorm(x, weight: one, bias: zero, moments: moments, epsilon: 0), y, 1e-6)
  }

  @Test func `A clamp keeps what is no number, and its gradient is none at its ends and beyond`() {
    let values: [Float] = [.nan, -.infinity, .infinity, 0, 6, -0.0, 3], one = Tensor.filled(1, [1]),
      zero = Tensor.zeros([1])
    // Twice seven in one register, and as many in what is left of a plane.
    for count in [7, 14, 21, 35] {
      let x = Tensor((0..<count).map { values[$0 % 7] }, shape: [1, 1, count]).watched
      let y = frozenBatchNorm(
        x, weight: one, bias: zero, moments: ChannelMoments(mean: zero, variance: one), epsilon: 0, ceiling: 6)
      #expect(y.values.enumerated().allSatisfy { $1.isNaN ? $0 % 7 == 0 : $1 == [9, 0, 6, 0, 6, 0, 3][$0 % 7] })
      let gradient = gradients(of: (2 * y).sum, at: [x])[0].values
      #expect(gradient == (0..<count).map { $0 % 7 == 6 ? 2 : 0 })
    }
  }

  @Test func `Pools by hand`() {
    let x = Tensor([1, 2, 3, 4, 5, 6, 7, 8, 9], shape: [1, 1, 3, 3])
    #expect(maxPool(x, kernel: 2, stride: 1).values == [5, 6, 8, 9])
    #expect(averagePool(x, kernel: 2, stride: 1).values == [3, 4, 6, 7])
    // Windows that hang over the top left corner: of four numbers only 1 lies within.
    #expect(averagePool(x, kernel: 2, padding: Padding(1)).values == [0.25, 1.25, 2.75, 7])
    #expect(averagePool(x, kernel: 2, padding: Padding(1), countsPadding: false).values == [1, 2.5, 5.5, 7])
    #expect(maxPool(-x, kernel: 2, padding: Padding(1)).values == [-1, -2, -4, -5])
    #expect(globalAveragePool(x).values == [5])
  }

  @Test(arguments: [1, 2, 3, 5], [1, 2, 3])
  func `A pool is its four loops, and its gradient goes to the first of the largest`(_ kernel: Int, _ stride: Int) {
    for (height, width) in [(5, 5), (6, 9), (7, 35)] {
      for (top, left) in [(0, 0), (kernel - 1, kernel / 2)] {
        // Few values, so that there are equals, and windows that hold nothing larger than the padding.
        let values = numbers([2, 2, height, width]).values.map { $0 < -0.5 ? -Float.infinity : ($0 * 3).rounded() }
        let x = Tensor(values, shape: [2, 2, height, width]).watched
        let y = maxPool(x, kernel: kernel, stride: stride, padding: Padding(top: top, bottom: 0, left: left, right: 0))
        let g = numbers(y.shape, 1), (rows, columns) = (y.shape[2], y.shape[3])
        var expected: [Float] = [], gradient = [Float](repeating: 0, count: values.count)
        for plane in 0..<4 {
          for row in 0..<rows {
            for column in 0..<columns {
              var best: Int?
              for r in max(0, row * stride - top)..<min(height, row * stride - top + kernel) {
                for c in max(0, column * stride - left)..<min(width, column * stride - left + kernel) {
                  let place = (plane * height + r) * width + c
                  if best.map({ values[place] > values[$0] }) ?? true { best = place }
                }
              }
              guard let best else { continue }
              expected.append(values[best])
              gradient[best] += g.values[(plane * rows + row) * columns + column]
            }
          }
        }
        #expect(y.values == expected)
        #expect(gradients(of: (y * g).sum, at: [x])[0].values == gradient)
      }
    }
  }

  @Test func `What is no number wins a pool`() {
    let x = Tensor([1, .nan, 3, 4, 5, 6, 7, 8, 9], shape: [1, 1, 3, 3])
    let y = maxPool(x, kernel: 2, stride: 1).values
    #expect(y[0].isNaN && y[1].isNaN && y[2...] == [8, 9])
  }
}
