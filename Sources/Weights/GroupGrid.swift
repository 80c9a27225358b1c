import CKernels

/// The values a group's codes can stand for, with scale and zero as they are stored.
public struct GroupGrid: Sendable {
  /// The scale.
  public let scale: Float
  /// The zero code, or the offset; 0 in a symmetric layout of levels.
  public let zero: Float
  private let kind: GroupLayout.Zero
  private let lowest: Float, highest: Float
  private let divisor: Float
  private let levels: LevelOrder?

  /// The grid of this scale and zero in `layout`, both rounded to what it stores.
  public init(scale: Float, zero: Float, _ layout: GroupLayout) {
    var scale = layout.scale.rounded(scale)
    // A power of two is never 0 and needs not be.
    if abs(scale) < smallestScale && layout.scale != .power { scale = 0 }
    self.scale = scale
    switch layout.zero {
    case .symmetric: self.zero = Float(layout.centre)
    // Checkpoints have zeros one beyond the codes.
    case .code: self.zero = min(255, max(0, zero.rounded(.toNearestOrEven)))
    case .offset: self.zero = scale == 0 ? 0 : layout.scale.rounded(zero)
    }
    (kind, divisor) = (layout.zero, scale == 0 ? .infinity : scale)
    // Codes are added to the zero of the layouts that have one. Mantissas are as many below zero as above.
    highest = Float(layout.largestCode) - (kind == .offset ? 0 : self.zero)
    lowest = kind == .offset ? 0 : layout.isBlockFloat ? 1 - self.zero : -self.zero
    if case .levels(let levels) = layout.element { self.levels = levels.order } else { levels = nil }
  }

  /// The grid that reaches from `low` to `high`, and 0 in any case.
  public init(from low: Float, to high: Float, _ layout: GroupLayout) {
    let low = min(0, low), high = max(0, high), steps = Float(layout.largestCode)
    switch (layout.element, layout.zero) {
    case (.levels(let levels), _):
      let reach = max(-low, high)
      // Of powers of two the one that the format's own rule takes: the exponent of the largest less that of the top level.
      let scale =
        layout.scale == .power && reach > 0
        ? Float(sign: .plus, exponent: Int(reach.exponent) - Int(levels.order.largest.exponent), significand: 1)
        : reach / levels.order.largest
      self.init(scale: scale, zero: 0, layout)
    case (.integer, .symmetric) where layout.isBlockFloat:
      // The exponent of the largest, whose mantissa then fills its bits; what is beyond the last code is taken for it.
      let reach = max(-low, high), exponent = reach > 0 ? Int(reach.exponent) - (layout.bits - 2) : -127
      self.init(scale: Float(sign: .plus, exponent: exponent, significand: 1), zero: 0, layout)
    case (.integer(let bits), .symmetric):
      self.init(scale: max(-low, high) / Float(max(1, 1 << (bits - 1) - 1)), zero: 0, layout)
    case (.integer, .code):
      let scale = layout.scale.covering((high - low) / steps)
      self.init(scale: scale, zero: scale > 0 ? -low / scale : 0, layout)
    case (.integer, .offset):
      // What the offset's rounding moves, the scale makes good.
      let offset = layout.scale.rounded(low)
      self.init(scale: (high - offset) / steps, zero: offset, layout)
    }
  }

  /// The code of the value nearest to `value`.
  @inline(__always)
  public func code(_ value: Float) -> UInt8 {
    if let levels { return levels.code(value / divisor) }
    if kind == .offset { return UInt8(truncatingIfNeeded: nearest((value - zero) / divisor, lowest, highest)) }
    // Rounded before the zero is added, so that ties go to even steps from zero, as the reference codes have it.
    return UInt8(truncatingIfNeeded: nearest(value / divisor, lowest, highest) + Int32(zero))
  }

  /// What a code stands for.
  @inline(__always)
  public func value(_ code: UInt8) -> Float {
    if let levels { return scale * levels.table[Int(code)] }
    return kind == .offset ? scale * Float(code) + zero : scale * (Float(code) - zero)
  }

  /// The nearest value of the grid.
  @inline(__always)
  public func rounded(_ value: Float) -> Float { self.value(code(value)) }
}

