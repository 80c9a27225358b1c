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
    /// Whether values weigh by their magnitudes and errors count as they are; else the values' root mean square is added
    /// to their weights, and errors are squared.
    var isByMagnitude = false
  }

  /// Fits `width` values.
  ///
  /// `codes` receives the best codes; `scratch` holds `width` codes and `width` weights in between.
  ///
  /// - Returns: the scale, and the minimum taken positive (values are `scale × code − minimum`).
  @inline(__always)
  static func fit(
    _ values: UnsafePointer<Float>, _ width: Int, _ fit: Affine, codes: UnsafeMutablePointer<Float>,
    scratch: UnsafeMutablePointer<Float>
  ) -> (scale: Float, minimum: Float) {
    let trial = scratch
    let weights = scratch + width
    var squares: Float = 0
    for i in 0..<width { squares += values[i] * values[i] }
    let typical = fit.isByMagnitude ? 0 : (squares / Float(width)).squareRoot()
    var (minimum, maximum) = (values[0], values[0])
    var (sumW, sumX): (Float, Float) = (0, 0)
    for i in 0..<width {
      minimum = values[i] < minimum ? values[i] : minimum
      maximum = values[i] > maximum ? values[i] : maximum
      weights[i] = typical + abs(values[i])
      sumW += weights[i]
      sumX += weights[i] * values[i]
    }
    minimum = minimum > 0 ? 0 : minimum
    guard maximum > minimum else {
      for i in 0..<width { codes[i] = 0 }
      return (0, -minimum)
    }

    var inverse = fit.highest / (maximum - minimum)
    var scale = 1 / inverse
    var least: Float = 0
    for i in 0..<width { codes[i] = Float(nearest(inverse * (values[i] - minimum), 0, fit.highest)) }
    for i in 0..<width {
      let difference = scale * codes[i] + minimum - values[i]
      least += weights[i] * (fit.isByMagnitude ? abs(difference) : difference * difference)
    }
    for step in 0...fit.trials {
      // The minimum is the best found so far, so later trials start from it.
      inverse = (fit.firstStep + fit.stride * Float(step) + fit.highest) / (maximum - minimum)
      var (sumL, sumLL, sumXL): (Float, Float, Float) = (0, 0, 0)
      // The codes apart from the sums: they go four or eight at a time, the sums must go in order.
      for i in 0..<width { trial[i] = Float(nearest(inverse * (values[i] - minimum), 0, fit.highest)) }
      for i in 0..<width {
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
      for i in 0..<width {
        let difference = trialScale * trial[i] + trialMinimum - values[i]
        error += weights[i] * (fit.isByMagnitude ? abs(difference) : difference * difference)
      }
      if error < least {
        codes.update(from: trial, count: width)
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
    let extreme = mostExtreme(values, 16)
    guard abs(extreme) >= negligible else {
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

  /// The scale of sixteen values with codes -4…3, weighted by their squares.
  ///
  /// `codes` receives the codes plus 4. From codes with the value of largest magnitude at -4, each is moved in turn to
  /// where the others' scale puts it, as long as that lessens the error, at most five times over.
  static func fitThreeBits(_ values: UnsafePointer<Float>, codes: UnsafeMutablePointer<Float>) -> Float {
    let extreme = mostExtreme(values, 16)
    guard abs(extreme) >= negligible else {
      for i in 0..<16 { codes[i] = 0 }
      return 0
    }
    let inverse = -4 / extreme
    var (xl, ll): (Float, Float) = (0, 0)
    for i in 0..<16 {
      codes[i] = Float(nearest(inverse * values[i], -4, 3))
      let weight = values[i] * values[i]
      xl += weight * values[i] * codes[i]
      ll += weight * codes[i] * codes[i]
    }
    for _ in 0..<5 {
      var isSettled = true
      for i in 0..<16 {
        let weight = values[i] * values[i]
        var otherXL = xl - weight * values[i] * codes[i]
        guard otherXL > 0 else { continue }
        var otherLL = ll - weight * codes[i] * codes[i]
        let code = Float(nearest(values[i] * otherLL / otherXL, -4, 3))
        guard code != codes[i] else { continue }
        otherXL += weight * values[i] * code
        otherLL += weight * code * code
        if otherLL > 0, otherXL * otherXL * ll > xl * xl * otherLL {
          codes[i] = code
          (xl, ll) = (otherXL, otherLL)
          isSettled = false
        }
      }
      if isSettled { break }
    }
    for i in 0..<16 { codes[i] += 4 }
    return ll > 0 ? xl / ll : 0
  }

  /// Magnitudes below this are taken as zero in blocks fitted around it.
  static let negligible: Float = 1e-15
}
