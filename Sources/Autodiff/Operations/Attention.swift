/// Who attends to whom in a batch of sequences laid end to end, without padding.
public struct AttentionPattern: Sendable, Equatable {
  /// Where each sequence begins, and behind them the number of tokens: `[0, 5, 12]` are sequences of 5 and 7.
  public var starts: [Int]
  /// Whether a token sees only itself and what came before.
  public var isCausal: Bool
  /// With a window w, a token sees only the last w tokens, itself included.
  public var window: Int?

  /// A pattern for sequences of the given lengths.
  public init(lengths: [Int], isCausal: Bool, window: Int? = nil) {
    starts = lengths.reduce(into: [0]) { $0.append(($0.last ?? 0) + $1) }
    (self.isCausal, self.window) = (isCausal, window)
  }

  /// The number of tokens of all sequences.
  public var tokens: Int { starts.last ?? 0 }
}

/// Scaled dot-product attention within each sequence: softmax(q kᵀ · scale) v for every head.
///
/// `q` is `[tokens, heads · size]`, `k` and `v` `[tokens, kvHeads · size]`, each group of heads/kvHeads query heads
/// sharing one key head. Works a strip of query rows at a time, so memory is O(tokens) a head; besides its operands and
/// result only one float a row and head is kept, and the backward pass computes the strips again.
public func attention(
  _ q: Tensor, _ k: Tensor, _ v: Tensor, heads: Int, kvHeads: Int, pattern: AttentionPattern, scale: Float
) -> Tensor {
  let size = q.shape[1] / heads
  require(
    q.shape[1] == heads * size && k.shape[1] == kvHeads * size && v.shape == k.shape && heads % kvHeads == 0
      && q.shape[0] == pattern.tokens && k.shape[0] == pattern.tokens,
    "attention of \(heads) and \(kvHeads) heads over \(pattern.tokens) tokens; got \(q.shape), \(k.shape), \(v.shape)")
  let plan = AttentionPlan(heads: heads, kvHeads: kvHeads, size: size, pattern: pattern, scale: scale)
  let (query, key, value) = (q.detached, k.detached, v.detached)
  let logSums = Storage(uninitialized: pattern.tokens * heads)
  let output = Tensor(shape: q.shape) { plan.forward(query.pointer, key.pointer, value.pointer, $0, logSums.pointer) }
  return Tensor(output, of: [q, k, v]) { gradient, inflow in
    // All three are computed together: each strip's probabilities serve all of them.
    let dq = Storage(uninitialized: query.count), dk = Storage(zeros: key.count), dv = Storage(zeros: key.count)
    plan.backward(
      query.pointer, key.pointer, value.pointer, output.pointer, logSums.pointer, gradient.pointer, dq.pointer,
      dk.pointer, dv.pointer)
    inflow.add(0, Tensor(dq, query.shape))
    inflow.add(1, Tensor(dk, key.shape))
    inflow.add(2, Tensor(dv, key.shape))
  }
}

/// The same for the last `q.shape[0]` tokens of a text whose keys and values are all at hand; no gradient.
///
/// What generation needs: `keys` and `values` are `[tokens, kvHeads · size]`, each query sees the tokens up to its own.
public func attention(
  ofLast q: Tensor, _ keys: Tensor, _ values: Tensor, heads: Int, kvHeads: Int, window: Int?, scale: Float
) -> Tensor {
  let (count, total, size) = (q.shape[0], keys.shape[0], q.shape[1] / heads)
  let (width, kvWidth, group) = (heads * size, kvHeads * size, heads / kvHeads)
  return Tensor(shape: q.shape) { out in
    Parallel.forEach(heads) { head in
      let scratch = Storage(uninitialized: total)
      let (k, v) = (keys.pointer + head / group * size, values.pointer + head / group * size)
      for i in 0..<count {
        let last = total - count + i, first = window.map { max(0, last - $0 + 1) } ?? 0, seen = last - first + 1
        let (query, result) = (q.pointer + i * width + head * size, out + i * width + head * size)
        for j in 0..<seen { scratch.pointer[j] = scale * dot(query, k + (first + j) * kvWidth, size) }
        let sum = exponentials(scratch.pointer, shift: maximum(scratch.pointer, seen), scratch.pointer, seen)
        result.update(repeating: 0, count: size)
        for j in 0..<seen {
          let p = Float8(repeating: scratch.pointer[j] / sum)
          mapInPlace(size, v + (first + j) * kvWidth, UnsafePointer(result), result) { $1 + $0 * p }
        }
      }
    }
  }
}

/// The strips of one call. A task is one sequence and one key head, so no two tasks write to one place.
private struct AttentionPlan: Sendable {
  let heads: Int, kvHeads: Int, size: Int
  let pattern: AttentionPattern
  let scale: Float

  private static let stripRows = 64
  private var group: Int { heads / kvHeads }
  private var width: Int { heads * size }
  private var kvWidth: Int { kvHeads * size }

