import Adapters
import Autodiff
import Files
import Networks
import Weights

/// Packing the linear layers of one block, given what was measured of their inputs.
struct BlockQuantizer {
  let plan: QuantizationPlan
  /// The names of the block's layers in the model, by their names within the block.
  private let names: [String: String]

  init(_ plan: QuantizationPlan, block: Int, of model: any TextNetwork) {
    self.plan = plan
    var copy = model, names: [String: String] = [:]
    let groups = model.inputGroups.flatMap(\.layers)
    copy.forEachLinear { name, _ in
      guard blockIndex(name) == block, let short = groups.first(where: { name.hasSuffix("." + $0) }) else { return }
      names[short] = name
    }
    self.names = names
  }

  /// One layer of each input that is to be measured, by name in the model.
  func sites(_ model: any TextNetwork) -> [String] {
    model.inputGroups.compactMap { group in
      group.layers.contains { wanted($0) } ? group.layers.first.flatMap { names[$0] } : nil
    }
  }

  private func wanted(_ short: String) -> Bool { names[short].map { !plan.isSkipped($0) } ?? false }

  /// A block's weights in float by their names within it, after factors were moved about, and the losses to judge them by.
  struct Scaled {
    var weights: [String: Tensor]
    var losses: [String: OutputLoss] = [:]
    /// How many inputs were scaled.
    var count = 0
  }

  /// Packs the block's layers in `model`. `measured` is by the names that ``sites(_:)`` gives; empty where nothing was.
  func pack(_ model: inout any TextNetwork, _ measured: [String: SiteStatistics]) throws -> [LayerReport] {
    var scaled = try scaled(&model, measured), bytes: [String: Int] = [:]
    model.forEachLinear { bytes[$0] = $1.base.weight.byteCount }
    return try model.inputGroups.flatMap(\.layers).compactMap { short in
      guard let weight = scaled.weights.removeValue(forKey: short), let name = names[short] else { return nil }
      let loss = scaled.losses[short]
      let made: FrozenWeight
      do { made = try LayerQuantizer(plan: plan)(weight, loss, name: name) } catch let error as PackingError {
        throw LayerError(name, "\(error)")
      }
      let report = LayerReport(name, made, instead: weight, loss, bytesBefore: bytes[name] ?? 0)
      guard report.weightError.isFinite, report.outputError?.isFinite ?? true else {
        throw LayerError(
          name, "holds numbers too large to be packed as \(made.packing.name): what is lost is not finite",
          remedy: "leave it as it is with --skip \(short), or mend the model")
      }
      model.forEachLinear { layerName, layer in
        guard layerName == name else { return }
        // Nothing reads the original again.
        layer.base.weight.forgetPages()
        layer.base.weight = made
      }
      return report
    }
  }

  /// The block's weights with the plan's factors in their columns; `model` has them taken out of what makes the inputs.
  func scaled(_ model: inout any TextNetwork, _ measured: [String: SiteStatistics]) throws -> Scaled {
    var scaled = Scaled(weights: floats(model))
    for group in model.inputGroups {
      guard let first = group.layers.first.flatMap({ names[$0] }), let found = measured[first] else { continue }
      let scales: Tensor?
      do { scales = try scale(group, found, &scaled.weights, &model) } catch let error as PackingError {
        throw LayerError(group.layers.compactMap { names[$0] }.joined(separator: "' or '"), "\(error)")
      }
      if scales != nil { scaled.count += 1 }
      for layer in group.layers {
        guard let moment = found.secondMoment else { continue }
        let loss = OutputLoss(moment: moment)
        scaled.losses[layer] = scales.map { loss.dividingInputs(by: $0) } ?? loss
      }
    }
    return scaled
  }

  /// The weights to be packed, unpacked, by name within the block.
  private func floats(_ model: any TextNetwork) -> [String: Tensor] {
    var copy = model, weights: [String: Tensor] = [:]
    copy.forEachLinear { name, layer in
      guard let short = names.first(where: { $0.value == name })?.key, wanted(short) else { return }
      weights[short] = layer.base.weight.unpacked()
    }
    return weights
  }

  /// Finds factors for a group's input and moves them into its layers' columns, and out of what makes the input.
  private func scale(
    _ group: InputGroup, _ measured: SiteStatistics, _ weights: inout [String: Tensor], _ model: inout any TextNetwork
  ) throws -> Tensor? {
    let chosen = group.layers.compactMap { weights[$0] }
    // A layer that is left alone would no longer fit the input.
    guard group.source != .fixed, chosen.count == group.layers.count,
      let scales = try ChannelScaling(plan: plan).factors(chosen, measured)
    else { return nil }
    let inverse = Tensor(scales.values.map { 1 / $0 }, shape: scales.shape)
    switch group.source {
    case .fixed: return nil
    case .norm(let weight, let bias):
      let block = names[group.layers[0]].flatMap {
        $0.hasSuffix(group.layers[0]) ? $0.dropLast(group.layers[0].count) : nil
      }
      guard let block else { return nil }
      let touched = [weight] + (bias.map { [$0] } ?? [])
      model.forEachParameter { name, parameter in
        if touched.contains(where: { name == block + $0 }) { parameter.value = (parameter.value * inverse).detached }
      }
    case .rows(let source):
      guard let name = names[source], let rows = weights[source], rows.shape[0] == inverse.count else { return nil }
      weights[source] = (rows * inverse.reshaped([inverse.count, 1])).detached
      model.forEachLinear { layerName, layer in
        guard layerName == name, let bias = layer.base.bias?.value else { return }
        layer.base.bias?.value = (bias * inverse).detached
      }
    }
    for layer in group.layers { weights[layer] = weights[layer].map { ($0 * scales).detached } }
    return scales
  }
}

extension LayerReport {
  init(_ name: String, _ made: FrozenWeight, instead weight: Tensor, _ loss: OutputLoss?, bytesBefore: Int) {
    func size(_ t: Tensor) -> Double { t.withValues { $0.reduce(0.0) { $0 + Double($1) * Double($1) } } }
    let error = made.unpacked() - weight
    // max() and comparisons would pass over a NaN, and what is divided by infinity seems nothing.
    func ratio(_ a: Double, _ b: Double) -> Double {
      guard a.isFinite && b.isFinite else { return .nan }
      return b > 0 ? (max(0, a) / b).squareRoot() : 0
    }
    self.init(
      name: name, packing: made.packing.name, bytesBefore: bytesBefore, bytes: made.byteCount,
      weightError: ratio(size(error), size(weight)), outputError: loss.map { ratio($0(error), $0(weight)) })
  }
}

extension Packing {
  /// Whether numbers so packed have lost more than plain floats lose.
  var isRounded: Bool { ![.float32, .float16, .bfloat16].contains(self) }
}
