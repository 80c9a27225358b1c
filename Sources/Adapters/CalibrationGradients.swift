import Autodiff
import Networks
import Synchronization
import Text

extension Calibration {
  /// Σ (∂L/∂W)² a channel on either side of the layers `sites` of `model`, which carry no adapter yet; L is the mean
  /// −log p of every token that `rows` supervise.
  ///
  /// A layer's whole gradient is summed up before it is squared, `[outputs, inputs]` in single precision; of the group
  /// at hand only, since the rows are read again for each group of layers whose gradients fit into `budget`. Beside them
  /// a pass keeps what a training step with recomputation keeps, and for a moment one more gradient. Nothing of a packed
  /// matrix is unpacked but the blocks that its products need.
  ///
  /// - Throws: a ``GraftError`` when no token is supervised, and for a gradient that is not finite.
  public static func gradientSquares(
    _ model: any TextNetwork, of sites: [String], on rows: [Example], budget: Int = Calibration.budget
  ) throws -> [String: ChannelSquares] {
    guard rows.contains(where: { $0.targets > 0 }) else {
      throw GraftError(
        "no token of the calibration data is one that the model is trained to predict",
        key: "calibration.data")
    }
    var sizes: [String: Int] = [:]
    var copy = model
    copy.forEachLinear { sizes[$0] = 4 * $1.base.inputs * $1.base.outputs }
    var found: [String: ChannelSquares] = [:]
    for group in groups(sites, budget, bytes: { sizes[$0] ?? 0 }) {
      for (site, gradient) in gradients(model, of: group, on: rows) {
        guard gradient.isFinite else {
          throw GraftError(
            "the gradient of layer '\(site)' on the calibration data is not finite",
            key: "calibration.data")
        }
        found[site] = ChannelSquares(of: gradient)
      }
    }
    return found
  }

  /// ∂L/∂W of each layer of one group.
  private static func gradients(
    _ model: any TextNetwork, of sites: [String], on rows: [Example]
  ) -> [String: Tensor] {
    func measured(_ model: some TextNetwork) -> [String: Tensor] {
      var listening = model
      let start = Tensor(0).watched
      var sums: [String: GradientSum] = [:]
      listening.forEachLinear { name, layer in
        guard sites.contains(name) else { return }
        let sum = GradientSum([layer.base.outputs, layer.base.inputs])
        sums[name] = sum
        layer.adapter = GradientListener(sum, start)
      }
      let rows = rows.filter { !$0.ids.isEmpty }
      var first = 0, supervised = 0
      for size in batches(rows.map(\.ids)).map(\.lengths.count) {
        let part = rows[first..<first + size]
        first += size
        let (loss, count) = listening.lossSum(
          TokenBatch(part), labels: part.flatMap(\.labels), Context(recomputes: true))
        guard count > 0 else { continue }
        supervised += count
        // Asked at the listeners' start, where nothing arrives: what they hear on the way is what is wanted.
        _ = Autodiff.gradients(of: loss, at: [start])
      }
      return sums.mapValues { (1 / Float(supervised)) * $0.value }
    }
    return measured(model)
  }
}

/// A layer's gradient as it adds up. A reference, because the listener is a value that is copied.
private final class GradientSum: Sendable {
  private let sum: Mutex<Tensor>

  init(_ shape: Shape) { sum = Mutex(.zeros(shape)) }

  func add(_ share: Tensor) { sum.withLock { $0 = $0 + share } }

  var value: Tensor { sum.withLock { $0 } }
}

/// An adapter that changes nothing and adds up the gradient of the matrix it stands beside.
private struct GradientListener: Adapter {
  static let method = "gradient listener"
  static func merging(_ configuration: Shape) -> Merging { .exact }
  static func configuration(_ settings: AdapterSettings, at site: String) throws -> Shape { [0, 0] }

  private let sum: GradientSum
  /// A watched scalar of which outputs pretend to depend, so that a history begins at the first listener.
  private let start: Tensor

  init(_ sum: GradientSum, _ start: Tensor) { (self.sum, self.start) = (sum, start) }

  init(on base: inout FrozenLinear, _ configuration: Shape, _ setup: Setup) {
    (sum, start) = (GradientSum([base.outputs, base.inputs]), Tensor(0).watched)
  }

  func callAsFunction(_ x: Tensor, over base: FrozenLinear, _ context: Context) -> Tensor {
    let y = base(x), (rows, inputs, outputs) = (x.shape.rows, base.inputs, base.outputs)
    let kept = x.kept
    return Tensor(y.detached, of: [y, start]) { [sum] gradient, inflow in
      // y = W x, so ∂L/∂W = gᵀ x.
      let (g, x) = (gradient.reshaped([rows, outputs]), kept().reshaped([rows, inputs]))
      sum.add(matmul(g, x, transposingA: true))
      inflow.add(0, gradient)
    }
  }

  func merged(into base: FrozenLinear, _ context: Context) -> FrozenLinear { base }
  mutating func visit(_ visitor: Visitor) {}
}

extension ChannelSquares {
  /// The squares of `matrix` `[outputs, inputs]`, added up in double precision.
  init(of matrix: Tensor) {
    let (rows, columns) = (matrix.shape[0], matrix.shape[1])
    var inputs = [Double](repeating: 0, count: columns), outputs = [Double](repeating: 0, count: rows)
    matrix.withValues { values in
      for row in 0..<rows {
        for column in 0..<columns {
          let square = Double(values[row * columns + column]) * Double(values[row * columns + column])
          inputs[column] += square
          outputs[row] += square
        }
      }
    }
    self.init(
      inputs: Tensor(inputs.map(Float.init), shape: [columns]), outputs: Tensor(outputs.map(Float.init), shape: [rows]))
  }
}
