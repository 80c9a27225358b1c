import Autodiff
import Networks
import Text

/// λ/2 Σ_t Σ F_t (θ − θ_t)² over tasks t learned before: what was important to them is held where they left it
/// (elastic weight consolidation, Kirkpatrick et al. 2017).
///
/// `F_t` is the mean over examples of the squared gradient of each one's own log-likelihood. Only Σ F_t and Σ F_t θ_t are
/// kept, so a further task costs no further memory. Paper: <https://arxiv.org/abs/1612.00796>
public struct Anchor: Sendable {
  /// λ.
  public let weight: Float
  /// Σ F_t, and Σ F_t θ_t, by parameter.
  private var stiffness: [String: Tensor] = [:], pull: [String: Tensor] = [:]

  /// The numbers it keeps.
  public var count: Int { 2 * stiffness.values.reduce(0) { $0 + $1.count } }

  /// Nothing held yet.
  public init(weight: Double) { self.weight = Float(weight) }

  /// Holds what `model` has learned to where it is now, as `examples` need it.
  public mutating func add(_ model: any TextNetwork, on examples: [Example], tasks: [String] = []) {
    func gradients(_ model: some TextNetwork, _ example: Example) -> [Tensor] {
      let piece = MicroBatch([example], tasks: tasks)
      var context = Context()
      context.taskRows = piece.taskRows
      return valueAndGradients(of: model) { model in
        model.lossSum(piece.batch, labels: piece.labels, context).sum
      }.gradients
    }
    func open(_ example: Example) -> [Tensor] { gradients(model, example) }
    add(model.trainableParameters, examples: examples.count) { open(examples[$0]) }
  }

  /// Holds `parameters` to where they are now, as so many examples need it; `gradients` gives those of one example's own
  /// negative log-likelihood.
  public mutating func add(
    _ parameters: [TrainableParameter], examples: Int, gradients: (Int) throws -> [Tensor]
  ) rethrows {
    var sums = parameters.map { Tensor.zeros($0.value.shape) }
    for example in 0..<examples {
      sums = zip(sums, try gradients(example)).map { $0 + $1.detached * $1.detached }
    }
    for (parameter, sum) in zip(parameters, sums) {
      let fisher = (1 / Float(max(1, examples))) * sum, term = fisher * parameter.value.detached
      stiffness[parameter.name] = stiffness[parameter.name].map { $0 + fisher } ?? fisher
      pull[parameter.name] = pull[parameter.name].map { $0 + term } ?? term
    }
  }

  /// The gradients of the loss with those of the term, λ (Σ F_t θ − Σ F_t θ_t), added.
  public func added(to gradients: [Tensor], of parameters: [TrainableParameter]) -> [Tensor] {
    zip(gradients, parameters).map { gradient, parameter in
      guard let stiffness = stiffness[parameter.name], let pull = pull[parameter.name] else { return gradient }
      return gradient + weight * (stiffness * parameter.value.detached - pull)
    }
  }
}
