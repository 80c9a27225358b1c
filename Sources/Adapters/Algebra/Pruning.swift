import Autodiff

extension Tensor {
  /// The share `density` of the numbers that is largest in magnitude, and zeros; of equals, the first stay.
  ///
  /// ⌊density · count⌋ numbers stay, at least one. The product is taken as the decimal it was written as: 0.29 of 100
  /// are 29, where PEFT's floating point keeps 28.
  func keepingLargest(_ density: Double) -> Tensor {
    let kept = Self.kept(density, of: count)
    guard kept < count else { return detached }
    let values = values
    // The bits of non-negative floats are ordered as the floats are.
    let magnitudes = values.map { abs($0).bitPattern }
    let threshold = magnitudes.sorted()[count - kept]
    var left = kept - magnitudes.count { $0 > threshold }
    return Tensor(
      zip(values, magnitudes).map { value, magnitude in
        if magnitude > threshold { return value }
        guard magnitude == threshold, left > 0 else { return 0 }
        left -= 1
        return value
      }, shape: shape)
  }

  /// Each number with probability `density`, divided by it, else zero, so that the mean over draws is the tensor itself.
  func keepingRandom(_ density: Double, from random: RandomKey) -> Tensor {
    guard density < 1 else { return detached }
    var stream = random.generator
    let factor = Float(1 / density)
    return Tensor(values.map { stream.uniform() < density ? factor * $0 : 0 }, shape: shape)
  }

  static func kept(_ density: Double, of count: Int) -> Int {
    let exact = density * Double(count), nearest = exact.rounded()
    let whole = abs(exact - nearest) < 1e-9 * max(1, exact) ? nearest : exact.rounded(.down)
    return min(count, max(1, Int(whole)))
  }
}
