import Adapters
import Autodiff
import Files
import Networks
import Weights

/// What becomes of the weights that an adapter changed.
public enum MergeFormat: String, Sendable, CaseIterable {
  /// They are kept as floats; everything else keeps its packing.
  case full
  /// They are rounded to the packing they had.
  case requantize
}

/// A model with its adapter folded in, and how much of each change survived the rounding.
public struct FoldedModel: Sendable {
  /// The model, without adapters.
  public var network: any TextNetwork
  /// The layers that changed.
  public var layers: [LayerSurvival]
}

/// How much of one layer's change its packing could hold.
public struct LayerSurvival: Sendable, Equatable {
  /// The layer's name.
  public let name: String
  /// How it is packed now.
  public let packing: String
  /// ‖Δ‖ / ‖W‖: how large the change was.
  public let relativeChange: Double
  /// ⟨Q(W + Δ) − W, Δ⟩ / ⟨Δ, Δ⟩: 1 when all of the change is there, 0 when none is; 1 for a change of zero.
  public let survival: Double
}

extension LoadedModel {
  /// The model with its adapters folded in, its changed matrices in the given form.
  ///
  /// A change of zero leaves every packed byte as it was.
  ///
  /// - Throws: when a folded weight is not finite, or the adapter has a bias where the base has none.
  public func folded(_ format: MergeFormat, raising raised: [String: Packing] = [:]) throws -> FoldedModel {
    func open(_ model: some TextNetwork) -> any TextNetwork { model.merged() }
    var network = open(self.network)
    var originals: [String: FrozenWeight] = [:]
    var before = self.network
    var biased: Set<String> = []
    before.forEachLinear { name, layer in
      if layer.adapter != nil { originals[name] = layer.base.weight }
      if layer.base.bias != nil { biased.insert(name) }
    }
    before.forEachEmbedding { name, table in if table.adapter != nil { originals[name] = table.base.weight } }
    var layers: [LayerSurvival] = []
    var failure: (any Error)?
    func settle(_ name: String, _ weight: inout FrozenWeight) {
      guard let original = originals[name], failure == nil else { return }
      do {
        let whole = weight.unpacked()
        guard whole.isFinite else { throw FileError(name, "holds numbers that are not finite after folding") }
        if let packing = raised[name] {
          weight = try FrozenWeight(whole, packing: packing, order: original.order)
        } else if format == .requantize && weight.packing != original.packing {
          // A family that trains on what it will be packed as has packed it already.
          weight = try original.repacked(whole)
        }
        layers.append(LayerSurvival(name, original: original, wanted: whole, written: weight))
      } catch { failure = error }
    }
    network.forEachLinear { name, layer in
      if layer.base.bias != nil && !biased.contains(name) && failure == nil {
        failure = FileError(
          checkpoint.path, at: "layer '\(name)'", "has no bias into which the adapter's could be folded",
          remedy: "keep the adapter beside its base")
      }
      settle(name, &layer.base.weight)
    }
    network.forEachEmbedding { settle($0, &$1.base.weight) }
    if let failure { throw failure }
    return FoldedModel(network: network, layers: layers)
  }
}

extension LayerSurvival {
  init(_ name: String, original: FrozenWeight, wanted: Tensor, written: FrozenWeight) {
    let base = original.unpacked(), result = written.unpacked()
    var along = 0.0, change = 0.0, size = 0.0
    base.withValues { base in
      wanted.withValues { wanted in
        result.withValues { result in
          for i in base.indices {
            let delta = Double(wanted[i]) - Double(base[i])
            along += (Double(result[i]) - Double(base[i])) * delta
            change += delta * delta
            size += Double(base[i]) * Double(base[i])
          }
        }
      }
    }
    self.init(
      name: name, packing: written.packing.name, relativeChange: size > 0 ? (change / size).squareRoot() : 0,
      survival: change > 0 ? along / change : 1)
  }
}
