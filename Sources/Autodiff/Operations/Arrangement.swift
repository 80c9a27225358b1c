extension Tensor {
  /// The same numbers in the same order in another shape; nothing is copied.
  public func reshaped(_ target: Shape) -> Tensor {
    require(target.count == count, "\(shape) cannot be read as \(target)")
    let original = shape
    return Tensor(Tensor(storage, offset: offset, target, node: nil), of: [self]) { gradient, inflow in
      inflow.add(0, Tensor(gradient.storage, original))
    }
  }

  /// The axes in another order: axis `i` of the result is axis `order[i]` of this.
  public func transposed(_ order: [Int]) -> Tensor {
    require(order.sorted() == Array(0..<shape.rank), "\(order) is no order of the axes of \(shape)")
    let inverse = order.indices.map { axis in order.firstIndex(of: axis) ?? axis }
    return Tensor(permuted(order), of: [self]) { gradient, inflow in inflow.add(0, gradient.permuted(inverse)) }
  }

  /// A matrix, or a batch of them, with its last two axes exchanged.
  public var transposed: Tensor {
    require(shape.rank >= 2, "only a matrix can be transposed; this has shape \(shape)")
    return transposed(Array(0..<shape.rank - 2) + [shape.rank - 1, shape.rank - 2])
  }

  private func permuted(_ order: [Int]) -> Tensor {
    let lead = 4 - shape.rank
    var steps = [1, 1, 1, 1], sizes = [1, 1, 1, 1], strides = [0, 0, 0, 0]
    for axis in stride(from: shape.rank - 2, through: 0, by: -1) { steps[axis] = steps[axis + 1] * shape[axis + 1] }
    for (position, axis) in order.enumerated() {
      sizes[lead + position] = shape[axis]
      strides[lead + position] = steps[axis]
    }
    let source = pointer
    let (n1, n2, n3) = (sizes[1], sizes[2], sizes[3]),
      (s0, s1, s2, s3) = (strides[0], strides[1], strides[2], strides[3])
    return withExtendedLifetime(storage) {
      Tensor(shape: Shape(order.map { shape[$0] })) { place in
        Parallel.forRanges(sizes[0] * n1, grain: max(1, elementGrain / max(1, n2 * n3))) { range in
          for outer in range {
            var target = place + outer * n2 * n3
            let start = source + (outer / n1) * s0 + (outer % n1) * s1
            for k in 0..<n2 {
              let row = start + k * s2
              if s3 == 1 {
                target.update(from: row, count: n3)
              } else {
                for l in 0..<n3 { target[l] = row[l &* s3] }
              }
              target += n3
            }
          }
        }
      }
    }
  }

  /// Rows `range` along the first axis; nothing is copied.
  public func rows(_ range: Range<Int>) -> Tensor {
    require(range.lowerBound >= 0 && range.upperBound <= shape[0], "rows \(range) of a tensor of shape \(shape)")
    let width = shape[0] == 0 ? 0 : count / shape[0], original = shape
    let part = Tensor(
      storage, offset: offset + range.lowerBound * width, Shape([range.count] + shape.dimensions.dropFirst()), node: nil
    )
    return Tensor(part, of: [self]) { gradient, inflow in
      inflow.add(0) { place, accumulates in
        if !accumulates { place.update(repeating: 0, count: original.count) }
        let target = place + range.lowerBound * width
        mapInPlace(gradient.count, gradient.pointer, UnsafePointer(target), target) { $1 + $0 }
      }
    }
  }

  /// Columns `range` of the last axis.
  public func columns(_ range: Range<Int>) -> Tensor {
    let (rows, columns) = (shape.rows, shape.columns)
    require(range.lowerBound >= 0 && range.upperBound <= columns, "columns \(range) of a tensor of shape \(shape)")
    let source = pointer, width = range.count, start = range.lowerBound
    let part = withExtendedLifetime(storage) {
      Tensor(shape: shape.replacingLast(width)) { place in
        for row in 0..<rows { (place + row * width).update(from: source + row * columns + start, count: width) }
      }
    }
    return Tensor(part, of: [self]) { gradient, inflow in
      inflow.add(0) { place, accumulates in
        if !accumulates { place.update(repeating: 0, count: rows * columns) }
        for row in 0..<rows {
          let target = place + row * columns + start
          mapInPlace(width, gradient.pointer + row * width, UnsafePointer(target), target) { $1 + $0 }
        }
      }
    }
  }

  /// The tensors one after another along the first axis; the other sizes must agree.
  public static func concatenated(_ parts: [Tensor]) -> Tensor {
    require(!parts.isEmpty, "nothing to concatenate")
    let tail = parts[0].shape.dimensions.dropFirst()
    require(
      parts.allSatisfy { $0.shape.dimensions.dropFirst() == tail },
      "sizes behind the first must agree; got \(parts.map(\.shape))")
    var starts = [0]
    for part in parts { starts.append(starts[starts.count - 1] + part.count) }
    let offsets = starts
    let whole = Tensor(shape: Shape([parts.reduce(0) { $0 + $1.shape[0] }] + tail)) { place in
      for (part, start) in zip(parts, offsets) {
        part.withValues { values in
          if let base = values.baseAddress { (place + start).update(from: base, count: values.count) }
        }
      }
    }
    let counts = parts.map(\.count)
    return Tensor(whole, of: parts) { gradient, inflow in
      for (index, count) in counts.enumerated() {
        inflow.add(index) { place, accumulates in
          let source = gradient.pointer + offsets[index]
          if accumulates {
            addInPlace(source, to: place, count: count)
          } else {
            place.update(from: source, count: count)
          }
        }
      }
    }
  }

  /// The rows of a table `[entries, width]` that `indices` name; `[indices.count, width]`.
  public func gathered(_ indices: [Int32]) -> Tensor {
    let (entries, width) = (shape[0], shape.count / max(1, shape[0])), source = pointer
    require(indices.allSatisfy { $0 >= 0 && $0 < entries }, "an index lies outside the table of \(entries) rows")
    let found = withExtendedLifetime(storage) {
      Tensor(shape: Shape([indices.count] + shape.dimensions.dropFirst())) { place in
        for (i, index) in indices.enumerated() {
          (place + i * width).update(from: source + Int(index) * width, count: width)
        }
      }
    }
    return Tensor(found, of: [self]) { gradient, inflow in
      inflow.add(0) { place, accumulates in
        if !accumulates { place.update(repeating: 0, count: entries * width) }
        for (i, index) in indices.enumerated() {
          let target = place + Int(index) * width
          mapInPlace(width, gradient.pointer + i * width, UnsafePointer(target), target) { $1 + $0 }
        }
      }
    }
  }
}

/// The rows of a frozen table that `indices` name, `[indices.count, columns]`; only those rows are unpacked.
public func gathered(_ table: any FrozenMatrix, _ indices: [Int32]) -> Tensor {
  require(indices.allSatisfy { $0 >= 0 && $0 < table.rows }, "an index lies outside the table of \(table.rows) rows")
  return Tensor(shape: [indices.count, table.columns]) { place in
    Parallel.forRanges(indices.count, grain: 64) { range in
      for i in range {
        let row = Int(indices[i])
        table.unpack(rows: row..<row + 1, into: place + i * table.columns)
      }
    }
  }
}
