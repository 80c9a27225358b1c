import Glibc

/// Cosines and sines of the angles by which rotary embedding turns each pair of channels at each position.
///
/// Angles are computed in Double, so that far positions keep their phase.
public struct RotaryTable: Sendable {
  let cosines: Tensor  // [positions, pairs]
  let sines: Tensor
  /// The number of channels that are turned; a head's remaining ones pass unchanged.
  public let width: Int
  /// The positions the table covers.
  public let positions: Range<Int>

  /// A table for `positions` with one frequency (radians a position) a pair.
  public init(frequencies: [Double], positions: Range<Int>) {
    let pairs = frequencies.count
    func table(_ function: (Double) -> Double) -> Tensor {
      Tensor(shape: [positions.count, pairs]) { place in
        for (row, position) in positions.enumerated() {
          for (pair, frequency) in frequencies.enumerated() {
            place[row * pairs + pair] = Float(function(Double(position) * frequency))
          }
        }
      }
    }
    (cosines, sines, width, self.positions) = (table(Glibc.cos), table(Glibc.sin), 2 * pairs, positions)
  }
}

/// Turns each head's channels i and i + width/2 of `x` `[tokens, heads · headSize]` by its token's angles (Su et al. 2021, in the
/// order Hugging Face checkpoints use). Keeps nothing of `x`: the gradient is turned back by the same angles.
public func rotary(_ x: Tensor, _ table: RotaryTable, positions: [Int32], headSize: Int) -> Tensor {
  require(x.shape[0] == positions.count, "\(positions.count) positions for a tensor of shape \(x.shape)")
  require(
    headSize >= table.width && x.shape[1] % headSize == 0,
    "heads of \(headSize) channels, \(table.width) of them turned, in a tensor of shape \(x.shape)")
  require(
    positions.allSatisfy { table.positions.contains(Int($0)) },
    "a position lies outside the table of \(table.positions)")
  let turned = turn(x, table, positions, headSize, sign: 1)
  return Tensor(turned, of: [x]) { gradient, inflow in
    inflow.add(0, turn(gradient, table, positions, headSize, sign: -1))
  }
}

private func turn(_ x: Tensor, _ table: RotaryTable, _ positions: [Int32], _ headSize: Int, sign: Float) -> Tensor {
  let (tokens, width) = (x.shape[0], x.shape[1]), pairs = table.width / 2
  let source = x.pointer
  return withExtendedLifetime(x.storage) {
    Tensor(shape: x.shape) { place in
      Parallel.forRanges(tokens, grain: 32) { range in
        for token in range {
          let row = (Int(positions[token]) - table.positions.lowerBound) * pairs
          let (cosine, sine) = (table.cosines.pointer + row, table.sines.pointer + row)
          for head in stride(from: token * width, to: (token + 1) * width, by: headSize) {
            let (low, high) = (source + head, source + head + pairs)
            let direction = Float8(repeating: sign)
            mapInPlace(pairs, low, high, cosine, sine, place + head) { a, b, c, s in a * c - b * s * direction }
            mapInPlace(pairs, low, high, cosine, sine, place + head + pairs) { a, b, c, s in b * c + a * s * direction }
            if 2 * pairs < headSize {
              (place + head + 2 * pairs).update(from: low + 2 * pairs, count: headSize - 2 * pairs)
            }
          }
        }
      }
    }
  }
}

@inline(__always)
private func mapInPlace(
  _ count: Int, _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ c: UnsafePointer<Float>,
  _ d: UnsafePointer<Float>, _ result: UnsafeMutablePointer<Float>, _ body: (Float8, Float8, Float8, Float8) -> Float8
) {
  var i = 0
  while i + 8 <= count {
    store8(result + i, body(load8(a + i), load8(b + i), load8(c + i), load8(d + i)))
    i &+= 8
  }
  if i < count {
    let n = count - i
    let v = body(loadPartial(a + i, n), loadPartial(b + i, n), loadPartial(c + i, n), loadPartial(d + i, n))
    for j in 0..<n { result[i + j] = v[j] }
  }
}
