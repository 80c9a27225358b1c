import Glibc

/// Eight floats at a time: two SSE registers on the baseline the package is built for.
///
/// Products and sums are written `a * b + c`: without FMA flags, `addingProduct` would call a library function a lane.
package typealias Float8 = SIMD8<Float>

@inline(__always) package func load8(_ p: UnsafePointer<Float>) -> Float8 {
  UnsafeRawPointer(p).loadUnaligned(as: Float8.self)
}
@inline(__always) package func store8(_ p: UnsafeMutablePointer<Float>, _ v: Float8) {
  UnsafeMutableRawPointer(p).storeBytes(of: v, as: Float8.self)
}
@inline(__always) func larger(_ a: Float8, _ b: Float8) -> Float8 { a.replacing(with: b, where: a .< b) }
@inline(__always) func smaller(_ a: Float8, _ b: Float8) -> Float8 { a.replacing(with: b, where: b .< a) }

/// eˣ with a relative error below 8 × 10⁻⁸ for x in [−87, 88], clamped outside (Cephes' polynomial of degree 5).
@inline(__always) func exp(_ argument: Float8) -> Float8 {
  let x = larger(smaller(argument, Float8(repeating: 88)), Float8(repeating: -87))
  // Adding 1.5 × 2²³ rounds to an integer in the low mantissa bits, without a rounding instruction.
  let shifted = x * Float8(repeating: 1.442_695_04) + Float8(repeating: 12_582_912)
  let n = shifted - Float8(repeating: 12_582_912)
  let r = (x - n * Float8(repeating: 0.693_359_375)) + n * Float8(repeating: 2.121_944_40e-4)
  var p = Float8(repeating: 1.987_569_150e-4)
  p = p * r + Float8(repeating: 1.398_199_950_7e-3)
  p = p * r + Float8(repeating: 8.333_451_907_3e-3)
  p = p * r + Float8(repeating: 4.166_579_589_4e-2)
  p = p * r + Float8(repeating: 1.666_666_545_9e-1)
  p = p * r + Float8(repeating: 5.000_000_120_1e-1)
  let y = p * (r * r) + r + Float8(repeating: 1)
  let exponent = unsafeBitCast(shifted, to: SIMD8<Int32>.self) &<< 23
  return unsafeBitCast(unsafeBitCast(y, to: SIMD8<Int32>.self) &+ exponent, to: Float8.self)
}

/// The same function for one float, so that the ends of rows agree with their middles.
@inline(__always) func exp1(_ x: Float) -> Float { exp(Float8(repeating: x))[0] }

/// 1 / (1 + e⁻ˣ).
@inline(__always) func sigmoid(_ x: Float8) -> Float8 { Float8(repeating: 1) / (Float8(repeating: 1) + exp(-x)) }

/// Sets `result[i] = body(i)` for eight indices at a time; the last few go through a padded group, so that every
/// element is computed by the same instructions wherever it lies.
@inline(__always)
func mapInPlace(
  _ count: Int, _ a: UnsafePointer<Float>, _ result: UnsafeMutablePointer<Float>, _ body: (Float8) -> Float8
) {
  var i = 0
  while i + 8 <= count {
    store8(result + i, body(load8(a + i)))
    i &+= 8
  }
  if i < count {
    let last = body(loadPartial(a + i, count - i))
    for j in i..<count { result[j] = last[j - i] }
  }
}

@inline(__always)
func mapInPlace(
  _ count: Int, _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ result: UnsafeMutablePointer<Float>,
  _ body: (Float8, Float8) -> Float8
) {
  var i = 0
  while i + 8 <= count {
    store8(result + i, body(load8(a + i), load8(b + i)))
    i &+= 8
  }
  if i < count {
    let last = body(loadPartial(a + i, count - i), loadPartial(b + i, count - i))
    for j in i..<count { result[j] = last[j - i] }
  }
}

@inline(__always) func loadPartial(_ p: UnsafePointer<Float>, _ count: Int) -> Float8 {
  var v = Float8.zero
  for i in 0..<count { v[i] = p[i] }
  return v
}

func addInPlace(_ source: UnsafePointer<Float>, to place: UnsafeMutablePointer<Float>, count: Int) {
  Parallel.forRanges(count, grain: elementGrain) { range in
    let o = range.lowerBound
    mapInPlace(range.count, source + o, place + o, place + o) { $1 + $0 }
  }
}

/// Elements of a cheap kernel that are worth a tile of their own.
let elementGrain = 1 << 15

/// Σ aᵢ bᵢ in an order fixed by the count.
@inline(__always) package func dot(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int) -> Float {
  var s0 = Float8.zero, s1 = Float8.zero
  var i = 0
  while i + 16 <= count {
    s0 += load8(a + i) * load8(b + i)
    s1 += load8(a + i + 8) * load8(b + i + 8)
    i &+= 16
  }
  var sum = (s0 + s1).sum()
  while i < count {
    sum += a[i] * b[i]
    i &+= 1
  }
  return sum
}

/// The largest of `count` floats.
@inline(__always) func maximum(_ a: UnsafePointer<Float>, _ count: Int) -> Float {
  var best = Float8(repeating: -.infinity)
  var i = 0
  while i + 8 <= count {
    best = larger(best, load8(a + i))
    i &+= 8
  }
  var result = best.max()
  while i < count {
    result = Swift.max(result, a[i])
    i &+= 1
  }
  return result
}

/// Sets `result[i] = e^(a[i] − shift)` and returns the sum; `a` and `result` may be the same.
@inline(__always)
func exponentials(_ a: UnsafePointer<Float>, shift: Float, _ result: UnsafeMutablePointer<Float>, _ count: Int) -> Float
{
  let offset = Float8(repeating: shift)
  var total = Float8.zero
  var i = 0
  while i + 8 <= count {
    let e = exp(load8(a + i) - offset)
    store8(result + i, e)
    total += e
    i &+= 8
  }
  var sum = total.sum()
  while i < count {
    let e = exp1(a[i] - shift)
    result[i] = e
    sum += e
    i &+= 1
  }
  return sum
}
