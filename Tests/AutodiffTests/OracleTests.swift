import Autodiff
import Glibc
import Testing

/// Fused operations against the plain composition each stands for, results and gradients.
struct OracleTests {
  /// Expects two ways of computing one thing to agree.
  ///
  /// The tolerance is for sums of some hundred Float terms in two orders: a few hundred × 2⁻²⁴.
  private func expectSame(
    _ operands: [Tensor], _ fused: @escaping @Sendable ([Tensor]) -> Tensor,
    _ plain: @escaping @Sendable ([Tensor]) -> Tensor, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let a = Specimen("fused", operands, fused).run(), b = Specimen("plain", operands, plain).run()
    expectClose(a.result, b.result, 2e-5, sourceLocation: sourceLocation)
    for (x, y) in zip(a.gradients, b.gradients) { expectClose(x, y, 2e-5, sourceLocation: sourceLocation) }
  }

  @Test(arguments: [1, 3, 4, 150], [false, true])
  func `A frozen linear layer is a matrix product`(_ tokens: Int, _ hasBias: Bool) {
    let w = 0.2 * numbers([600, 130]), frozen = PackedStandIn(matrix: w)
    expectSame([numbers([tokens, 130], 1), numbers([600], 2)]) {
      linear($0[0], frozen, bias: hasBias ? $0[1] : nil)
    } _: {
      let product = matmul($0[0], w, transposingB: true)
      return hasBias ? product + $0[1] : product
    }
  }

  @Test(arguments: [1, 3, 150], [(false, false), (true, false), (false, true), (true, true)])
  func `A low-rank linear layer is its parts`(_ tokens: Int, _ options: (bias: Bool, mask: Bool)) {
    let w = 0.2 * numbers([70, 90]), frozen = PackedStandIn(matrix: w)
    let mask = Tensor(numbers([tokens, 90], 5).values.map { $0 > 0 ? 1.5 : 0 }, shape: [tokens, 90])
    let again: @Sendable () -> Tensor = { mask }
    expectSame([numbers([tokens, 90], 1), 0.2 * numbers([8, 90], 2), numbers([70, 8], 3), numbers([70], 4)]) {
      lowRankLinear(
        $0[0], frozen, bias: options.bias ? $0[3] : nil, a: $0[1], b: $0[2], scale: 0.25,
        mask: options.mask ? again : nil)
    } _: {
      let branch = options.mask ? $0[0] * mask : $0[0]
      let change = matmul(matmul(branch, $0[1], transposingB: true), $0[2], transposingB: true)
      let y = matmul($0[0], w, transposingB: true) + 0.25 * change
      return options.bias ? y + $0[3] : y
    }
  }

  @Test(arguments: [[1, 1, 1, 1], [2, 3, 5, 7], [3, 5, 33, 29]], [false, true])
  func `A batch norm by given moments, its shortcut and its clamp are their parts`(_ shape: Shape, _ hasShortcut: Bool)
  {
    let channels = shape[1], w = numbers([channels], 1) + 2, b = numbers([channels], 2)
    let moments = ChannelMoments(
      mean: numbers([channels], 3), variance: (numbers([channels], 4) * numbers([channels], 4)) + 1)
    for (clamps, ceiling) in [(false, Float.infinity), (true, .infinity), (true, 6)] {
      expectSame([8 * numbers(shape), 4 * numbers(shape, 5)]) {
        frozenBatchNorm(
          $0[0], weight: w, bias: b, moments: moments, epsilon: 0.1, clamps: clamps, ceiling: ceiling,
          adding: hasShortcut ? $0[1] : nil)
      } _: {
        let y = batchNorm($0[0], weight: w, bias: b, moments: moments, epsilon: 0.1) + (hasShortcut ? 1 : 0) * $0[1]
        return clamps ? (ceiling == 6 ? y.rectified6 : y.rectified) : y
      }
    }
  }

