import Synchronization

/// Carries a gradient from an operation's result back to its operands.
///
/// The tensor is the gradient that arrived at the result; shares are added through the ``Inflow``, operand by operand.
public typealias Pullback = @Sendable (_ gradient: Tensor, _ inflow: Inflow) -> Void

/// One recorded operation: its operands' nodes, and the pullback to them.
///
/// `order` grows with creation, so sorting by it is a topological order. The mutable parts are touched only by the one
/// backward pass that consumes the graph, and by `deinit`, when no one else can see the node.
final class Node: @unchecked Sendable {
  private(set) var inputs: [Node?]
  fileprivate var pullback: Pullback?
  /// Computes the result again from what the pullback keeps anyway; nil where that would cost more than keeping it.
  fileprivate var again: (@Sendable () -> Tensor)?
  /// What has arrived so far, in the shape of the result.
  fileprivate var gradient: Storage?
  let shape: Shape
  let order: UInt64
  let isLeaf: Bool

  private static let counter = Atomic<UInt64>(0)
  /// Nodes made after this call have a larger order.
  static func mark() -> UInt64 { counter.add(1, ordering: .relaxed).newValue }

  init(leaf shape: Shape) {
    (inputs, pullback, self.shape, isLeaf) = ([], nil, shape, true)
    order = Node.mark()
  }

  init(
    inputs: [Node?], shape: Shape, again: (@Sendable () -> Tensor)? = nil, pullback: @escaping Pullback
  ) {
    (self.inputs, self.pullback, self.shape, isLeaf) = (inputs, pullback, shape, false)
    self.again = again
    order = Node.mark()
  }

  // ARC would free a long chain by recursion and overflow the stack; unlink it in a loop instead.
  // `node` must be the only binding of the popped element, or it never counts as unique.
  deinit {
    var orphans = inputs.compactMap(\.self)
    inputs = []
    while !orphans.isEmpty {
      var node = orphans.removeLast()
      guard isKnownUniquelyReferenced(&node) else { continue }
      orphans.append(contentsOf: node.inputs.compactMap(\.self))
      node.inputs = []
    }
  }
}

/// Where a pullback puts the gradient's shares: one place an operand.
public struct Inflow {
  fileprivate let inputs: [Node?]

  /// Whether operand `index` has a history at all; work for one that has none is wasted.
  public func wants(_ index: Int) -> Bool { inputs[index] != nil }

  /// Adds a share for operand `index` that `body` writes or adds in place.
  ///
  /// `body` is given the place and whether it already holds a share: then it must add, otherwise it must set every
  /// element (as GEMM does with β = 1 or 0). Not called when the operand wants none.
  package func add(_ index: Int, _ body: (UnsafeMutablePointer<Float>, _ accumulates: Bool) -> Void) {
    guard let node = inputs[index] else { return }
    if node.gradient == nil {
      let storage = Storage(uninitialized: node.shape.count)
      body(storage.pointer, false)
      node.gradient = storage
    } else if isKnownUniquelyReferenced(&node.gradient), let storage = node.gradient {
      body(storage.pointer, true)
    } else if let shared = node.gradient {
      // Another node holds the same share (both sides of an addition receive one): leave theirs alone.
      let storage = Storage(uninitialized: node.shape.count)
      storage.pointer.update(from: shared.pointer, count: node.shape.count)
      body(storage.pointer, true)
      node.gradient = storage
    }
  }

  /// Adds `share`, which has the shape of operand `index`.
  public func add(_ index: Int, _ share: Tensor) {
    guard let node = inputs[index] else { return }
    require(share.count == node.shape.count, "a gradient of shape \(share.shape) for an operand of shape \(node.shape)")
    if node.gradient == nil, share.offset == 0 {
      node.gradient = share.storage
      return
    }
    add(index) { place, accumulates in
      if accumulates {
        addInPlace(share.pointer, to: place, count: share.count)
      } else {
        place.update(from: share.pointer, count: share.count)
      }
    }
  }
}

extension Tensor {
  /// Records the result of an operation; keeps no history when no operand has any.
  ///
  /// `pullback` is dropped, with all it holds, as soon as it has run. An operation that is cheap beside a matrix product
  /// can say how to compute its result `again` from what its pullback keeps; then those who need it on the way back,
  /// see ``kept``, need not hold it.
  public init(
    _ result: Tensor, of operands: [Tensor], again: (@Sendable () -> Tensor)? = nil, pullback: @escaping Pullback
  ) {
    let inputs = operands.map(\.node)
    let node =
      inputs.contains { $0 != nil }
      ? Node(inputs: inputs, shape: result.shape, again: again, pullback: pullback) : nil
    self.init(result.storage, offset: result.offset, result.shape, node: node)
  }

  /// What a pullback should hold of an operand: its numbers, or the way to have them again.
  ///
  /// The feed-forward block's products and every norm's output are had again: at 30 layers of 576 channels that is a
  /// quarter of what a training step would keep.
  public var kept: Kept { node?.again.map(Kept.again) ?? .numbers(detached) }
}

