extension Tensor {
  /// The sum of all elements, a scalar.
  public var sum: Tensor {
    let total = withValues { values in
      // In Double and in order: the same bits for any number of threads.
      values.reduce(into: Double(0)) { $0 += Double($1) }
    }
    let shape = shape
    return Tensor(Tensor(Float(total)), of: [self]) { gradient, inflow in
      inflow.add(0, .filled(gradient.scalar, shape))
    }
  }

  /// The mean of all elements, a scalar.
  public var mean: Tensor { (1 / Float(max(1, count))) * sum }

  /// The sum along the last axis, which is dropped.
  public var rowSums: Tensor {
    let (rows, columns) = (shape.rows, shape.columns)
    let source = pointer
    let result = withExtendedLifetime(storage) {
      Tensor(shape: Shape(Array(shape.dimensions.dropLast()))) { place in
        for row in 0..<rows { place[row] = (0..<columns).reduce(0) { $0 + source[row * columns + $1] } }
      }
    }
    return Tensor(result, of: [self]) { gradient, inflow in
      inflow.add(0) { place, accumulates in
        for row in 0..<rows {
          for column in 0..<columns {
            let share = gradient.pointer[row]
            place[row * columns + column] = accumulates ? place[row * columns + column] + share : share
          }
        }
      }
    }
  }

  /// The mean along the last axis, which is dropped.
  public var rowMeans: Tensor { (1 / Float(max(1, shape.columns))) * rowSums }

  /// The position of the largest element of each row; the first of equals.
  public var rowArgmax: [Int] {
    let (rows, columns) = (shape.rows, shape.columns)
    return withValues { values in
      (0..<rows).map { row in
        var best = row * columns
        for i in row * columns..<(row + 1) * columns where values[i] > values[best] { best = i }
        return best - row * columns
      }
    }
  }
}
