import Glibc

@inline(__always) func log1(_ x: Float) -> Float { Glibc.logf(x) }

/// The label of a position whose prediction is not scored.
public let ignoredLabel: Int32 = -100

/// Σ −log softmax(logits)[label] over the rows whose label is not ``ignoredLabel``, in nats.
///
/// A sum, not a mean: the caller divides by the number of scored positions of the whole step, so that accumulating
/// several batches gives the gradient of one large batch.
public func crossEntropySum(_ logits: Tensor, labels: [Int32]) -> Tensor {
  let (rows, classes) = (logits.shape.rows, logits.shape.columns)
  require(labels.count == rows, "\(labels.count) labels for logits of shape \(logits.shape)")
  let source = logits.detached
  let losses = Storage(uninitialized: rows), logSums = Storage(uninitialized: rows)
  Parallel.forRanges(rows, grain: max(1, (1 << 14) / max(1, classes))) { range in
    let scratch = Storage(uninitialized: classes)
    for row in range {
      let (loss, logSum) = score(source.pointer + row * classes, classes, labels[row], scratch.pointer)
      (losses.pointer[row], logSums.pointer[row]) = (loss, logSum)
    }
  }
  let total = orderedSum(losses.pointer, rows)
  return Tensor(Tensor(Float(total)), of: [logits]) { gradient, inflow in
    let g = gradient.scalar
    inflow.add(0) { place, accumulates in
      Parallel.forRanges(rows, grain: max(1, (1 << 14) / max(1, classes))) { range in
        for row in range {
          let (line, target) = (source.pointer + row * classes, place + row * classes)
          let label = labels[row], shift = Float8(repeating: logSums.pointer[row])
          let factor = label == ignoredLabel ? 0 : g
          mapInPlace(classes, line, line, target, accumulates: accumulates) { x, _ in
            exp(x - shift) * Float8(repeating: factor)
          }
          if label != ignoredLabel { target[Int(label)] -= g }
        }
      }
    }
  }
}

/// The same loss where the logits are `hidden` times a frozen head, whose logits are never held for all rows at once.
///
/// `hidden` is `[rows, width]`: pass only the rows that are scored. The gradient of `hidden` is computed on the way
/// forward, chunk by chunk, since a frozen head needs none; kept are `[rows, width]` floats.
public func linearCrossEntropySum(_ hidden: Tensor, head: any FrozenMatrix, labels: [Int32]) -> Tensor {
  let (rows, width, classes) = (hidden.shape.rows, hidden.shape.columns, head.rows)
  require(labels.count == rows && head.columns == width, "\(labels.count) labels for states of shape \(hidden.shape)")
  for label in labels { requireLabel(label, classes) }
  let source = hidden.detached, wantsGradient = hidden.hasHistory
  let losses = Storage(uninitialized: rows)
  let slope = Storage(uninitialized: wantsGradient ? rows * width : 0)
  let chunk = min(rows, lossChunkRows)
  let logits = Storage(uninitialized: chunk * classes)
  for start in stride(from: 0, to: rows, by: max(1, chunk)) {
    let count = min(chunk, rows - start)
    head.multiply(source.pointer + start * width, tokens: count, into: logits.pointer)
    Parallel.forRanges(count, grain: 4) { range in
      for row in range {
        let line = logits.pointer + row * classes, label = labels[start + row]
        // The logits become eˣ⁻ᵐᵃˣ, then their own gradient, in place.
        let target = label == ignoredLabel ? 0 : line[Int(label)]
        let shift = maximum(line, classes)
        let sum = exponentials(line, shift: shift, line, classes)
        losses.pointer[start + row] = label == ignoredLabel ? 0 : shift + log1(sum) - target
        guard wantsGradient else { continue }
        let factor = Float8(repeating: label == ignoredLabel ? 0 : 1 / sum)
        mapInPlace(classes, line, line) { $0 * factor }
        if label != ignoredLabel { line[Int(label)] -= 1 }
      }
    }
    if wantsGradient {
      head.multiplyTransposed(logits.pointer, tokens: count, into: slope.pointer + start * width, accumulates: false)
    }
  }
  let total = orderedSum(losses.pointer, rows)
  let direction = Tensor(slope, wantsGradient ? hidden.shape : [0])
  return Tensor(Tensor(Float(total)), of: [hidden]) { gradient, inflow in
    inflow.add(0, gradient.scalar * direction)
  }
}

/// Rows whose logits are held at one time: at 49,152 classes, 25 MB.
private let lossChunkRows = 128

private func score(
  _ line: UnsafePointer<Float>, _ classes: Int, _ label: Int32, _ scratch: UnsafeMutablePointer<Float>
) -> (loss: Float, logSum: Float) {
  requireLabel(label, classes)
  let shift = maximum(line, classes)
  let logSum = shift + log1(exponentials(line, shift: shift, scratch, classes))
  return (label == ignoredLabel ? 0 : logSum - line[Int(label)], logSum)
}

private func requireLabel(_ label: Int32, _ classes: Int) {
  require(label == ignoredLabel || (label >= 0 && label < classes), "label \(label) of \(classes) classes")
}

private func orderedSum(_ values: UnsafePointer<Float>, _ count: Int) -> Double {
  (0..<count).reduce(into: Double(0)) { $0 += Double(values[$1]) }
}

/// The mean of (a − b)² over all elements.
public func meanSquaredError(_ a: Tensor, _ b: Tensor) -> Tensor {
  let difference = a - b
  return (difference * difference).mean
}

/// Σ over rows of KL(teacher ‖ student) in nats, both given as logits; the teacher is not differentiated.
public func divergenceSum(student: Tensor, teacher: Tensor) -> Tensor {
  require(student.shape == teacher.shape, "logits of shapes \(student.shape) and \(teacher.shape)")
  let (rows, classes) = (student.shape.rows, student.shape.columns)
  let p = teacher.detached.softmax, q = student.detached.softmax
  let losses = Storage(uninitialized: rows)
  Parallel.forRanges(rows, grain: 8) { range in
    for row in range {
      // Written so that no term is negative: a ln(a/b) − a + b, whose extra parts add up to nothing.
      let sum = (0..<classes).reduce(into: 0.0) { sum, i in
        let (a, b) = (Double(p.pointer[row * classes + i]), Double(q.pointer[row * classes + i]))
        sum += b - a + (a > 0 ? a * log(a / max(b, Double(Float.leastNormalMagnitude))) : 0)
      }
      // Not max(): a NaN must be seen, not passed over.
      losses.pointer[row] = sum < 0 ? 0 : Float(sum)
    }
  }
  return Tensor(Tensor(Float(orderedSum(losses.pointer, rows))), of: [student]) { gradient, inflow in
    inflow.add(0, gradient.scalar * (q - p))
  }
}
