/// The mean and the variance of each channel, `[channels]`; the variance divides by the count, not the count less one.
public struct ChannelMoments: Sendable {
  /// The mean of each channel.
  public var mean: Tensor
  /// The mean squared distance from it.
  public var variance: Tensor

  /// Moments gathered elsewhere, such as a checkpoint's running ones.
  public init(mean: Tensor, variance: Tensor) { (self.mean, self.variance) = (mean, variance) }
}

/// (x − mean) / √(variance + ε) ⊙ w + b, each channel by the moments of this batch (Ioffe and Szegedy 2015).
///
/// `x` is `[images, channels, …]`, `weight` and `bias` `[channels]`. Returns the moments as well, for a running average;
/// PyTorch multiplies the variance by count / (count − 1) before averaging. Keeps `x` and two floats a channel.
public func batchNorm(
  _ x: Tensor, weight: Tensor, bias: Tensor, epsilon: Float
) -> (result: Tensor, moments: ChannelMoments) {
  let channels = Channels(x.shape, weight, bias), input = x.detached, w = weight.detached
  let moments = channels.moments(of: input), inverse = channels.inverseDeviations(moments, epsilon)
  let mean = moments.mean
  let y = channels.normalised(input, mean, inverse, w, bias.detached)
  let result = Tensor(y, of: [x, weight, bias]) { gradient, inflow in
    let (sums, products) = channels.sums(of: gradient, along: input, mean, inverse)
    inflow.add(0) { place, accumulates in
      // dx = w r (g − mean g − x̂ mean(g x̂))
      let count = Float(max(1, channels.images * channels.plane))
      channels.forEachPlane { channel, start in
        let r = inverse.pointer[channel], m = Float8(repeating: mean.pointer[channel])
        let factor = Float8(repeating: w.pointer[channel] * r)
        let shift = Float8(repeating: sums.pointer[channel] / count)
        let slope = Float8(repeating: products.pointer[channel] * r / count)
        mapInPlace(
          channels.plane, gradient.pointer + start, input.pointer + start, place + start, accumulates: accumulates
        ) { g, x in factor * (g - shift - (x - m) * slope) }
      }
    }
    inflow.add(1, products)
    inflow.add(2, sums)
  }
  return (result, moments)
}

/// The same by given moments, which are constants: what a trained network does, and a frozen one while others train.
///
/// Keeps `x` only if `weight` learns.
public func batchNorm(_ x: Tensor, weight: Tensor, bias: Tensor, moments: ChannelMoments, epsilon: Float) -> Tensor {
  let channels = Channels(x.shape, weight, bias), w = weight.detached
  require(
    moments.mean.count == channels.channels && moments.variance.count == channels.channels,
    "moments of \(moments.mean.count) and \(moments.variance.count) channels for a tensor of shape \(x.shape)")
  let mean = moments.mean.detached, inverse = channels.inverseDeviations(moments, epsilon)
  let y = channels.normalised(x.detached, mean, inverse, w, bias.detached)
  let input = weight.hasHistory ? x.detached : nil
  return Tensor(y, of: [x, weight, bias]) { gradient, inflow in
    inflow.add(0) { place, accumulates in
      channels.forEachPlane { channel, start in
        let factor = Float8(repeating: w.pointer[channel] * inverse.pointer[channel])
        let source = gradient.pointer + start
        mapInPlace(channels.plane, source, source, place + start, accumulates: accumulates) { g, _ in g * factor }
      }
    }
    if let input {
      let (sums, products) = channels.sums(of: gradient, along: input, mean, inverse)
      inflow.add(1, products)
      inflow.add(2, sums)
    } else {
      inflow.addChannelSums(2, of: gradient)
    }
  }
}

/// How the channels of `[images, channels, …]` lie in memory, and the loops over them.
private struct Channels: Sendable {
  let images: Int, channels: Int, plane: Int
  let shape: Shape

  init(_ shape: Shape, _ weight: Tensor, _ bias: Tensor) {
    require(
      shape.rank >= 2 && weight.count == shape[1] && bias.count == shape[1],
      "a batch norm of \(weight.count) weights on a tensor of shape \(shape)")
    (images, channels, self.shape) = (shape[0], shape[1], shape)
    plane = shape.count / max(1, shape[0] * shape[1])
  }