/// An operand as a pullback holds it; call it for the numbers.
public enum Kept: Sendable {
  /// Its numbers.
  case numbers(Tensor)
  /// The way to have them again.
  case again(@Sendable () -> Tensor)

  /// The numbers, with no history, bit for bit as they were.
  public func callAsFunction() -> Tensor {
    switch self {
    case .numbers(let numbers): numbers
    case .again(let compute): compute()
    }
  }
}

/// The gradients of a scalar `loss` at each of `points`, zero where the loss does not depend on one.
///
/// Consumes the history of `loss`: each activation is released the moment its pullback has run, so a second call on the
/// same history stops the program. `points` are tensors made by ``Tensor/watched``.
public func gradients(of loss: Tensor, at points: [Tensor]) -> [Tensor] {
  require(loss.count == 1, "a gradient needs a scalar loss; this one has shape \(loss.shape)")
  require(points.allSatisfy { $0.node?.isLeaf ?? true }, "a gradient was asked at a tensor that is not watched itself")
  var leaves: [Node] = []
  if let root = loss.node {
    root.gradient = Tensor([1], shape: loss.shape).storage
    leaves = carryBack(from: root, newerThan: 0)
  }
  // What arrived at watched tensors not among `points` must not leak into the next loss that depends on them.
  defer { for leaf in leaves { leaf.gradient = nil } }
  return points.map { point in
    guard let storage = point.node?.gradient else { return .zeros(point.shape) }
    return Tensor(storage, point.shape)
  }
}

/// Runs the pullbacks of `root` and of every node below it that is newer than `mark`, newest first; returns the leaves.
@discardableResult
private func carryBack(from root: Node, newerThan mark: UInt64) -> [Node] {
  let nodes = history(of: root, newerThan: mark)
  for node in nodes where !node.isLeaf {
    node.again = nil
    guard let storage = node.gradient else {
      node.pullback = nil
      continue
    }
    guard let pullback = node.pullback else { fatalError("this history has already been used for a gradient") }
    node.pullback = nil
    node.gradient = nil
    pullback(Tensor(storage, node.shape), Inflow(inputs: node.inputs))
  }
  return nodes.filter(\.isLeaf)
}

/// Every node `root` depends on that is newer than `mark`, each before its inputs.
private func history(of root: Node, newerThan mark: UInt64) -> [Node] {
  guard root.order > mark else { return [] }
  var seen: Set<ObjectIdentifier> = [ObjectIdentifier(root)]
  var found = [root]
  var next = 0
  while next < found.count {
    for case let input? in found[next].inputs
    where input.order > mark && seen.insert(ObjectIdentifier(input)).inserted {
      found.append(input)
    }
    next += 1
  }
  return found.sorted { $0.order > $1.order }
}

/// Computes `body(inputs)` and forgets what it computed on the way; the backward pass computes it again.
///
/// Trades one more forward pass through `body` for its activations. `body` must give the same result when called twice:
/// its random numbers must come from keys, not from a running generator. Whatever else it reads that is watched, such
/// as an adapter's parameters, receives its gradient as usual.
public func checkpointed(_ inputs: [Tensor], _ body: @escaping @Sendable ([Tensor]) -> Tensor) -> Tensor {
  let mark = Node.mark()
  let leaves = inputs.map { $0.hasHistory ? $0.watched : $0 }
  let result = body(leaves)
  guard let root = result.node else { return result }
  // Everything older than `mark` that the result was computed from, besides the inputs.
  let outside = olderOperands(of: root, mark: mark)
  let operands = inputs.map(\.node) + outside
  let held = inputs.map(\.detached), wanted = inputs.map(\.hasHistory)
  let node = Node(inputs: operands, shape: result.shape) { gradient, inflow in
    let mark = Node.mark()
    let leaves = zip(held, wanted).map { $1 ? $0.watched : $0 }
    guard let again = body(leaves).node else { return }
    // What has arrived at an input so far goes on accumulating at its stand-in: added up in the same order as without
    // a checkpoint, the bits agree.
    for (leaf, input) in zip(leaves, inflow.inputs) {
      leaf.node?.gradient = input?.gradient
      input?.gradient = nil
    }
    again.gradient = gradient.storage
    carryBack(from: again, newerThan: mark)
    for (index, leaf) in leaves.enumerated() {
      guard let arrived = leaf.node?.gradient else { continue }
      inflow.add(index, Tensor(arrived, leaf.shape))
    }
  }
  return Tensor(result.storage, offset: result.offset, result.shape, node: node)
}

private func olderOperands(of root: Node, mark: UInt64) -> [Node?] {
  var seen: Set<ObjectIdentifier> = [], older: [Node?] = []
  for node in history(of: root, newerThan: mark) {
    for case let input? in node.inputs where input.order <= mark && seen.insert(ObjectIdentifier(input)).inserted {
      older.append(input)
    }
  }
  return older
}
