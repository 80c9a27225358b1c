import Adapters
import Autodiff
import Networks
import Testing
import Text

@testable import Training

/// Elastic weight consolidation against gradients taken from plain steps of descent.
struct AnchorTests {
  private let examples: [Example] = [[3, 17, 29, 40, 55, 90], [8, 90, 2, 41]].map {
    Example(ids: $0, labels: $0, source: "test")
  }

  private func start() throws -> any TextNetwork {
    var model = try Checkpoint("\(fixtures)/models/llama-untied").model()
    try AdapterFolder.load("\(fixtures)/adapters/llama-untied/lora", onto: &model)
    return model
  }

  /// The model after one step of descent at `rate` on an example; the gradient is of the mean over its tokens.
  private func stepped(
    _ model: any TextNetwork, _ example: Example, rate: Double, anchor: Anchor? = nil
  ) throws -> any TextNetwork {
    var settings = TrainingSettings()
    (settings.learningRate, settings.maxGradientNorm) = (rate, 0)
    var run = TrainingRun(model, SGD(), settings, on: [example], seed: 0)
    run.anchor = anchor
    _ = try run.next()
    return run.model
  }

  private func values(_ model: any TextNetwork) -> [[Float]] { model.trainableParameters.map(\.value.values) }

  @Test func `What holds a parameter is the mean of its squared gradients times its distance, summed over tasks`()
    throws
  {
    let first = try start(), second = try stepped(first, examples[1], rate: 0.5)
    let weight = 3.0, moved = try stepped(second, examples[0], rate: 0.5)
    var anchor = Anchor(weight: weight)
    anchor.add(first, on: examples)
    anchor.add(second, on: [examples[0]])
    let zero = moved.trainableParameters.map { Tensor.zeros($0.value.shape) }
    let added = anchor.added(to: zero, of: moved.trainableParameters).map(\.values)

    /// The squared gradient of an example's own loss, summed over its tokens, by a step at rate 1.
    func squares(_ model: any TextNetwork, _ example: Example) throws -> [[Double]] {
      let tokens = Double(example.targets)
      let after = values(try stepped(model, example, rate: 1))
      return zip(values(model), after).map { before, after in
        zip(before, after).map { tokens * tokens * Double($0 - $1) * Double($0 - $1) }
      }
    }
    let a = try examples.map { try squares(first, $0) }, b = try squares(second, examples[0])
    var largest = 0.0, error = 0.0
    for (index, now) in values(moved).enumerated() {
      let (one, two) = (values(first)[index], values(second)[index])
      for place in now.indices {
        let mean = (a[0][index][place] + a[1][index][place]) / 2
        let wanted =
          weight
          * (mean * Double(now[place] - one[place]) + b[index][place] * Double(now[place] - two[place]))
        largest = max(largest, abs(wanted))
        error = max(error, abs(wanted - Double(added[index][place])))
      }
    }
    // A gradient read off a step is known to about 2⁻²⁴ of a parameter of size 0.1, of a gradient near 0.01.
    #expect(largest > 1e-4 && error < 1e-3 * largest, "\(error) of \(largest)")
  }

  @Test func `A step is pulled back by what holds it, and where nothing has moved it is not`() throws {
    let model = try start()
    var anchor = Anchor(weight: 50)
    anchor.add(model, on: examples)
    // At the centre of the term its gradient is nothing.
    let zero = model.trainableParameters.map { Tensor.zeros($0.value.shape) }
    let size = anchor.added(to: zero, of: model.trainableParameters).flatMap(\.values).reduce(0) { max($0, abs($1)) }
    #expect(size < 1e-5)
    let moved = try stepped(model, examples[1], rate: 0.5)
    let free = values(try stepped(moved, examples[0], rate: 1e-3))
    let held = values(try stepped(moved, examples[0], rate: 1e-3, anchor: anchor))
    func distance(_ point: [[Float]]) -> Double {
      zip(point, values(model)).reduce(0.0) { sum, pair in
        sum + zip(pair.0, pair.1).reduce(0.0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
      }
    }
    #expect(distance(held) < distance(free))
  }
}
