/// The sizes of a tensor, outermost first; at most four of them.
///
/// Stored inline, so that making a tensor allocates nothing for its shape.
public struct Shape: Sendable, Equatable, ExpressibleByArrayLiteral, CustomStringConvertible {
  private var sizes: SIMD4<Int32>
  /// The number of dimensions; a scalar has none.
  public let rank: Int

  /// A shape with the given sizes.
  public init(_ sizes: [Int]) {
    require(sizes.count <= 4, "a tensor has at most 4 dimensions; got \(sizes)")
    var packed = SIMD4<Int32>(repeating: 1)
    for (axis, size) in sizes.enumerated() {
      require(size >= 0 && size <= Int32.max, "a size must lie in 0...\(Int32.max); got \(sizes)")
      packed[axis] = Int32(size)
    }
    (self.sizes, rank) = (packed, sizes.count)
  }

  /// A shape with the given sizes.
  public init(arrayLiteral elements: Int...) { self.init(elements) }

  /// The size along `axis`; negative axes count from the last.
  public subscript(_ axis: Int) -> Int {
    let position = axis < 0 ? axis + rank : axis
    require(position >= 0 && position < rank, "axis \(axis) of a tensor of shape \(self)")
    return Int(sizes[position])
  }

  /// The number of elements.
  public var count: Int { Int(sizes[0]) * Int(sizes[1]) * Int(sizes[2]) * Int(sizes[3]) }

  /// The sizes as an array.
  public var dimensions: [Int] { (0..<rank).map { Int(sizes[$0]) } }

  /// The number of rows when all but the last axis are taken together; 1 for a scalar.
  public var rows: Int { rank == 0 ? 1 : (self[-1] == 0 ? 0 : count / self[-1]) }

  /// The size of the last axis; 1 for a scalar.
  public var columns: Int { rank == 0 ? 1 : self[-1] }

  /// The shape of an operation on `self` and `other` that repeats sizes of 1, aligned at the last axis.
  ///
  /// Nil when two sizes differ and neither is 1.
  func broadcast(with other: Shape) -> Shape? {
    if self == other { return self }
    let rank = Swift.max(rank, other.rank)
    var result: [Int] = []
    for axis in 0..<rank {
      let mine = axis - (rank - self.rank) >= 0 ? self[axis - (rank - self.rank)] : 1
      let theirs = axis - (rank - other.rank) >= 0 ? other[axis - (rank - other.rank)] : 1
      guard mine == theirs || mine == 1 || theirs == 1 else { return nil }
      result.append(mine == 1 ? theirs : mine)
    }
    return Shape(result)
  }

  /// The sizes in brackets, as error messages print them.
  public var description: String { "[\(dimensions.map(String.init).joined(separator: ", "))]" }
}