  /// Calls `body` for every image's plane of every channel with where it starts.
  func forEachPlane(_ body: (_ channel: Int, _ start: Int) -> Void) {
    Parallel.forRanges(images * channels, grain: max(1, elementGrain / max(1, plane))) { range in
      for row in range { body(row % channels, row * plane) }
    }
  }

  /// Calls `body` for every channel, several of them at a time.
  private func forEachChannel(_ body: (Int) -> Void) {
    Parallel.forRanges(channels, grain: max(1, elementGrain / max(1, images * plane))) {
      for channel in $0 { body(channel) }
    }
  }

  func moments(of x: Tensor) -> ChannelMoments {
    let mean = Storage(uninitialized: channels), variance = Storage(uninitialized: channels)
    let count = Double(max(1, images * plane))
    forEachChannel { channel in
      var sum = 0.0
      for image in 0..<images { sum += Double(total(x.pointer + (image * channels + channel) * plane, plane)) }
      let center = Float(sum / count)
      var squares = 0.0
      for image in 0..<images {
        squares += Double(squaredDistance(x.pointer + (image * channels + channel) * plane, plane, center))
      }
      (mean.pointer[channel], variance.pointer[channel]) = (center, Float(squares / count))
    }
    return ChannelMoments(mean: Tensor(mean, [channels]), variance: Tensor(variance, [channels]))
  }

  func inverseDeviations(_ moments: ChannelMoments, _ epsilon: Float) -> Tensor {
    moments.variance.mapped { Float8(repeating: 1) / ($0 + Float8(repeating: epsilon)).squareRoot() }
  }

  func normalised(_ x: Tensor, _ mean: Tensor, _ inverse: Tensor, _ weight: Tensor, _ bias: Tensor) -> Tensor {
    Tensor(shape: shape) { place in
      forEachPlane { channel, start in
        let m = Float8(repeating: mean.pointer[channel]), b = Float8(repeating: bias.pointer[channel])
        let factor = Float8(repeating: inverse.pointer[channel] * weight.pointer[channel])
        mapInPlace(plane, x.pointer + start, place + start) { ($0 - m) * factor + b }
      }
    }
  }

  /// Σ g and Σ g x̂ of each channel: the gradients of the bias and of the weight.
  func sums(of g: Tensor, along x: Tensor, _ mean: Tensor, _ inverse: Tensor) -> (sums: Tensor, products: Tensor) {
    let sums = Storage(uninitialized: channels), products = Storage(uninitialized: channels)
    forEachChannel { channel in
      var sum = 0.0, product = 0.0
      for image in 0..<images {
        let start = (image * channels + channel) * plane
        sum += Double(total(g.pointer + start, plane))
        product += Double(centeredDot(g.pointer + start, x.pointer + start, plane, mean.pointer[channel]))
      }
      sums.pointer[channel] = Float(sum)
      products.pointer[channel] = Float(product * Double(inverse.pointer[channel]))
    }
    return (Tensor(sums, [channels]), Tensor(products, [channels]))
  }
}

/// Σ (xᵢ − center)².
private func squaredDistance(_ x: UnsafePointer<Float>, _ count: Int, _ center: Float) -> Float {
  var sum = Float8.zero, i = 0
  while i + 8 <= count {
    let d = load8(x + i) - Float8(repeating: center)
    sum += d * d
    i &+= 8
  }
  var tail: Float = 0
  for j in i..<count { tail += (x[j] - center) * (x[j] - center) }
  return sum.sum() + tail
}

/// Σ gᵢ (xᵢ − center).
private func centeredDot(_ g: UnsafePointer<Float>, _ x: UnsafePointer<Float>, _ count: Int, _ center: Float) -> Float {
  var sum = Float8.zero, i = 0
  while i + 8 <= count {
    sum += load8(g + i) * (load8(x + i) - Float8(repeating: center))
    i &+= 8
  }
  var tail: Float = 0
  for j in i..<count { tail += g[j] * (x[j] - center) }
  return sum.sum() + tail
}
