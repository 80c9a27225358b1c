import Glibc

/// Where random numbers come from: a seed and a path of names, so that every use has a stream of its own.
///
///     RandomKey(seed: 42)["dropout"][step]["layers.0.q_proj"]
///
/// A key is a value: the same key gives the same numbers whenever and on whatever thread it is asked, which is what
/// lets recomputation, resuming and any number of threads agree. Adding a use does not shift the others.
public struct RandomKey: Sendable, Equatable {
  /// The state that all numbers of this key derive from.
  public let bits: UInt64

  /// The root of all streams of a run.
  public init(seed: UInt64) { bits = Self.mix(seed &+ 0x9e37_79b9_7f4a_7c15) }
  private init(bits: UInt64) { self.bits = bits }

  /// The stream named `name` below this one.
  public subscript(_ name: String) -> RandomKey {
    // FNV-1a; `Hasher` is seeded anew in every process.
    let hash = name.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    return RandomKey(bits: Self.mix(bits ^ Self.mix(hash)))
  }

  /// The stream numbered `index` below this one.
  public subscript(_ index: Int) -> RandomKey {
    RandomKey(bits: Self.mix(bits &+ 0xd1b5_4a32_d192_ed03 &* (UInt64(bitPattern: Int64(index)) &+ 1)))
  }

  /// The number at `position` of this key's sequence.
  @inline(__always) package func word(_ position: Int) -> UInt64 {
    Self.mix(bits &+ 0x9e37_79b9_7f4a_7c15 &* (UInt64(bitPattern: Int64(position)) &+ 1))
  }

  /// SplitMix64's finaliser (Steele, Lea and Flood 2014), the same on every platform.
  @inline(__always) static func mix(_ value: UInt64) -> UInt64 {
    var z = value
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  /// A generator that runs through this key's numbers from the first.
  public var generator: RandomStream { RandomStream(key: self) }

  /// The numbers 0 to `count` − 1 in an order drawn from this key.
  public func permutation(_ count: Int) -> [Int] {
    var generator = generator
    return Array(0..<count).shuffled(using: &generator)
  }
}

/// A running generator over one ``RandomKey``; its state is the position reached.
public struct RandomStream: RandomNumberGenerator, Sendable {
  let key: RandomKey
  var position = 0

  init(key: RandomKey) { self.key = key }

  /// The next 64 random bits.
  public mutating func next() -> UInt64 {
    defer { position += 1 }
    return key.word(position)
  }

  /// A number drawn evenly from [0, 1), in steps of 2⁻⁵³.
  public mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }
}

extension Tensor {
  /// Numbers drawn evenly from [`lower`, `upper`).
  public static func uniform(_ shape: Shape, in range: Range<Float>, from key: RandomKey) -> Tensor {
    var random = key.generator
    return Tensor(shape: shape) { place in
      for i in 0..<shape.count {
        // One draw in 2²⁵ rounds up to the upper bound, which is not in the range.
        place[i] = min(
          range.lowerBound + (range.upperBound - range.lowerBound) * Float(random.uniform()), range.upperBound.nextDown)
      }
    }
  }

  /// Numbers drawn from a normal distribution around 0.
  public static func normal(_ shape: Shape, deviation: Float = 1, from key: RandomKey) -> Tensor {
    var random = key.generator
    return Tensor(shape: shape) { place in
      var i = 0
      while i < shape.count {
        // Box and Muller: two normal numbers from two uniform ones, in Double so that Float keeps no trace of libm.
        let radius = (-2 * log(1 - random.uniform())).squareRoot(), angle = 2 * Double.pi * random.uniform()
        place[i] = deviation * Float(radius * cos(angle))
        if i + 1 < shape.count { place[i + 1] = deviation * Float(radius * sin(angle)) }
        i += 2
      }
    }
  }

  /// Zero with probability `rate`, else 1 / (1 − rate).
  public static func dropoutMask(_ shape: Shape, rate: Float, from key: RandomKey) -> Tensor {
    let kept = 1 / (1 - rate), threshold = UInt32((Double(rate) * 0x1p32).rounded(.down))
    return Tensor(shape: shape) { place in
      // One 64-bit word decides two elements; any range can be drawn on its own.
      Parallel.forRanges((shape.count + 1) / 2, grain: 8192) { words in
        for index in words {
          let word = key.word(index), i = 2 * index
          place[i] = UInt32(truncatingIfNeeded: word) < threshold ? 0 : kept
          if i + 1 < shape.count { place[i + 1] = UInt32(truncatingIfNeeded: word >> 32) < threshold ? 0 : kept }
        }
      }
    }
  }
}
