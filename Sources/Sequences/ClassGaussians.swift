import Autodiff
import Files

/// The features of each class of a task as a normal distribution, from which features like them can be drawn again.
///
///     x = μ + z F,   z ~ N(0, 1),   Fᵀ F = covariance + 10⁻⁴
///
/// No image is kept. `F` is `[features, features]`, by the covariance's eigenvectors, or its diagonal alone.
struct ClassGaussians: Sendable {
  /// `[classes, features]`.
  let means: Tensor
  /// `[classes · features, features]`, or `[classes, features]` for diagonals.
  private let factors: Tensor

  /// What is added to each feature's variance.
  static let ridge: Float = 1e-4

  /// The distributions of `features` `[images, features]`, with a label of 0..<`classes` each.
  ///
  /// - Throws: a `DecompositionError` when a number is not finite.
  init(_ features: Tensor, labels: [Int32], classes: Int, _ covariance: MOSSettings.Covariance) throws {
    let width = features.shape[1]
    var means: [Tensor] = [], factors: [Tensor] = []
    for number in 0..<classes {
      let rows = labels.indices.filter { labels[$0] == Int32(number) }.map(Int32.init), count = Float(rows.count)
      let own = features.gathered(rows), mean = own.transposed.rowMeans.reshaped([1, width])
      let centred = (1 / max(1, count - 1).squareRoot()) * (own - mean)
      means.append(mean)
      switch covariance {
      case .diagonal:
        factors.append(((centred * centred).transposed.rowSums.reshaped([1, width]) + Self.ridge).squareRoot)
      case .full:
        let (values, vectors) = try symmetricEigenvalues(of: matmul(centred, centred, transposingA: true))
        let roots = values.values.map { (max(0, $0) + Self.ridge).squareRoot() }
        factors.append(vectors * Tensor(roots, shape: [width, 1]))
      }
    }
    (self.means, self.factors) = (Tensor.concatenated(means).detached, Tensor.concatenated(factors).detached)
  }

  /// Numbers kept.
  var count: Int { means.count + factors.count }

  /// `count` features like those of class `number`, `[count, features]`.
  func sample(_ number: Int, _ count: Int, from random: RandomKey) -> Tensor {
    let width = means.shape[1], z = Tensor.normal([count, width], from: random)
    let mean = means.rows(number..<number + 1)
    guard factors.shape[0] > means.shape[0] else { return mean + z * factors.rows(number..<number + 1) }
    return mean + matmul(z, factors.rows(number * width..<(number + 1) * width))
  }

  /// Writes it as safetensors.
  func write(to path: String) throws {
    try Safetensors.write(
      [("factors", factors), ("means", means)].map {
        TensorToWrite(name: $0.0, floats: $0.1.values, shape: $0.1.shape.dimensions)
      }, to: path)
  }

  /// Reads what ``write(to:)`` wrote of `classes` classes of `width` features.
  ///
  /// - Throws: a ``FileError`` when it holds anything else.
  init(_ path: String, classes: Int, width: Int, _ covariance: MOSSettings.Covariance) throws {
    let file = try Safetensors(path), rows = covariance == .full ? classes * width : classes
    means = Tensor(try file.floats("means", shape: [classes, width]), shape: [classes, width])
    factors = Tensor(try file.floats("factors", shape: [rows, width]), shape: [rows, width])
  }
}
