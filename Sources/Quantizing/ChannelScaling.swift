import Autodiff
import Glibc
import Networks
import Weights

/// Factors on the channels of an input, which its layers' columns take up and what makes the input gives back.
///
///     W x = (W diag(s)) (x / s)
///
/// **AWQ** (Lin et al. 2023): s = a^r / √(max · min), a = E|x|, r the best of 0, 0.05, …, 0.95. A channel that carries
/// much is scaled up, and rounding takes less of it. r = 0 is no scaling, so the loss is never above it.
///
/// **Outlier Suppression+** (Wei et al. 2023): s = max(1, max|x| / t), t the best of the steps from the largest magnitude
/// down to 1. Channels within ±t are left alone; the others' activations lose less when they are rounded. Only the
/// scaling: the shift that goes with it needs norms with a bias.
///
/// The loss is that of the layers' outputs. Departures: the authors of AWQ measure the block's, and both measure on
/// samples where AWQ here has the second moment, which is exact; of the steps of t every eighth is measured, and all
/// between the neighbours of the best.
///
/// Papers: <https://arxiv.org/abs/2306.00978>, <https://arxiv.org/abs/2304.09145>
struct ChannelScaling {
  let plan: QuantizationPlan

  /// The best factors `[inputs]` for layers of these weights; nil where none is better.
  func factors(_ weights: [Tensor], _ measured: SiteStatistics) throws -> Tensor? {
    switch plan.scaling {
    case .none: return nil
    case .awq:
      guard let moment = measured.secondMoment else { return nil }
      let loss = OutputLoss(moment: moment), magnitudes = measured.meanMagnitude.values
      return try best((0..<20).map { Self.awq(magnitudes, Float($0) / 20) }) { scales in
        try weights.reduce(0.0) { try $0 + loss(rounded($1, scales) - $1) }
      }
    case .outliers(let bits):
      guard let samples = measured.samples, let largest = measured.largestMagnitude?.values else { return nil }
      let top = largest.max() ?? 0, steps = max(100, Int(top / 0.5))
      guard top > 1 else { return nil }
      let candidates = (0...steps).map { step in
        let threshold = top - (top - 1) * Float(step) / Float(steps)
        return Tensor(largest.map { max(1, $0 / threshold) }, shape: [largest.count])
      }
      let wanted = weights.map { matmul(samples, $0, transposingB: true) }
      return try best(candidates, step: 8) { scales in
        let inputs = roundedRows(samples, bits: bits, factors: scales)
        return try zip(weights, wanted).reduce(0.0) { sum, layer in
          let wrong = matmul(inputs, try rounded(layer.0, scales), transposingB: true) - layer.1
          return sum + wrong.withValues { $0.reduce(0.0) { $0 + Double($1 * $1) } }
        }
      }
    }
  }

  /// a^r, freed of its overall size.
  private static func awq(_ magnitudes: [Float], _ power: Float) -> Tensor {
    let raised = magnitudes.map { max(1e-4, Float(pow(Double($0), Double(power)))) }
    let middle = ((raised.max() ?? 1) * (raised.min() ?? 1)).squareRoot()
    return Tensor(raised.map { $0 / middle }, shape: [raised.count])
  }

  /// The candidate of the least loss, of every `step`th and of those between the neighbours of the best; nil where that is
  /// the first, which scales nothing, or one like it.
  private func best(
    _ candidates: [Tensor], step: Int = 1, _ loss: (Tensor) throws -> Double
  ) rethrows -> Tensor? {
    var best = 0, least = Double.infinity
    func look(at index: Int) throws {
      let found = try loss(candidates[index])
      if found < least { (best, least) = (index, found) }
    }
    for index in stride(from: 0, to: candidates.count, by: step) { try look(at: index) }
    let near = max(0, best - step + 1)...min(candidates.count - 1, best + step - 1)
    for index in near where !index.isMultiple(of: step) { try look(at: index) }
    return best == 0 ? nil : candidates[best]
  }

  /// The weight as it comes back from being scaled, rounded to nearest and scaled back.
  private func rounded(_ weight: Tensor, _ scales: Tensor) throws -> Tensor {
    let scaled = weight * scales
    if let layout = plan.packing.layout {
      return try GroupedCodes(rounding: scaled, to: layout).unpacked() / scales
    }
    return try FrozenWeight(scaled, packing: plan.packing).unpacked() / scales
  }
}
