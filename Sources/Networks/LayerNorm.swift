import Autodiff

/// A layer norm with its weights.
struct LayerNorm: Module {
  var weight: Parameter, bias: Parameter
  let epsilon: Float

  init(_ name: String, _ count: Int, _ epsilon: Float, from source: any WeightSource) throws {
    weight = .frozen(try source.vector("\(name).weight", count: count))
    bias = .frozen(try source.vector("\(name).bias", count: count))
    self.epsilon = epsilon
  }

  func callAsFunction(_ x: Tensor) -> Tensor {
    layerNorm(x, weight: weight.value, bias: bias.value, epsilon: epsilon)
  }

  mutating func visit(_ visitor: Visitor) {
    visitor("weight", &weight)
    visitor("bias", &bias)
  }
}