/// How a group's range is chosen.
public enum GroupClip: Sendable, Equatable {
  /// From the least to the greatest value.
  case none
  /// Of so many ranges, each a hundredth narrower than the one before, that of the least squared error, each term times
  /// its column's weight where there are weights; of powers of two, one twice as wide too.
  case search(steps: Int)
}

extension GroupGrid {
  /// The grid of the values at `values`, `stride` apart.
  public init(
    fitting values: UnsafePointer<Float>, count: Int, stride: Int = 1, weights: UnsafePointer<Float>? = nil,
    clip: GroupClip, _ layout: GroupLayout
  ) {
    var (low, high): (Float, Float) = (0, 0)
    for i in 0..<count {
      let value = values[i * stride]
      low = value < low ? value : low
      high = value > high ? value : high
    }
    var best = GroupGrid(from: low, to: high, layout)
    guard case .search(let steps) = clip, high > low else {
      self = best
      return
    }
    func error(_ grid: GroupGrid) -> Float {
      var sum: Float = 0
      for i in 0..<count {
        let distance = grid.rounded(values[i * stride]) - values[i * stride]
        sum += (weights.map { $0[i] } ?? 1) * distance * distance
      }
      return sum
    }
    var least = error(best)
    // Where a scale is a power of two, the next one up cuts less off the largest.
    let parts = (layout.scale == .power ? [2] : []) + (1..<max(1, steps)).map { 1 - Float($0) / 100 }
    for part in parts {
      let grid = GroupGrid(from: part * low, to: part * high, layout), found = error(grid)
      if found < least { (best, least) = (grid, found) }
    }
    self = best
  }
}

/// Sixteen levels in rising order. One for each table is made and kept as long as the process runs, so that grids can
/// point to it without counting references.
struct LevelOrder: @unchecked Sendable {
  /// The levels by code.
  let table: UnsafePointer<Float>
  /// The largest.
  let largest: Float
  /// The codes in rising order of their levels, and above what a value belongs to the next one; fifteen, the last
  /// infinite where there are fewer levels.
  private let codes: UnsafePointer<UInt8>, bounds: UnsafePointer<Float>

  init(_ levels: GroupLayout.Levels, tiesToEven: Bool) {
    let table = levels.table
    // Of 0 and −0 only the first is used.
    let order = (0..<16).filter { $0 != 8 || table[8] != 0 }.sorted { (table[$0], $0) < (table[$1], $1) }
    self.table = table
    largest = table[order[order.count - 1]]
    codes = kept(order.map { UInt8($0) })
    let bounds = zip(order, order.dropFirst()).map { low, high in
      let middle = (table[low] + table[high]) / 2
      // A tie that rises is above the number just below the middle.
      return tiesToEven && high % 2 == 0 ? middle.nextDown : middle
    }
    self.bounds = kept(bounds + [Float](repeating: .infinity, count: 15 - bounds.count))
  }

  @inline(__always)
  func code(_ value: Float) -> UInt8 {
    var place = value > bounds[7] ? 8 : 0
    place += value > bounds[place + 3] ? 4 : 0
    place += value > bounds[place + 1] ? 2 : 0
    place += value > bounds[place] ? 1 : 0
    return codes[place]
  }
}

private func kept<T>(_ values: [T]) -> UnsafePointer<T> {
  let place = UnsafeMutablePointer<T>.allocate(capacity: values.count)
  place.initialize(from: values, count: values.count)
  return UnsafePointer(place)
}

extension GroupLayout.Levels {
  private static let normal = LevelOrder(.normalFloat, tiesToEven: false)
  private static let even = LevelOrder(.e1m2, tiesToEven: true)
  private static let float = LevelOrder(.e2m1, tiesToEven: true)
  private static let powers = LevelOrder(.e3m0, tiesToEven: true)
  private static let bnb = LevelOrder(.bitsandbytes, tiesToEven: false)

  var order: LevelOrder {
    switch self {
    case .normalFloat: Self.normal
    case .e1m2: Self.even
    case .e2m1: Self.float
    case .e3m0: Self.powers
    case .bitsandbytes: Self.bnb
    }
  }
}
