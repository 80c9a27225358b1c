/// Element by element, with sizes of 1 repeated as NumPy does.
extension Tensor {
  /// The sum, with broadcasting.
  public static func + (a: Tensor, b: Tensor) -> Tensor {
    // Only the shapes are captured: a pullback that held `a` would keep its numbers and its history.
    Tensor(a.combined(b, "+") { $0 + $1 }, of: [a, b]) { [first = a.shape, second = b.shape] gradient, inflow in
      if inflow.wants(0) { inflow.add(0, gradient.summed(to: first)) }
      if inflow.wants(1) { inflow.add(1, gradient.summed(to: second)) }
    }
  }

  /// The difference, with broadcasting.
  public static func - (a: Tensor, b: Tensor) -> Tensor {
    Tensor(a.combined(b, "-") { $0 - $1 }, of: [a, b]) { [first = a.shape, second = b.shape] gradient, inflow in
      if inflow.wants(0) { inflow.add(0, gradient.summed(to: first)) }
      if inflow.wants(1) { inflow.add(1, (-1 * gradient).summed(to: second)) }
    }
  }

  /// The product, with broadcasting.
  public static func * (a: Tensor, b: Tensor) -> Tensor {
    let (x, y) = (a.detached, b.detached)
    return Tensor(a.combined(b, "*") { $0 * $1 }, of: [a, b]) { gradient, inflow in
      if inflow.wants(0) { inflow.add(0, (gradient * y).summed(to: x.shape)) }
      if inflow.wants(1) { inflow.add(1, (gradient * x).summed(to: y.shape)) }
    }
  }

  /// The quotient, with broadcasting.
  public static func / (a: Tensor, b: Tensor) -> Tensor {
    let (x, y) = (a.detached, b.detached)
    return Tensor(a.combined(b, "/") { $0 / $1 }, of: [a, b]) { gradient, inflow in
      if inflow.wants(0) { inflow.add(0, (gradient / y).summed(to: x.shape)) }
      if inflow.wants(1) { inflow.add(1, (-1 * (gradient * x / (y * y))).summed(to: y.shape)) }
    }
  }

  /// Every element times `factor`.
  public static func * (factor: Float, a: Tensor) -> Tensor {
    Tensor(a.mapped { $0 * Float8(repeating: factor) }, of: [a]) { gradient, inflow in
      inflow.add(0, factor * gradient)
    }
  }

  /// Every element with its sign turned.
  public static prefix func - (a: Tensor) -> Tensor { -1 * a }

  /// Every element plus `term`.
  public static func + (a: Tensor, term: Float) -> Tensor {
    Tensor(a.mapped { $0 + Float8(repeating: term) }, of: [a]) { gradient, inflow in inflow.add(0, gradient) }
  }

  /// `body` of every element, without history.
  @inline(__always) func mapped(_ body: (Float8) -> Float8) -> Tensor {
    let source = pointer, count = count
    return withExtendedLifetime(storage) {
      Tensor(shape: shape) { place in
        Parallel.forRanges(count, grain: elementGrain) { range in
          mapInPlace(range.count, source + range.lowerBound, place + range.lowerBound, body)
        }
      }
    }
  }

  /// `body` of every pair of elements of two tensors of one shape, without history.
  @inline(__always) func zipped(_ other: Tensor, _ body: (Float8, Float8) -> Float8) -> Tensor {
    let a = pointer, b = other.pointer, count = count
    return withExtendedLifetime((storage, other.storage)) {
      Tensor(shape: shape) { place in
        Parallel.forRanges(count, grain: elementGrain) { range in
          let o = range.lowerBound
          mapInPlace(range.count, a + o, b + o, place + o, body)
        }
      }
    }
  }

  @inline(__always)
  private func combined(_ other: Tensor, _ sign: String, _ body: (Float8, Float8) -> Float8) -> Tensor {
    if shape == other.shape { return zipped(other, body) }
    guard let shape = shape.broadcast(with: other.shape) else {
      fatalError("\(self.shape) \(sign) \(other.shape): sizes must be equal or 1, aligned at the last axis")
    }
    return repeated(to: shape).zipped(other.repeated(to: shape), body)
  }

  /// These numbers repeated along axes of size 1 to fill `target`, without history.
  func repeated(to target: Shape) -> Tensor {
    if shape == target { return detached }
    let from = Strides(of: shape, within: target), source = pointer
    return withExtendedLifetime(storage) {
      Tensor(shape: target) { place in
        from.forEach(in: target) { index, position in place[index] = source[position] }
      }
    }
  }

  /// These numbers added up along the axes that ``repeated(to:)`` had repeated from `target`, without history.
  func summed(to target: Shape) -> Tensor {
    if shape == target { return detached }
    let into = Strides(of: target, within: shape), source = pointer
    let storage = Storage(zeros: target.count)
    withExtendedLifetime(self.storage) {
      into.forEach(in: shape) { index, position in storage.pointer[position] += source[index] }
    }
    return Tensor(storage, target)
  }
}

/// How far apart neighbours along each of four axes lie in a tensor that repeats along its axes of size 1.
private struct Strides {
  var steps = SIMD4<Int>(repeating: 0)

  init(of shape: Shape, within target: Shape) {
    let lead = target.rank - shape.rank
    var step = 1
    for axis in stride(from: shape.rank - 1, through: 0, by: -1) {
      if shape[axis] != 1 { steps[axis + lead + 4 - target.rank] = step }
      step *= shape[axis]
    }
  }

  @inline(__always) func forEach(in target: Shape, _ body: (_ index: Int, _ position: Int) -> Void) {
    var sizes = SIMD4<Int>(repeating: 1)
    for axis in 0..<target.rank { sizes[axis + 4 - target.rank] = target[axis] }
    var index = 0
    for i in 0..<sizes[0] {
      for j in 0..<sizes[1] {
        for k in 0..<sizes[2] {
          var position = i * steps[0] + j * steps[1] + k * steps[2]
          for _ in 0..<sizes[3] {
            body(index, position)
            index &+= 1
            position &+= steps[3]
          }
        }
      }
    }
  }
}
