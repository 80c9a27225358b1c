/// A dense, row-major array of `Float` that may remember how it was computed.
///
/// A tensor is an immutable value: copying shares storage, and no operation changes its operands. A tensor that depends
/// on nothing watched carries no history, so arithmetic on frozen values builds no graph.
public struct Tensor: Sendable {
  /// The sizes, outermost first.
  public let shape: Shape
  package let storage: Storage
  package let offset: Int
  let node: Node?

  init(_ storage: Storage, offset: Int = 0, _ shape: Shape, node: Node?) {
    (self.storage, self.offset, self.shape, self.node) = (storage, offset, shape, node)
  }

  /// The numbers of `storage`, read from its start in the given shape, with no history.
  package init(_ storage: Storage, _ shape: Shape) {
    require(storage.count >= shape.count, "\(storage.count) floats do not fill shape \(shape)")
    self.init(storage, shape, node: nil)
  }

  /// The given numbers in the given shape.
  public init(_ values: [Float], shape: Shape) {
    require(values.count == shape.count, "\(values.count) values do not fill shape \(shape)")
    let storage = Storage(uninitialized: values.count)
    values.withUnsafeBufferPointer { source in
      if let base = source.baseAddress { storage.pointer.update(from: base, count: source.count) }
    }
    self.init(storage, shape, node: nil)
  }

  /// A tensor whose numbers `fill` writes; every one of `shape.count` must be set.
  package init(shape: Shape, _ fill: (UnsafeMutablePointer<Float>) -> Void) {
    let storage = Storage(uninitialized: shape.count)
    fill(storage.pointer)
    self.init(storage, shape, node: nil)
  }

  /// A scalar.
  public init(_ value: Float) { self.init([value], shape: []) }

  /// All zeros.
  public static func zeros(_ shape: Shape) -> Tensor { Tensor(Storage(zeros: shape.count), shape, node: nil) }

  /// All equal to `value`.
  public static func filled(_ value: Float, _ shape: Shape) -> Tensor {
    Tensor(shape: shape) { $0.update(repeating: value, count: shape.count) }
  }

  /// The number of elements.
  public var count: Int { shape.count }

  package var pointer: UnsafePointer<Float> { UnsafePointer(storage.pointer + offset) }

  /// The numbers, row after row.
  public var values: [Float] { withValues { Array($0) } }

  /// The one number of a tensor that has one.
  public var scalar: Float {
    require(count == 1, "a scalar was asked of a tensor of shape \(shape)")
    return withExtendedLifetime(storage) { pointer[0] }
  }

  /// Calls `body` with the numbers, row after row, without copying them.
  public func withValues<R>(_ body: (UnsafeBufferPointer<Float>) throws -> R) rethrows -> R {
    try withExtendedLifetime(storage) { try body(UnsafeBufferPointer(start: pointer, count: count)) }
  }

  /// The same numbers with no history.
  public var detached: Tensor { Tensor(storage, offset: offset, shape, node: nil) }

  /// The same numbers as the start of a new history; ``gradients(of:at:)`` can be taken at it.
  public var watched: Tensor { Tensor(storage, offset: offset, shape, node: Node(leaf: shape)) }

  /// Whether gradients flow back through this tensor.
  public var hasHistory: Bool { node != nil }

  /// Whether these are the numbers of `other` in memory, not only equal ones.
  package func isSame(as other: Tensor) -> Bool {
    storage === other.storage && offset == other.offset && shape == other.shape
  }

  /// Whether every number is finite.
  public var isFinite: Bool {
    // A sum is finite unless a term is not, or finite terms overflow; only then is each looked at.
    withValues { values in
      let sum = values.reduce(into: Double(0)) { $0 += Double($1) }
      return sum.isFinite || values.allSatisfy(\.isFinite)
    }
  }
}

extension Tensor: Equatable {
  /// Whether shapes and numbers are equal, bit for bit except that NaN differs from itself; history does not count.
  public static func == (a: Tensor, b: Tensor) -> Bool {
    a.shape == b.shape && a.withValues { x in b.withValues { y in x.elementsEqual(y) } }
  }
}
