import Autodiff
import Weights

/// Numbers a model computes with directly, such as a norm's weights, an adapter's factors or a bias.
///
/// Only trainable parameters are ever touched by an optimiser.
public struct Parameter: Sendable {
  /// The numbers now.
  public var value: Tensor
  /// Whether training changes them.
  public var isTrainable: Bool
  /// What they are in their family's equation; an optimiser may treat roles differently.
  public let role: Role

  /// A parameter with the given numbers.
  public init(_ value: Tensor, role: Role = .weight, isTrainable: Bool = true) {
    (self.value, self.role, self.isTrainable) = (value, role, isTrainable)
  }

  /// A parameter as a checkpoint holds it.
  public static func frozen(_ value: Tensor) -> Parameter { Parameter(value, isTrainable: false) }
}

/// What a parameter is in the equation it belongs to, whatever its name in a file.
public enum Role: String, Sendable, CaseIterable {
  /// A matrix or table of the model itself.
  case weight
  /// The factor of a low-rank change that reads the input.
  case factorA = "factor_a"
  /// The factor that writes the output.
  case factorB = "factor_b"
  /// A factor on each output, as DoRA has.
  case magnitude
  /// Logits that mix skills.
  case router
  /// Filters behind a convolution.
  case filter
  /// A norm's weights.
  case norm
  /// Something added to each output.
  case bias
  /// A task's own output layer.
  case head

  /// Whether weight decay pulls it to zero: not where zero is a choice, as for a router's logits.
  public var decays: Bool { self != .router }
}

/// One of the parameters that training changes.
public struct TrainableParameter: Sendable {
  /// Its name in the model.
  public let name: String
  /// What it is.
  public let role: Role
  /// The numbers now.
  public let value: Tensor

  /// A parameter of that name.
  public init(name: String, role: Role = .weight, value: Tensor) {
    (self.name, self.role, self.value) = (name, role, value)
  }
}

/// A piece of a model, which can name everything inside it.
public protocol Module: Sendable {
  /// Presents each parameter, adaptable layer and child module under its checkpoint name.
  mutating func visit(_ visitor: Visitor)
}

/// Walks a model, joining names with dots: `model.layers.0.self_attn.q_proj.lora_A.weight`.
public struct Visitor {
  var path = ""
  var onParameter: (String, inout Parameter) -> Void = { _, _ in }
  var onLinear: (String, inout AdaptedLinear) -> Void = { _, _ in }
  var onEmbedding: (String, inout AdaptedEmbedding) -> Void = { _, _ in }
  var onConvolution: (String, inout AdaptedConvolution) -> Void = { _, _ in }
  var onBlock: (String, inout AdaptedBlock) -> Void = { _, _ in }
  var onBatchNorm: (String, inout BatchNorm) -> Void = { _, _ in }

  /// Presents a parameter.
  public func callAsFunction(_ name: String, _ parameter: inout Parameter) { onParameter(join(name), &parameter) }

  /// Presents a parameter that not every instance has.
  public func callAsFunction(_ name: String, _ parameter: inout Parameter?) {
    guard var present = parameter else { return }
    onParameter(join(name), &present)
    parameter = present
  }

  /// Presents a child module.
  public func callAsFunction(_ name: String, _ module: inout some Module) { module.visit(entering(name)) }

  /// Presents the children of a list under their indices.
  public func callAsFunction(_ name: String, _ modules: inout [some Module]) {
    let inner = entering(name)
    for index in modules.indices { modules[index].visit(inner.entering(String(index))) }
  }

  /// Presents a linear layer and what is grafted onto it.
  public func callAsFunction(_ name: String, _ linear: inout AdaptedLinear) {
    onLinear(join(name), &linear)
    linear.visit(entering(name))
  }

  /// Presents a linear layer that not every instance has.
  public func callAsFunction(_ name: String, _ linear: inout AdaptedLinear?) {
    guard var present = linear else { return }
    self(name, &present)
    linear = present
  }

  /// Presents an embedding and what is grafted onto it.
  public func callAsFunction(_ name: String, _ embedding: inout AdaptedEmbedding) {
    onEmbedding(join(name), &embedding)
    embedding.visit(entering(name))
  }

  /// Presents a convolution and what is grafted onto it.
  public func callAsFunction(_ name: String, _ convolution: inout AdaptedConvolution) {
    onConvolution(join(name), &convolution)
    convolution.visit(entering(name))
  }

  /// Presents the place around a residual branch and what is grafted there; the branch's own parts are presented by
  /// themselves.
  public func callAsFunction(_ name: String, _ block: inout AdaptedBlock) {
    onBlock(join(name), &block)
    block.visit(entering(name))
  }