  /// Calls `body` for every strip of every query head: its head, its rows, and the keys any of them sees.
  private func forEachStrip(
    scratch buffers: Int,
    _ body: (_ head: Int, _ rows: Range<Int>, _ keys: Range<Int>, UnsafeMutablePointer<Float>) -> Void
  ) {
    let sequences = pattern.starts.count - 1
    // Long sequences first would balance better, but order does not change results and lengths are close in practice.
    Parallel.forEach(sequences * kvHeads) { task in
      let (sequence, kvHead) = (task / kvHeads, task % kvHeads)
      let (start, end) = (pattern.starts[sequence], pattern.starts[sequence + 1])
      guard end > start else { return }
      let scratch = Storage(uninitialized: buffers * Self.stripRows * (end - start) + Self.stripRows)
      for head in kvHead * group..<(kvHead + 1) * group {
        for first in stride(from: start, to: end, by: Self.stripRows) {
          let rows = first..<min(end, first + Self.stripRows)
          let last = pattern.isCausal ? rows.upperBound : end
          let earliest = pattern.window.map { max(start, first - $0 + 1) } ?? start
          body(head, rows, earliest..<last, scratch.pointer)
        }
      }
    }
  }

  /// The keys that row `row` sees, as positions within `keys`.
  private func visible(_ row: Int, _ keys: Range<Int>) -> Range<Int> {
    let upper = pattern.isCausal ? row + 1 : keys.upperBound
    let lower = pattern.window.map { max(keys.lowerBound, row - $0 + 1) } ?? keys.lowerBound
    return lower - keys.lowerBound..<upper - keys.lowerBound
  }

  func forward(
    _ q: UnsafePointer<Float>, _ k: UnsafePointer<Float>, _ v: UnsafePointer<Float>, _ out: UnsafeMutablePointer<Float>,
    _ logSums: UnsafeMutablePointer<Float>
  ) {
    forEachStrip(scratch: 1) { head, rows, keys, p in
      let (n, m) = (keys.count, rows.count), kvOffset = keys.lowerBound * kvWidth + head / group * size
      let qOffset = rows.lowerBound * width + head * size
      gemmTile(false, true, m, n, size, scale, q + qOffset, width, k + kvOffset, kvWidth, 0, p, n)
      for (i, row) in rows.enumerated() {
        let seen = visible(row, keys), line = p + i * n
        let shift = maximum(line + seen.lowerBound, seen.count)
        let sum = exponentials(line + seen.lowerBound, shift: shift, line + seen.lowerBound, seen.count)
        let inverse = Float8(repeating: 1 / sum)
        mapInPlace(seen.count, line + seen.lowerBound, line + seen.lowerBound) { $0 * inverse }
        clear(line, outside: seen, count: n)
        logSums[row * heads + head] = shift + log1(sum)
      }
      gemmTile(false, false, m, size, n, 1, p, n, v + kvOffset, kvWidth, 0, out + qOffset, width)
    }
  }

  func backward(
    _ q: UnsafePointer<Float>, _ k: UnsafePointer<Float>, _ v: UnsafePointer<Float>, _ out: UnsafePointer<Float>,
    _ logSums: UnsafePointer<Float>, _ gradient: UnsafePointer<Float>, _ dq: UnsafeMutablePointer<Float>,
    _ dk: UnsafeMutablePointer<Float>, _ dv: UnsafeMutablePointer<Float>
  ) {
    forEachStrip(scratch: 2) { head, rows, keys, scratch in
      let (n, m) = (keys.count, rows.count), kvOffset = keys.lowerBound * kvWidth + head / group * size
      let qOffset = rows.lowerBound * width + head * size
      let p = scratch, dp = scratch + m * n
      gemmTile(false, true, m, n, size, scale, q + qOffset, width, k + kvOffset, kvWidth, 0, p, n)
      for (i, row) in rows.enumerated() {
        let seen = visible(row, keys), line = p + i * n
        _ = exponentials(line + seen.lowerBound, shift: logSums[row * heads + head], line + seen.lowerBound, seen.count)
        clear(line, outside: seen, count: n)
      }
      gemmTile(true, false, n, size, m, 1, p, n, gradient + qOffset, width, 1, dv + kvOffset, kvWidth)
      gemmTile(false, true, m, n, size, 1, gradient + qOffset, width, v + kvOffset, kvWidth, 0, dp, n)
      for (i, row) in rows.enumerated() {
        // dS = P ⊙ (dP − ⟨dO, O⟩): the softmax's Jacobian, its inner product read off the output.
        let place = row * width + head * size
        let inner = Float8(repeating: dot(gradient + place, out + place, size)), factor = Float8(repeating: scale)
        mapInPlace(n, p + i * n, dp + i * n, dp + i * n) { p, d in p * (d - inner) * factor }
      }
      gemmTile(false, false, m, size, n, 1, dp, n, k + kvOffset, kvWidth, 0, dq + qOffset, width)
      gemmTile(true, false, n, size, m, 1, dp, n, q + qOffset, width, 1, dk + kvOffset, kvWidth)
    }
  }

  private func clear(_ line: UnsafeMutablePointer<Float>, outside seen: Range<Int>, count: Int) {
    line.update(repeating: 0, count: seen.lowerBound)
    (line + seen.upperBound).update(repeating: 0, count: count - seen.upperBound)
  }
}
