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

  /// A parameter with the given numbers.
  public init(_ value: Tensor, isTrainable: Bool = true) { (self.value, self.isTrainable) = (value, isTrainable) }

  /// A parameter as a checkpoint holds it.
  public static func frozen(_ value: Tensor) -> Parameter { Parameter(value, isTrainable: false) }
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

  /// Presents an embedding and what is grafted onto it.
  public func callAsFunction(_ name: String, _ embedding: inout AdaptedEmbedding) {
    onEmbedding(join(name), &embedding)
    embedding.visit(entering(name))
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

  /// What training changes, by name in the order of the model.
  public var trainableParameters: [(name: String, value: Tensor)] {
    var copy = self
    var found: [(name: String, value: Tensor)] = []
    copy.forEachParameter { if $1.isTrainable { found.append(($0, $1.value)) } }
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
