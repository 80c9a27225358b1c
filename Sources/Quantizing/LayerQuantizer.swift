import Autodiff
import Networks
import Weights

/// What became of one layer.
public struct LayerReport: Sendable, Equatable {
  /// Its name.
  public let name: String
  /// How it is packed now.
  public let packing: String
  /// Bytes before and after.
  public let bytesBefore: Int, bytes: Int
  /// ‖W − Ŵ‖ / ‖W‖.
  public let weightError: Double
  /// The root of E‖(W − Ŵ) x‖² / E‖W x‖² on the calibration data; nil where there were none.
  public let outputError: Double?
}

/// Choosing one layer's codes.
struct LayerQuantizer {
  let plan: QuantizationPlan

  /// `weight` `[outputs, inputs]`, in float, as the plan packs it.
  func callAsFunction(_ weight: Tensor, _ loss: OutputLoss?, name: String) throws -> FrozenWeight {
    if case .partlyBinary(let salient) = plan.packing, plan.rounding == .gptq, let loss {
      return try FrozenWeight(partlyBinary: weight, salient: salient, moment: loss.moment, by: GPTQ())
    }
    guard var layout = plan.packing.layout else { return try FrozenWeight(weight, packing: plan.packing) }
    if let loss {
      if plan.searchesFormat { layout = try best(formats(layout), weight, loss) }
      if plan.axis == .adaptive { layout = try best(axes(layout), weight, loss) }
    }
    var weight = weight
    // Queries and keys are left alone by the authors of this search: their product is what matters.
    let isKeyed = ["q_proj", "k_proj", "query", "key"].contains { name.hasSuffix($0) }
    if plan.clip == .outputs, let loss, layout.axis == .input, !isKeyed {
      weight = clipped(weight, loss, layout)
    }
    switch plan.rounding {
    case .nearest: return try GroupedCodes(rounding: weight, to: layout, clip: clip(layout)).packed()
    case .gptq:
      guard let loss else { throw QuantizationError("gptq needs calibration data", remedy: "name a text") }
      var method = GPTQ()
      method.clip = clip(layout)
      (method.ordersByActivation, method.hasStaticGroups) = (true, layout.axis == .input)
      return try method.codes(weight, moment: loss.moment, layout: layout).packed()
    }
  }

  private func clip(_ layout: GroupLayout) -> GroupClip {
    plan.clip == .weights || plan.searchesFormat ? .search(steps: 40) : .none
  }

  private func axes(_ layout: GroupLayout) -> [GroupLayout] {
    GroupLayout.Axis.allCases.map { axis in
      var other = layout
      other.axis = axis
      return other
    }
  }

  private func formats(_ layout: GroupLayout) -> [GroupLayout] {
    [GroupLayout.Levels.e2m1, .e1m2, .e3m0].map { levels in
      var other = layout
      other.element = .levels(levels)
      return other
    }
  }

  /// The layout that loses least when numbers go to the nearest code; the first of equals.
  private func best(_ layouts: [GroupLayout], _ weight: Tensor, _ loss: OutputLoss) throws -> GroupLayout {
    var best = layouts[0], least = Double.infinity
    for layout in layouts {
      // A matrix whose rows the groups do not divide has no such layout.
      guard let codes = try? GroupedCodes(rounding: weight, to: layout, clip: clip(layout)) else { continue }
      let found = loss(codes.unpacked() - weight)
      if found < least { (best, least) = (layout, found) }
    }
    return best
  }

  /// `weight` with each group's numbers kept within the limit, of ten, at which its share of the output is nearest to
  /// what it was: eᵀ C e with the group's own part of C.
  private func clipped(_ weight: Tensor, _ loss: OutputLoss, _ layout: GroupLayout) -> Tensor {
    let (rows, columns) = (weight.shape[0], weight.shape[1]), length = layout.groupLength(columns)
    let moment = loss.moment.pointer, source = weight.pointer
    return withExtendedLifetime((loss.moment.storage, weight.storage)) {
      Tensor(shape: weight.shape) { place in
        Parallel.forRanges(rows, grain: 8) { range in
          withUnsafeTemporaryAllocation(of: Float.self, capacity: 2 * length) { scratch in
            guard let error = scratch.baseAddress else { return }
            let limited = error + length
            for row in range {
              for first in stride(from: 0, to: columns, by: length) {
                let group = source + row * columns + first
                let largest = (0..<length).reduce(Float(0)) { max($0, abs(group[$1])) }
                var (bestLimit, least) = (largest, Float.infinity)
                for step in 0..<10 {
                  let limit = largest * (1 - Float(step) / 20)
                  for i in 0..<length { limited[i] = max(-limit, min(limit, group[i])) }
                  let grid = GroupGrid(fitting: limited, count: length, clip: .none, layout)
                  for i in 0..<length { error[i] = grid.rounded(limited[i]) - group[i] }
                  var cost: Float = 0
                  for i in 0..<length { cost += error[i] * dot(moment + (first + i) * columns + first, error, length) }
                  if cost < least { (bestLimit, least) = (limit, cost) }
                }
                for i in 0..<length {
                  place[row * columns + first + i] = max(-bestLimit, min(bestLimit, group[i]))
                }
              }
            }
          }
        }
      }
    }
  }
}