  @Test(arguments: ConvolutionCase.all.filter { $0.groups == 1 }, [1, 4, 18])
  func `A low-rank convolution is its parts`(_ c: ConvolutionCase, _ rank: Int) {
    let (outputs, kernel) = (c.weight[0], (height: c.weight[2], width: c.weight[3]))
    let w = 0.2 * numbers(c.weight, 1), frozen = PackedStandIn(matrix: w.reshaped([outputs, w.count / outputs]))
    let a = 0.2 * numbers([rank, c.weight[1], c.weight[2], c.weight[3]], 2)
    expectSame([numbers(c.input), a, 0.3 * numbers([outputs, rank, 1, 1], 3), numbers([outputs], 4)]) {
      lowRankConv2d(
        $0[0], frozen, bias: $0[3], a: $0[1], b: $0[2], scale: 0.25, stride: c.stride, padding: c.padding,
        dilation: c.dilation)
    } _: {
      let base = conv2d(
        $0[0], frozen, kernel: kernel, bias: $0[3], stride: c.stride, padding: c.padding, dilation: c.dilation)
      let hidden = conv2d($0[0], weight: $0[1], stride: c.stride, padding: c.padding, dilation: c.dilation)
      return base + 0.25 * conv2d(hidden, weight: $0[2])
    }
  }

  @Test func `Routed low-rank changes are each run's product`() {
    let runs = [(factors: 1, rows: 0..<30), (0, 30..<31), (1, 31..<31), (1, 31..<90)]
    expectSame([numbers([90, 50], 1), 0.2 * numbers([2, 8, 50], 2), numbers([2, 60, 8], 3)]) {
      routedLowRank($0[0], a: $0[1], b: $0[2], scale: 0.25, runs: runs)
    } _: { operands in
      .concatenated(
        runs.map { pair, rows in
          let a = operands[1].rows(pair..<pair + 1).reshaped([8, 50])
          let b = operands[2].rows(pair..<pair + 1).reshaped([60, 8])
          let hidden = matmul(operands[0].rows(rows), a, transposingB: true)
          return 0.25 * matmul(hidden, b, transposingB: true)
        })
    }
  }

  @Test(arguments: [1, 3, 150], [false, true])
  func `A change of some columns or rows is the same change of the whole matrix`(_ tokens: Int, _ hasBias: Bool) {
    let w = 0.2 * numbers([70, 90]), frozen = PackedStandIn(matrix: w)
    let operands = [numbers([tokens, 90], 1), numbers([70], 4)], columns = [0, 7, 8, 89], rows = [3, 69]
    /// Row i is 1 at `chosen[i]` and 0 elsewhere.
    func selection(_ chosen: [Int], of count: Int) -> Tensor {
      Tensor(chosen.flatMap { index in (0..<count).map { $0 == index ? 1 : 0 } }, shape: [chosen.count, count])
    }
    let picksColumns = selection(columns, of: 90), picksRows = selection(rows, of: 70)
    expectSame(operands + [numbers([70, 4], 2)]) {
      linear($0[0], frozen, bias: hasBias ? $0[1] : nil, columns: columns, delta: $0[2])
    } _: {
      let y = matmul($0[0], w + matmul($0[2], picksColumns), transposingB: true)
      return hasBias ? y + $0[1] : y
    }
    expectSame(operands + [numbers([2, 90], 3)]) {
      linear($0[0], frozen, bias: hasBias ? $0[1] : nil, rows: rows, delta: $0[2])
    } _: {
      let y = matmul($0[0], w + matmul(picksRows, $0[2], transposingA: true), transposingB: true)
      return hasBias ? y + $0[1] : y
    }
  }

  @Test(arguments: [[1, 1], [3, 5], [50, 64]] as [Shape])
  func `Norms are their formulas`(_ shape: Shape) {
    let n = shape[1], column: Shape = [shape[0], 1]
    expectSame([numbers(shape), numbers([n], 1)]) {
      rmsNorm($0[0], weight: $0[1], epsilon: 0.01)
    } _: {
      $0[0] / (($0[0] * $0[0]).rowMeans + 0.01).squareRoot.reshaped(column) * $0[1]
    }
    expectSame([numbers(shape), numbers([n], 1), numbers([n], 2)]) {
      layerNorm($0[0], weight: $0[1], bias: $0[2], epsilon: 0.01)
    } _: {
      let centered = $0[0] - $0[0].rowMeans.reshaped(column)
      let deviation = ((centered * centered).rowMeans + 0.01).squareRoot.reshaped(column)
      return centered / deviation * $0[1] + $0[2]
    }
    expectSame([numbers(shape), numbers(shape, 1)]) {
      siluProduct($0[0], $0[1])
    } _: {
      $0[0] * $0[0].sigmoid * $0[1]
    }
  }

