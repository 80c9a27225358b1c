import Adapters
import Autodiff
import Images
import Networks

/// What a frozen network sees in an image, as one vector that no learning changes.
///
///     h(x) = Σ_l Q_l f_l(x) / |f_l(x)|        f_l the pooled output of stage l,  Q_lᵀ Q_l = 1
///
/// Pooled is the mean over places of a map, or over tokens. `Q` `[width, channels]` keeps lengths and angles of its stage
/// and is drawn once; those of different stages are all but orthogonal where the width is large (Wilson et al. 2023,
/// hyperdimensional feature fusion).
struct ImageDescriber: Sendable {
  private let network: any ImageNetwork
  private let preparation: ImagePreparation
  /// How many stages lie before each output that is read.
  let stages: [Int]
  /// `Q` of each.
  let projections: [Tensor]

  /// A describer of images by a network as it is.
  ///
  /// - Throws: a `GraftError` when the width is below the channels of a stage: its angles could not be kept.
  init(
    _ network: any ImageNetwork, _ preparation: ImagePreparation, _ settings: EARSettings, random: RandomKey
  ) throws {
    let count = network.stageNames.count, wanted = min(settings.stages, count)
    (self.network, self.preparation) = (network, preparation)
    stages = (1...wanted).map { (count * $0 + wanted - 1) / wanted }
    let blank = Tensor.zeros([1, preparation.channels, preparation.height, preparation.width])
    let widths = Self.pooled(network, blank, stages).map { $0.shape[1] }, widest = widths.max() ?? 1
    let width = settings.width ?? max(2000, widest)
    guard width >= widest else {
      throw GraftError(
        "a description of \(width) numbers cannot hold the \(widest) channels of a stage; raise it", key: "ear.width")
    }
    projections = try widths.enumerated().map { index, channels in
      try orthogonalTriangular(.normal([width, channels], from: random[index])).q
    }
  }

  /// The outputs of some stages, pooled: `[images, channels]` each.
  private static func pooled(_ network: any ImageNetwork, _ images: Tensor, _ stages: [Int]) -> [Tensor] {
    var h = images, done = 0
    return stages.map { stage in
      h = network.output(of: done..<stage, entering: h, Context())
      done = stage
      switch h.shape.rank {
      case 4: return globalAveragePool(h)
      case 3:
        let (count, tokens, width) = (h.shape[0], h.shape[1], h.shape[2])
        return h.transposed([0, 2, 1]).reshaped([count * width, tokens]).rowMeans.reshaped([count, width])
      default: return h
      }
    }
  }

  /// Descriptions of images as the network reads them, `[images, width]`.
  func descriptions(ofPrepared images: Tensor) -> Tensor {
    zip(Self.pooled(network, images, stages), projections).map { linear($0.withRowsOfLengthOne, weight: $1) }
      .reduce(nil as Tensor?) { sum, next in sum.map { $0 + next } ?? next }?.detached ?? .zeros([0, 0])
  }

  /// Descriptions of some images of a set, `[images, width]`.
  func descriptions(of set: ImageSet, at indices: [Int]) throws -> Tensor {
    Tensor.concatenated(
      try stride(from: 0, to: indices.count, by: 64).map { start in
        let some = Array(indices[start..<min(indices.count, start + 64)])
        return descriptions(ofPrepared: try preparation.batch(of: set, at: some))
      })
  }
}