  /// Presents a batch norm, its running moments and its weights.
  public func callAsFunction(_ name: String, _ norm: inout BatchNorm) {
    onBatchNorm(join(name), &norm)
    norm.visit(entering(name))
  }

  private func entering(_ name: String) -> Visitor {
    var inner = self
    inner.path = join(name)
    return inner
  }

  private func join(_ name: String) -> String { path.isEmpty ? name : "\(path).\(name)" }
}

extension Module {
  /// Calls `body` with every parameter, frozen ones included.
  public mutating func forEachParameter(_ body: (String, inout Parameter) -> Void) {
    withoutActuallyEscaping(body) { visit(Visitor(onParameter: $0)) }
  }

  /// Calls `body` with every adaptable linear layer.
  public mutating func forEachLinear(_ body: (String, inout AdaptedLinear) -> Void) {
    withoutActuallyEscaping(body) { visit(Visitor(onLinear: $0)) }
  }

  /// Calls `body` with every embedding table.
  public mutating func forEachEmbedding(_ body: (String, inout AdaptedEmbedding) -> Void) {
    withoutActuallyEscaping(body) { visit(Visitor(onEmbedding: $0)) }
  }

  /// Calls `body` with every adaptable convolution.
  public mutating func forEachConvolution(_ body: (String, inout AdaptedConvolution) -> Void) {
    withoutActuallyEscaping(body) { visit(Visitor(onConvolution: $0)) }
  }

  /// Calls `body` with the place around every residual branch.
  public mutating func forEachBlock(_ body: (String, inout AdaptedBlock) -> Void) {
    withoutActuallyEscaping(body) { visit(Visitor(onBlock: $0)) }
  }

  /// Calls `body` with every batch norm, whose running moments are state but no parameters.
  public mutating func forEachBatchNorm(_ body: (String, inout BatchNorm) -> Void) {
    withoutActuallyEscaping(body) { visit(Visitor(onBatchNorm: $0)) }
  }

  /// The numbers of a model that carries no adapter, packed ones and the moments of batch norms included; not those of
  /// the layer called `skipped`.
  public func weightCount(without skipped: String? = nil) -> Int {
    var copy = self
    var count = 0
    func add(_ name: String, _ weight: FrozenWeight) { if name != skipped { count += weight.rows * weight.columns } }
    copy.forEachLinear { add($0, $1.base.weight) }
    copy.forEachEmbedding { add($0, $1.base.weight) }
    copy.forEachConvolution { add($0, $1.base.weight) }
    copy.forEachParameter { name, parameter in
      if skipped.map({ name.hasPrefix($0 + ".") }) != true { count += parameter.value.count }
    }
    copy.forEachBatchNorm { count += 2 * $1.weight.value.count }
    return count
  }

  /// The packings of its matrices and how many bytes each takes, largest first.
  public var packings: [(name: String, matrices: Int, bytes: Int)] {
    var copy = self
    var found: [String: (matrices: Int, bytes: Int)] = [:]
    func count(_ weight: FrozenWeight) {
      let entry = found[weight.packing.name] ?? (0, 0)
      found[weight.packing.name] = (entry.matrices + 1, entry.bytes + weight.byteCount)
    }
    copy.forEachLinear { count($1.base.weight) }
    copy.forEachEmbedding { count($1.base.weight) }
    copy.forEachConvolution { count($1.base.weight) }
    return found.map { ($0.key, $0.value.matrices, $0.value.bytes) }.sorted {
      ($0.bytes, $1.name) > ($1.bytes, $0.name)
    }
  }

  /// What training changes, by name in the order of the model.
  public var trainableParameters: [TrainableParameter] {
    var copy = self
    var found: [TrainableParameter] = []
    copy.forEachParameter {
      if $1.isTrainable { found.append(TrainableParameter(name: $0, role: $1.role, value: $1.value)) }
    }
    return found
  }
}

/// The value of `loss` and its gradient for every trainable parameter of `model`, in the order of the model.
public func valueAndGradients<M: Module>(
  of model: M, _ loss: (M) throws -> Tensor
) rethrows -> (value: Float, gradients: [Tensor]) {
  var watching = model
  var points: [Tensor] = []
  watching.forEachParameter { _, parameter in
    guard parameter.isTrainable else { return }
    parameter.value = parameter.value.watched
    points.append(parameter.value)
  }
  let value = try loss(watching)
  let number = value.scalar
  return (number, gradients(of: value, at: points))
}