  @Test(arguments: [4, 6])
  func `Rotary embedding turns each pair by its angle`(_ width: Int) {
    // Heads of 6 channels; x' = (x₁ c − x₂ s, x₂ c + x₁ s), the channels behind `width` unchanged.
    let frequencies = (0..<width / 2).map { 1 / Double($0 + 1) }
    let table = RotaryTable(frequencies: frequencies, positions: 3..<40), positions: [Int32] = [3, 9, 39]
    let pairs = width / 2
    func angles(_ f: (Double) -> Double) -> Tensor {
      Tensor(positions.flatMap { p in frequencies.map { Float(f(Double(p) * $0)) } }, shape: [3, pairs])
    }
    let c = angles { Glibc.cos($0) }, s = angles { Glibc.sin($0) }
    expectSame([numbers([3, 12])]) {
      rotary($0[0], table, positions: positions, headSize: 6)
    } _: { operands in
      let heads = [0, 6].flatMap { start in
        let low = operands[0].columns(start..<start + pairs), high = operands[0].columns(start + pairs..<start + width)
        return [low * c - high * s, high * c + low * s, operands[0].columns(start + width..<start + 6)]
      }
      return Tensor.concatenated(heads.filter { $0.count > 0 }.map(\.transposed)).transposed
    }
  }

  @Test(arguments: attentionCases.indices)
  func `Attention is a softmax of scores under a mask`(_ index: Int) {
    let (heads, kvHeads, size, pattern) = attentionCases[index], tokens = pattern.tokens
    func sequence(_ token: Int) -> Int { pattern.starts.lastIndex { $0 <= token } ?? 0 }
    let mask = Tensor(
      (0..<tokens * tokens).map { cell -> Float in
        let (row, column) = (cell / tokens, cell % tokens)
        let sees =
          sequence(row) == sequence(column) && (!pattern.isCausal || column <= row)
          && (pattern.window.map { column > row - $0 } ?? true)
        return sees ? 0 : -1e9
      }, shape: [tokens, tokens])
    let q = numbers([tokens, heads * size]), k = numbers([tokens, kvHeads * size], 1)
    expectSame([q, k, numbers([tokens, kvHeads * size], 2)]) {
      attention($0[0], $0[1], $0[2], heads: heads, kvHeads: kvHeads, pattern: pattern, scale: 0.3)
    } _: { operands in
      let parts = (0..<heads).map { head -> Tensor in
        let shared = head / (heads / kvHeads)
        let q = operands[0].columns(head * size..<(head + 1) * size)
        let k = operands[1].columns(shared * size..<(shared + 1) * size)
        let v = operands[2].columns(shared * size..<(shared + 1) * size)
        return matmul((0.3 * matmul(q, k, transposingB: true) + mask).softmax, v).transposed
      }
      return Tensor.concatenated(parts).transposed
    }
  }

  @Test(arguments: [nil, 4])
  func `Generation's attention is the last rows of training's`(_ window: Int?) {
    let pattern = AttentionPattern(lengths: [19], isCausal: true, window: window)
    let (q, k, v) = (numbers([19, 24]), numbers([19, 12], 1), numbers([19, 12], 2))
    let all = attention(q, k, v, heads: 4, kvHeads: 2, pattern: pattern, scale: 0.4)
    let last = attention(ofLast: q.rows(14..<19), k, v, heads: 4, kvHeads: 2, window: window, scale: 0.4)
    expectClose(last, all.rows(14..<19), 1e-6)
  }

  @Test(arguments: [1, 3, 128, 300])
  func `Cross-entropy over a frozen head is that of its logits`(_ rows: Int) {
    let w = 0.3 * numbers([77, 20]), labels = (0..<rows).map { $0 % 4 == 1 ? ignoredLabel : Int32($0 * 5 % 77) }
    expectSame([numbers([rows, 20], 1)]) {
      linearCrossEntropySum($0[0], head: PackedStandIn(matrix: w), labels: labels)
    } _: {
      crossEntropySum(matmul($0[0], w, transposingB: true), labels: labels)
    }
  }

  @Test func `Cross-entropy is the logarithm of a softmax`() {
    let labels: [Int32] = [2, ignoredLabel, 0, 6]
    let chosen = Tensor(labels.flatMap { label in (0..<7).map { Int32($0) == label ? 1 : 0 } }, shape: [4, 7])
    expectSame([numbers([4, 7])]) {
      crossEntropySum($0[0], labels: labels)
    } _: {
      -($0[0].softmax.logarithm * chosen).sum
    }
    let teacher = numbers([4, 7], 1)
    expectSame([numbers([4, 7])]) {
      divergenceSum(student: $0[0], teacher: teacher)
    } _: {
      (teacher.softmax * (teacher.softmax.logarithm - $0[0].softmax.logarithm)).sum
    }
  }
}
