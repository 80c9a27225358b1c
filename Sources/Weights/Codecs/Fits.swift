/// Least-squares choices of scale for the sub-blocks of the 256-value types.
enum Fits {
  /// Scale and minimum for values with codes 0…`highest`, by trying scales and refitting each by least squares.
  struct Affine {
    /// The largest code.
    var highest: Float
    /// Steps added to `highest` in the first trial, and from one trial to the next.
    var firstStep: Float, stride: Float
    /// Trials after the first estimate.
    var trials: Int
  }

  /// Fits 32 values, weighted by their root mean square plus their own magnitude.
  ///
  /// `codes` receives the best codes; `scratch` holds 32 codes and 32 weights in between.
  ///
  /// - Returns: the scale, and the minimum taken positive (values are `scale × code − minimum`).
  static func fit(
    _ values: UnsafePointer<Float>, _ fit: Affine, codes: UnsafeMutablePointer<Float>,
    scratch: UnsafeMutablePointer<Float>
  ) -> (scale: Float, minimum: Float) {
    let trial = scratch
    let weights = scratch + 32
    var squares: Float = 0
    for i in 0..<32 { squares += values[i] * values[i] }
    let typical = (squares / 32).squareRoot()
    var (minimum, maximum) = (values[0], values[0])
    var (sumW, sumX): (Float, Float) = (0, 0)
    for i in 0..<32 {
      minimum = values[i] < minimum ? values[i] : minimum
      maximum = values[i] > maximum ? values[i] : maximum
      weights[i] = typical + abs(values[i])
      sumW += weights[i]
      sumX += weights[i] * values[i]
    }
    minimum = minimum > 0 ? 0 : minimum
    guard maximum > minimum else {
      for i in 0..<32 { codes[i] = 0 }
      return (0, -minimum)
    }

    var inverse = fit.highest / (maximum - minimum)
    var scale = 1 / inverse
    var least: Float = 0
    for i in 0..<32 { codes[i] = Float(nearest(inverse * (values[i] - minimum), 0, fit.highest)) }
    for i in 0..<32 {
      let difference = scale * codes[i] + minimum - values[i]
      least += weights[i] * (difference * difference)
    }
    for step in 0...fit.trials {
      // The minimum is the best found so far, so later trials start from it.
      inverse = (fit.firstStep + fit.stride * Float(step) + fit.highest) / (maximum - minimum)
      var (sumL, sumLL, sumXL): (Float, Float, Float) = (0, 0, 0)
      // The codes apart from the sums: they go four or eight at a time, the sums must go in order.
      for i in 0..<32 { trial[i] = Float(nearest(inverse * (values[i] - minimum), 0, fit.highest)) }
      for i in 0..<32 {
        let weighted = weights[i] * trial[i]
        sumL += weighted
        sumLL += weighted * trial[i]
        sumXL += weighted * values[i]
      }
      let determinant = sumW * sumLL - sumL * sumL
      guard determinant > 0 else { continue }
      var trialScale = (sumW * sumXL - sumX * sumL) / determinant
      var trialMinimum = (sumLL * sumX - sumL * sumXL) / determinant
      if trialMinimum > 0 {
        trialMinimum = 0
        trialScale = sumXL / sumLL
      }
      var error: Float = 0
      for i in 0..<32 {
        let difference = trialScale * trial[i] + trialMinimum - values[i]
        error += weights[i] * (difference * difference)
      }
      if error < least {
        codes.update(from: trial, count: 32)
        least = error
        scale = trialScale
        minimum = trialMinimum
      }
    }
    return (scale, -minimum)
  }

  /// The scale of sixteen values with codes -32…31, weighted by their squares.
  ///
  /// `codes` receives the codes plus 32. The value of largest magnitude is tried at code -32 and about.
  static func fitSixBits(_ values: UnsafePointer<Float>, codes: UnsafeMutablePointer<Int32>) -> Float {
    var magnitude: Float = 0
    var extreme: Float = 0
    for i in 0..<16 where abs(values[i]) > magnitude {
      magnitude = abs(values[i])
      extreme = values[i]
    }
    guard magnitude >= negligible else {
      for i in 0..<16 { codes[i] = 0 }
      return 0
    }

    func sums(_ inverse: Float) -> (xl: Float, ll: Float) {
      var (xl, ll): (Float, Float) = (0, 0)
      for i in 0..<16 { codes[i] = nearest(inverse * values[i], -32, 31) }
      for i in 0..<16 {
        let code = Float(codes[i])
        let weight = values[i] * values[i]
        xl += weight * values[i] * code
        ll += weight * code * code
      }
      return (xl, ll)
    }

    var chosen = -32 / extreme
    var (xl, ll) = sums(chosen)
    var scale = ll != 0 ? xl / ll : 0
    var best = scale * xl
    for step in -9...9 where step != 0 {
      let inverse = -(32 + 0.1 * Float(step)) / extreme
      (xl, ll) = sums(inverse)
      if ll > 0, xl * xl > best * ll {
        chosen = inverse
        scale = xl / ll
        best = scale * xl
      }
    }
    for i in 0..<16 { codes[i] = nearest(chosen * values[i], -32, 31) + 32 }
    return scale
  }

  /// Magnitudes below this are taken as zero in six-bit blocks.
  static let negligible: Float = 1e-15
}
